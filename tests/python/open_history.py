"""Opens a running pipeline's history with PyArrow under several grants, and prints what each one shows."""

import argparse
import json
import pathlib

import grpc
import pulseward_reader as reader
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.asymmetric import ec


def ring(options, grant, key):
    return reader.KeyRing.connect(options.keys, options.ca.read_bytes(), grant.read_bytes(), key)


def refusal(read):
    """What it said when it said no; nothing when it did not."""
    try:
        shown = read()
    except (reader.Refused, OSError, ValueError) as error:
        return f"refused: {error!r}"
    except grpc.RpcError as error:
        return f"refused: {error.code().name}"
    except Exception as error:  # whatever a failed decryption is called, it is no reading
        return f"refused: {type(error).__name__}: {error}"
    return f"shown: {shown}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for path in ("store", "ca", "reader-key", "whole", "times", "forged"):
        parser.add_argument(f"--{path}", type=pathlib.Path, required=True)
    parser.add_argument("--keys", required=True)
    parser.add_argument("--root", type=bytes.fromhex, required=True)
    options = parser.parse_args()
    key = reader.load_key(options.reader_key.read_bytes())

    whole = reader.Store(options.store, ring(options, options.whole, key), options.root)
    table = whole.dataset("readings").to_table(columns=["pseudonym", "ts", "kind", "unit", "value", "raw"])
    values = pc.sum(pc.is_finite(table["value"])).as_py()

    times = reader.Store(options.store, ring(options, options.times, key), options.root).dataset("readings")
    seen = {
        "whole": {"rows": table.num_rows, "values": values, "kinds": sorted(set(table["kind"].to_pylist()))},
        "times": {
            "rows": times.to_table(columns=["pseudonym", "ts", "kind"]).num_rows,
            "values": refusal(lambda: times.to_table(columns=["value"])),
            "raw": refusal(lambda: times.to_table(columns=["ts", "raw"])),
        },
        "proofs": refusal(lambda: whole.dataset("proofs").to_table(columns=["kid"])),
        "forged": refusal(lambda: reader.Store(options.store, ring(options, options.forged, key), options.root)),
    }
    other = ring(options, options.whole, ec.generate_private_key(ec.SECP256R1()))
    seen["other_reader"] = refusal(lambda: reader.Store(options.store, other, options.root))
    files = whole.files("readings")
    seen["without"] = [refusal(lambda path=file["path"]: pq.read_table(path, columns=["ts"])) for file in files]
    print(json.dumps(seen, default=str))


if __name__ == "__main__":
    main()

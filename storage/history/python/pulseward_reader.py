"""Reads a Pulseward history as Arrow, with the columns that a grant covers.

The store's files hold handles instead of keys. This module shows a grant to the `Keys` service,
opens what it answers with the reader's private key, and gives the keys to PyArrow:

    ring = KeyRing.connect("keys.example:443", ca, grant, private_key)
    store = Store("/data/history", ring, root=bytes.fromhex("..."))
    table = store.dataset("readings").to_table(columns=["ts", "kind", "value"])

Layouts: docs/formats/history.md, slips.md, wire.md. Needs what tests/python/requirements.txt pins.
"""

import argparse
import hashlib
import json
import pathlib
import struct
import sys
import threading

import grpc
import pyarrow.dataset as ds
import pyarrow.parquet.encryption as pe
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HPKE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)

# How many handles one request names, and how many keys are kept: both bound what is held and sent.
HANDLES_AT_ONCE = 128
KEYS_KEPT = 65_536


class Refused(Exception):
    """The key service, or a check of what was read, said no."""


def _messages():
    """The messages of keys.proto, made at run time so that no compiler is needed."""
    file = descriptor_pb2.FileDescriptorProto(
        name="keys.proto", package="pulseward.v1", syntax="proto3"
    )
    field = descriptor_pb2.FieldDescriptorProto
    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED

    def message(name, *fields, oneof=None):
        made = file.message_type.add(name=name)
        if oneof:
            made.oneof_decl.add(name=oneof)
        for number, (called, label, kind, type_name) in enumerate(fields, 1):
            new = made.field.add(name=called, number=number, label=label, type=kind)
            if type_name:
                new.type_name = ".pulseward.v1." + type_name
            if oneof:
                new.oneof_index = 0

    octets, text, inner = field.TYPE_BYTES, field.TYPE_STRING, field.TYPE_MESSAGE
    message("UnwrapRequest", ("grant", one, octets, None), ("handle", many, text, None))
    message("SealedKey", ("enc", one, octets, None), ("ciphertext", one, octets, None))
    message(
        "UnwrappedKey",
        ("sealed", one, inner, "SealedKey"),
        ("refused", one, text, None),
        oneof="answer",
    )
    message("UnwrapResponse", ("key", many, inner, "UnwrappedKey"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return tuple(
        message_factory.GetMessageClass(find("pulseward.v1." + name))
        for name in ("UnwrapRequest", "UnwrapResponse")
    )


UnwrapRequest, UnwrapResponse = _messages()


class KeyRing:
    """Data keys by handle: asked for once, under one grant."""

    def __init__(self, channel, grant, private_key):
        self._unwrap = channel.unary_unary(
            "/pulseward.v1.Keys/Unwrap",
            request_serializer=UnwrapRequest.SerializeToString,
            response_deserializer=UnwrapResponse.FromString,
        )
        self._grant = grant
        self._private_key = private_key
        self._keys = {}
        self._lock = threading.Lock()

    @classmethod
    def connect(cls, target, ca, grant, private_key):
        """Returns a ring that asks `target` over TLS; `ca` is PEM, none for the system's roots."""
        credentials = grpc.ssl_channel_credentials(root_certificates=ca)
        return cls(grpc.secure_channel(target, credentials), grant, private_key)

    def key(self, handle):
        """Returns the key behind a handle, or raises `Refused`."""
        self.fetch([handle])
        with self._lock:
            found = self._keys[handle]
        if isinstance(found, str):
            raise Refused(f"{found}: {handle}")
        return found

    def fetch(self, handles):
        """Asks for the keys of those handles that were not asked for yet."""
        with self._lock:
            new = [handle for handle in dict.fromkeys(handles) if handle not in self._keys]
        for start in range(0, len(new), HANDLES_AT_ONCE):
            some = new[start : start + HANDLES_AT_ONCE]
            answered = self._unwrap(UnwrapRequest(grant=self._grant, handle=some), timeout=30)
            if len(answered.key) != len(some):
                raise Refused("the service answered another number of handles")
            opened = {handle: self._open(handle, answer) for handle, answer in zip(some, answered.key)}
            with self._lock:
                if len(self._keys) + len(opened) > KEYS_KEPT:
                    self._keys.clear()
                self._keys.update(opened)

    def _open(self, handle, answer):
        """Returns the key, or the word that says why there is none."""
        if answer.WhichOneof("answer") != "sealed":
            return answer.refused or "no answer"
        context = hashlib.sha256(self._grant + handle.encode()).digest()
        info = b"pulseward/v1/dek\0" + context
        return HPKE.decrypt(answer.sealed.enc + answer.sealed.ciphertext, self._private_key, info)


class _Kms(pe.KmsClient):
    """What PyArrow asks: it hands over the handle where others have a wrapped key."""

    def __init__(self, ring):
        pe.KmsClient.__init__(self)
        self._ring = ring

    def unwrap_key(self, wrapped_key, master_key_identifier):
        handle = wrapped_key.decode() if isinstance(wrapped_key, bytes) else wrapped_key
        return self._ring.key(handle)

    def wrap_key(self, key_bytes, master_key_identifier):
        raise Refused("readers do not write")


class _Reader:
    """Takes fields off the front of bytes."""

    def __init__(self, data):
        self._data, self._at = data, 0

    def take(self, count):
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise Refused("malformed manifest")
        self._at += count
        return taken

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    @property
    def at(self):
        return self._at

    @property
    def left(self):
        return len(self._data) - self._at


class Store:
    """A store in a directory: the files that its newest manifests name."""

    KINDS = {1: "readings", 2: "proofs", 3: "enrolments", 4: "scores", 5: "alerts"}

    def __init__(self, directory, ring, root):
        self._ring, self._root = ring, root
        self._files = {}
        for partition in sorted(pathlib.Path(directory).glob("p[0-9]*")):
            self._files.update(self._follow(partition))

    def files(self, kind):
        """Returns the paths of one kind's files, each with its rows and the hash it must have."""
        return [file for file in self._files.values() if file["kind"] == kind]

    def dataset(self, kind):
        """Returns a PyArrow dataset of one kind's files, which must be what their manifests say."""
        files = self.files(kind)
        for file in files:
            if hashlib.sha256(file["path"].read_bytes()).digest() != file["digest"]:
                raise Refused(f"{file['path'].name} is not what its manifest says")
        self._ring.fetch(f"dek:v1:{file['id'].hex()}/footer" for file in files)
        factory = pe.CryptoFactory(lambda _connection: _Kms(self._ring))
        config = ds.ParquetDecryptionConfig(
            factory, pe.KmsConnectionConfig(), pe.DecryptionConfiguration()
        )
        scan = ds.ParquetFragmentScanOptions(decryption_config=config)
        form = ds.ParquetFileFormat(default_fragment_scan_options=scan)
        return ds.dataset([str(file["path"]) for file in files], format=form)

    def _follow(self, partition):
        """Follows a chain from its newest checkpoint on."""
        paths = {int(path.stem): path for path in (partition / "manifest").glob("*.manifest")}
        files, previous = {}, None
        newest = max(paths, default=-1)
        for number in range(max(newest, 0) // 256 * 256, newest + 1):
            if number not in paths:
                raise Refused(f"manifest {number} is missing")
            data = paths[number].read_bytes()
            header, body = self._open(data)
            if header["number"] != number or previous not in (None, header["previous"]):
                raise Refused(f"manifest {number} does not follow the one before it")
            previous = hashlib.sha256(data).digest()
            files = self._apply(files, body, partition / "data")
        return files

    def _open(self, data):
        """Checks a manifest's signature and opens it."""
        reader = _Reader(data)
        if reader.take(4) != b"PWM1" or reader.number("B") != 1:
            raise Refused("not a manifest of this version")
        header = {"partition": reader.number("I"), "number": reader.number("Q")}
        header |= {"epoch": reader.number("Q"), "previous": reader.take(32)}
        header |= {"chain": reader.take(16), "time": reader.number("q")}
        certificate = reader.take(148)
        before = data[: reader.at]
        nonce = reader.take(12)
        sealed = reader.take(reader.number("I"))
        signed, signature = data[: reader.at], reader.take(64)
        if reader.left:
            raise Refused("malformed manifest")
        key = _certified(certificate, self._root, 3, header["time"])
        _check(key, b"manifest", signed, signature)
        dek = self._ring.key(f"dek:v1:{header['chain'].hex()}/footer")
        return header, AESGCM(dek).decrypt(nonce, sealed, before)

    def _apply(self, files, body, data):
        reader = _Reader(body)
        reader.number("B")
        files = {} if reader.number("B") else dict(files)
        reader.take(16 + 4 + 3 * 8 + 2 * 16)
        added = {}
        for _ in range(reader.number("I")):
            file = {"id": reader.take(16), "kind": self.KINDS.get(reader.number("B"))}
            reader.number("B")
            epoch = reader.number("Q")
            reader.take(16)
            file |= {"rows": reader.number("Q"), "bytes": reader.number("Q")}
            file["digest"] = reader.take(32)
            reader.take(16)
            file["path"] = data / f"{epoch:016x}-{file['id'].hex()}.{file['kind']}.parquet"
            added[file["id"]] = file
        for _ in range(reader.number("I")):
            files.pop(reader.take(16), None)
        return files | added


def _certified(certificate, root, use, now):
    """Returns the key that `root` certified for `use`."""
    issuer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), certificate[:33])
    body, signature = certificate[33:84], certificate[84:]
    from_, until = struct.unpack("<qq", body[35:])
    if _kid(issuer) != root or body[0] != 1 or body[1] != use or not from_ <= now <= until:
        raise Refused("a certificate is not one for this")
    _check(issuer, b"certificate", body, signature)
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), body[2:35])


def _kid(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).digest()


def _check(key, role, body, signature):
    digest = hashlib.sha256(b"pulseward/v1/" + role + b"\0" + _kid(key) + bytes(32) + body).digest()
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    try:
        key.verify(
            utils.encode_dss_signature(r, s), digest, ec.ECDSA(utils.Prehashed(hashes.SHA256()))
        )
    except InvalidSignature:
        raise Refused(f"a signature as {role.decode()} does not hold") from None


def load_key(scalar):
    """Returns the private key whose scalar, 32 bytes big-endian, is given."""
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())


def public_bytes(key):
    """Returns the public key as a grant names it: an uncompressed point."""
    form = serialization.PublicFormat.UncompressedPoint
    return key.public_key().public_bytes(serialization.Encoding.X962, form)


def _parse(arguments):
    parser = argparse.ArgumentParser(description="Reads a Pulseward history under a grant.")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new-key", help="makes a reader's key and prints its public half")
    new.add_argument("path", type=pathlib.Path)
    read = commands.add_parser("read", help="prints rows as lines of JSON")
    read.add_argument("store", type=pathlib.Path)
    read.add_argument("--keys", required=True, help="host:port of the Keys service")
    read.add_argument("--ca", type=pathlib.Path, help="PEM of its certificate's issuer")
    read.add_argument("--grant", type=pathlib.Path, required=True)
    read.add_argument("--reader-key", type=pathlib.Path, required=True)
    read.add_argument("--root", required=True, help="the pipeline's root, hexadecimal")
    read.add_argument("--kind", default="readings", choices=Store.KINDS.values())
    read.add_argument("--columns", help="names, separated by commas; all if left out")
    read.add_argument("--count", action="store_true", help="prints the number of rows alone")
    return parser.parse_args(arguments)


def _new_key(path):
    key = ec.generate_private_key(ec.SECP256R1())
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(key.private_numbers().private_value.to_bytes(32, "big"))
    print(public_bytes(key).hex())


def main(arguments=None):
    options = _parse(arguments)
    if options.command == "new-key":
        return _new_key(options.path)
    ca = options.ca.read_bytes() if options.ca else None
    key = load_key(options.reader_key.read_bytes())
    ring = KeyRing.connect(options.keys, ca, options.grant.read_bytes(), key)
    dataset = Store(options.store, ring, bytes.fromhex(options.root)).dataset(options.kind)
    columns = options.columns.split(",") if options.columns else None
    rows = 0
    for batch in dataset.to_batches(columns=columns):
        rows += batch.num_rows
        if not options.count:
            for row in batch.to_pylist():
                print(json.dumps(row, default=_plain))
    if options.count:
        print(rows)
    return None


def _plain(value):
    return value.hex() if isinstance(value, bytes) else value.isoformat()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Refused, OSError, grpc.RpcError) as error:
        sys.exit(f"pulseward_reader: {error}")

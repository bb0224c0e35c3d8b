"""What the Python device promises: `python -m unittest` in this folder, with `cryptography` and `grpcio`.

The service here is the page's other side, written for these tests: it opens hellos with the HPKE of `cryptography`
itself, so that the device's own is held against another, and it answers by a script: refuse, cut, repeat.
"""

import datetime
import hmac
import io
import json
import struct
import tempfile
import threading
import unittest
from concurrent import futures
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import grpc
import pulseward_device as device_side
import pulseward_wire as wire
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

SUITE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(wire.CURVE)


def uncompressed(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def signed(key: ec.EllipticCurvePrivateKey, role: str, body: bytes, ctx: bytes = wire.ZEROS) -> bytes:
    return body + wire.sign(key, wire.prehash(role, wire.kid_of(key.public_key()), ctx, body))


def certificate(issuer, use: int, subject, begin: int = -1, end: int = 2**62) -> bytes:
    point = wire.point_of(issuer.public_key())
    body = struct.pack("<BB33sqq", 1, use, wire.point_of(subject.public_key()), begin, end)
    return point + signed(issuer, "certificate", body)


class Service:
    """One pipeline: a root, a service key, a registry, and what the devices sent."""

    def __init__(self, script=()):
        self.root, self.service, self.registry, self.sealing = new_key(), new_key(), new_key(), new_key()
        self.root_kid = wire.kid_of(self.root.public_key())
        self.script = list(script)  # what to do with the next batches, instead of keeping them
        self.rows: dict[bytes, bytes] = {}  # incarnation ‖ seq: payload
        self.copies: dict[bytes, list[bytes]] = {}
        self.records: dict[bytes, bytes] = {}  # kid: record
        self.lock = threading.Lock()

    def offer(self, root: bytes | None = None, begin: int = -1, end: int = 2**62) -> bytes:
        body = struct.pack("<B32sqqB", 1, root or self.root_kid, begin, end, 1)
        body += struct.pack("<BH", 1, 65) + uncompressed(self.sealing)
        return certificate(self.root, 1, self.service) + signed(self.service, "offer", body)

    def slip(self) -> bytes:
        vault = new_key()
        ticket = struct.pack("<B16s32sIqQI32s", 1, bytes(16), self.root_kid, 7, 2**62, 2**64 - 1, 1, bytes(32))
        return certificate(new_key(), 6, vault) + signed(vault, "ticket", ticket) + bytes(16 + 16 + 44)

    def session(self, requests, _context):
        message = self.offer()
        offer = message[wire.CERTIFICATE_SIZE :]
        yield wire.DOWN_OFFER, message
        number, hello = next(requests)
        assert number == wire.UP_HELLO and len(hello) == 16 + 1 + 16 + 65 + 255 + 16
        assert hello[:17] == wire.sha256(offer)[:16] + b"\x01"
        info = b"pulseward/v1/hello\0" + wire.sha256(offer)
        plain = SUITE.decrypt(hello[33:], self.sealing, info)
        purpose, point, kid, secret, _time, mode, incarnation = struct.unpack_from("<B33s32s32sqB16s", plain)
        record = self.records.get(kid, b"")
        key = wire.key_of(point if purpose == wire.PURPOSE_ENROL else record[1:34])
        assert mode == 1 and kid == wire.kid_of(key) and (purpose == wire.PURPOSE_ENROL or incarnation != bytes(16))
        ctx = wire.sha256(record) if purpose == wire.PURPOSE_STREAM else wire.ZEROS
        digest = wire.prehash("offer", wire.kid_of(self.service.public_key()), wire.ZEROS, offer[:-64])
        signed_by_device = digest + wire.sha256(hello[33:98]) + plain[:-64]
        wire.verify(key, wire.prehash("hello", kid, ctx, signed_by_device), plain[-64:])

        transcript, salt = wire.sha256(offer, hello), bytes(range(32))
        up, down = wire.session_keys(secret, salt, transcript)
        status = struct.pack("<qQ32sHIIB", 0, wire.NO_SEQ, wire.ZEROS, 4, 1 << 16, 3600, 1) + b"T" * 16
        yield wire.DOWN_WELCOME, salt + down.seal(wire.DOWN_STATUS, status)
        for number, frame in requests:
            assert number == wire.UP_FRAME
            kind, payload = up.open(frame)
            if kind == wire.UP_ENROL:
                yield wire.DOWN_FRAME, down.seal(*self.enrol(kid, key, transcript, payload))
                return
            answer = self.batch(kid, key, ctx, payload)
            if answer is None:
                return
            yield wire.DOWN_FRAME, down.seal(wire.DOWN_ANSWERS, struct.pack("<qH", 0, 1) + answer)

    def enrol(self, kid, key, transcript, payload):
        body = payload[:-64]
        wire.verify(key, wire.prehash("enrol", kid, wire.ZEROS, transcript + body), payload[-64:])
        assert len(body) == wire.SLIP_SIZE + 2
        record = struct.pack("<B33s32sQBq", 1, wire.point_of(key), self.root_kid, 2**64 - 1, 0, 0)
        record = self.records.setdefault(kid, signed(self.registry, "record", record))
        return wire.DOWN_RECORD, certificate(self.root, 2, self.registry) + record

    def batch(self, kid, key, ctx, payload):
        head, seed, mode, signature, columns = payload[:32], payload[32:64], payload[64], payload[65:129], payload[129:]
        (count,), at, leaves = struct.unpack_from("<H", columns), 2, []
        for _ in range(count):
            (n,) = struct.unpack_from("<I", columns, at + 4)
            leaves.append(columns[at : at + 8 + 13 * n])
            at += 8 + 13 * n
        assert mode == 1 and at == len(columns)
        digest = wire.prehash("batch", kid, ctx, head + wire.readings_digest(seed, leaves))
        wire.verify(key, digest, signature)
        with self.lock:
            self.copies.setdefault(head[:24], []).append(payload)
            do, argument = self.script.pop(0) if self.script else ("keep", 0)
            if do == "cut":
                return None
            status = {"keep": wire.DURABLE, "lose": wire.DURABLE, "retry": wire.RETRY_AFTER, "reject": wire.REJECTED}[do]
            if status == wire.DURABLE:
                status = wire.DUPLICATE if self.rows.get(head[:24]) else status
                self.rows[head[:24]] = payload
            start = bytes(8) if argument == "unread" else digest[:8]
            argument = 0 if argument == "unread" else argument
            return None if do == "lose" else head[16:24] + start + struct.pack("<BxHI", status, 3, argument)


class Served:
    """A `Service` behind TLS on a free port, with an authority and a ticket in files."""

    def __init__(self, service: Service):
        self.service, self.directory = service, tempfile.TemporaryDirectory()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        key, now = new_key(), datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(hours=1))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        authority = builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.path = Path(self.directory.name)
        (self.path / "ca.pem").write_bytes(authority)
        (self.path / "slip").write_bytes(service.slip())
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        handler = grpc.stream_stream_rpc_method_handler(service.session, wire.decode_message, wire.encode_message)
        handlers = grpc.method_handlers_generic_handler("pulseward.v1.Ingest", {"Session": handler})
        self.server.add_generic_rpc_handlers((handlers,))
        self.port = self.server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(private, authority)]))
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop(None).wait()
        self.directory.cleanup()

    def run(self, batches: int, state: bool = False) -> tuple[int, dict]:
        arguments = ["--endpoint", f"localhost:{self.port}", "--ca", str(self.path / "ca.pem")]
        arguments += ["--ticket", str(self.path / "slip"), "--batches", str(batches)]
        arguments += ["--state", str(self.path / "state")] if state else []
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(io.StringIO()):
            code = device_side.main(arguments)
        return code, json.loads(out.getvalue())


class Hpke(unittest.TestCase):
    def test_the_vector_of_rfc_9180_a_3_1_holds(self):
        ephemeral = int("4995788ef4b9d6132b249ce59a77281493eb39af373d236a1fe415cb0c2d7beb", 16)
        recipient = bytes.fromhex(
            "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a82"
            "6a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0"
        )
        shared, enc = wire.hpke_encap(recipient, ec.derive_private_key(ephemeral, wire.CURVE))
        self.assertEqual(
            enc.hex(),
            "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac9"
            "8536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4",
        )
        self.assertEqual(shared.hex(), "c0d26aeab536609a572b07695d933b589dcf363ff9d93c93adea537aeabb8cb8")
        info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
        key, nonce = wire.hpke_key(shared, info, wire.AES_128_GCM)
        self.assertEqual((key.hex(), nonce.hex()), ("868c066ef58aae6dc589b6cfdd18f97e", "4e0bc5018beba4bf004cca59"))
        plain = bytes.fromhex("4265617574792069732074727574682c20747275746820626561757479")
        self.assertEqual(
            AESGCM(key).encrypt(nonce, plain, b"Count-0").hex(),
            "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434",
        )

    def test_what_is_sealed_opens_with_the_hpke_of_cryptography(self):
        for size in (0, 1, 255, 5000):
            recipient, plain, info = new_key(), bytes(size), b"info %d" % size
            shared, enc = wire.hpke_encap(uncompressed(recipient), new_key())
            key, nonce = wire.hpke_key(shared, info)
            self.assertEqual(SUITE.decrypt(enc + AESGCM(key).encrypt(nonce, plain, None), recipient, info), plain)


class Signing(unittest.TestCase):
    def test_a9_only_canonical_signatures_hold(self):
        key, digest = new_key(), wire.sha256(b"x")
        good = wire.sign(key, digest)
        wire.verify(key.public_key(), digest, good)
        r, s = good[:32], int.from_bytes(good[32:], "big")
        order = wire.ORDER.to_bytes(32, "big")
        high = r + (wire.ORDER - s).to_bytes(32, "big")
        for bad in (high, good[:-1], good + b"\0", bytes(32) + good[32:], r + bytes(32), order + good[32:], r + order):
            with self.subTest(bad=bad.hex()), self.assertRaises(wire.WireError):
                wire.verify(key.public_key(), digest, bad)

    def test_a7_a_signature_of_one_role_is_none_of_another(self):
        key = new_key()
        kid = wire.kid_of(key.public_key())
        signature = wire.sign(key, wire.prehash("hello", kid, wire.ZEROS, b"body"))
        for role in ("offer", "enrol", "batch", "record", "certificate"):
            with self.assertRaises(wire.WireError):
                wire.verify(key.public_key(), wire.prehash(role, kid, wire.ZEROS, b"body"), signature)


class Offers(unittest.TestCase):
    def setUp(self):
        self.service = Service()

    def open(self, message: bytes):
        return wire.open_offer(message, self.service.root_kid, 1_000)

    def test_a_good_offer_holds(self):
        self.assertEqual(self.open(self.service.offer()).key, uncompressed(self.service.sealing))

    def test_a6_an_old_offer_and_an_early_one_are_refused(self):
        for dates in ({"end": 999}, {"begin": 1_001}):
            with self.subTest(dates=dates), self.assertRaises(wire.WireError):
                self.open(self.service.offer(**dates))

    def test_a4_an_offer_of_another_service_or_root_is_refused(self):
        other = Service()
        crossed = other.offer()[: wire.CERTIFICATE_SIZE] + self.service.offer()[wire.CERTIFICATE_SIZE :]
        for bad in (other.offer(), crossed, self.service.offer(root=bytes(32))):
            with self.assertRaises(wire.WireError):
                self.open(bad)

    def test_every_flipped_bit_and_every_cut_is_a_wire_error(self):
        good = self.service.offer()
        for at in range(len(good)):
            flipped = bytearray(good)
            flipped[at] ^= 1 << at % 8
            for bad in (bytes(flipped), good[:at]):
                with self.subTest(at=at), self.assertRaises(wire.WireError):
                    self.open(bad)


class Bytes(unittest.TestCase):
    def test_frames_are_powers_of_two_and_open_only_in_their_order(self):
        one, other = (wire.Frames(bytes(32)) for _ in range(2))
        for size in (0, 235, 236, 5_000):
            sealed = one.seal(9, b"x" * size)
            self.assertIn(len(sealed), (256, 512, 8192))
            self.assertEqual(other.open(sealed), (9, b"x" * size))
        with self.assertRaises(wire.WireError):
            other.open(sealed)

    def test_a_frame_with_another_padding_is_refused(self):
        for payload, size in ((b"abx", 240), (b"ab", 496)):  # something, and more than needed
            plain = (struct.pack("<BI", 1, 2) + payload).ljust(size, b"\0")
            sealed = AESGCM(bytes(32)).encrypt(bytes(12), plain, None)
            with self.subTest(payload=payload), self.assertRaises(wire.WireError):
                wire.Frames(bytes(32)).open(sealed)

    def test_messages_are_those_of_protobuf(self):
        self.assertEqual(wire.encode_message((2, b"x" * 300)), b"\x12\xac\x02" + b"x" * 300)
        for size in (0, 1, 127, 128, 20_000):
            self.assertEqual(wire.decode_message(wire.encode_message((3, bytes(size)))), (3, bytes(size)))
        for bad in (b"", b"\x0a", b"\x0a\x05abc", b"\xff" * 11, b"\x0a\x00\x00"):
            with self.subTest(bad=bad), self.assertRaises(wire.WireError):
                wire.decode_message(bad)

    def test_a17_rows_that_do_not_ascend_and_numbers_that_are_none_are_refused(self):
        for rows in ([(2, 1.0, 0), (1, 1.0, 0)], [(1, 1.0, 0), (1, 1.0, 0)], [(1, float("nan"), 0)], []):
            with self.subTest(rows=rows), self.assertRaises(ValueError):
                wire.leaf_bytes(wire.Series(wire.HEART_RATE, rows))

    def test_a_leaf_is_laid_out_column_by_column(self):
        leaf = wire.leaf_bytes(wire.Series(wire.Kind(513, 1), [(1, 36.6, 4), (2, -0.1, 5)], channel=7))
        self.assertEqual(leaf.hex(), "01" "0102" "07" "02000000" "0100000000000000" "0200000000000000" "6e010000" "ffffffff" "0405")

    def test_the_digest_binds_the_order_of_leaves_and_the_seed(self):
        digests = {wire.readings_digest(seed, leaves) for seed in (b"a", b"b") for leaves in ([b"x", b"y"], [b"y", b"x"])}
        self.assertEqual(len(digests), 4)
        salt = hmac.digest(b"a", bytes(4), "sha256")[:16]
        leaf = wire.sha256(b"pulseward/v1/leaf\0", salt, b"x")
        expected = wire.sha256(b"pulseward/v1/readings\0\x01\0\0\0", leaf)
        self.assertEqual(wire.readings_digest(b"a", [b"x"]), expected)


class Streaming(unittest.TestCase):
    def all_stored_once(self, service: Service, batches: int):
        self.assertEqual(sorted(int.from_bytes(key[16:], "little") for key in service.rows), list(range(batches)))
        for copies in service.copies.values():
            self.assertEqual(len(set(copies)), 1, "a batch is re-sent unchanged")

    def test_it_enrols_and_every_batch_becomes_durable(self):
        with Served(Service()) as served:
            code, result = served.run(9)
            self.assertEqual((code, result), (0, {"enrolled": True, "sent": 9, "durable": 9, "duplicate": 0, "rejected": 0}))
            self.all_stored_once(served.service, 9)

    def test_b2_a_retry_after_brings_back_that_batch_and_what_followed(self):
        script = [("keep", 0), *[("retry", 20)] * 4]
        with Served(Service(script)) as served:
            code, result = served.run(9)
            self.assertEqual((code, result["durable"] + result["duplicate"], result["sent"]), (0, 9, 9))
            self.all_stored_once(served.service, 9)

    def test_a22_a_cut_stream_loses_nothing_and_an_unheard_answer_becomes_a_duplicate(self):
        script = [("keep", 0), ("cut", 0), ("lose", 0)]
        with Served(Service(script)) as served:
            code, result = served.run(6)
            self.assertEqual((code, result["durable"], result["duplicate"]), (0, 5, 1))
            self.all_stored_once(served.service, 6)

    def test_a_rejected_batch_is_counted_and_never_sent_again(self):
        for argument in (0, "unread"):  # by its D, and with zeros where the service had none
            with self.subTest(argument=argument), Served(Service([("reject", argument)])) as served:
                code, result = served.run(3)
                self.assertEqual((code, result["durable"], result["rejected"]), (1, 2, 1))

    def test_the_state_keeps_key_record_and_queue_for_the_next_run(self):
        with Served(Service()) as served:
            first, second = served.run(2, state=True), served.run(3, state=True)
            self.assertEqual((first[0], second[0], second[1]["durable"]), (0, 0, 3))
            self.assertEqual(len(served.service.records), 1)
            self.assertEqual((served.path / "state").stat().st_mode & 0o777, 0o600)
            self.all_stored_once(served.service, 5)


if __name__ == "__main__":
    unittest.main()

"""The bytes of docs/formats/wire.md, written from that page alone: signing, sealing, sessions, batches, enrolling.

Nothing here reads a socket or a file; section numbers are the page's. What a peer sent is taken apart by functions
that raise `WireError` and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import struct
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CURVE = ec.SECP256R1()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
NO_SEQ = 2**64 - 1
ZEROS = bytes(32)

CERTIFICATE_SIZE, SLIP_SIZE, RECORD_SIZE = 148, 393, 147
USE_SERVICE, USE_REGISTRY = 1, 2
PURPOSE_STREAM, PURPOSE_ENROL = 1, 2
UP_BATCH, UP_ENROL = 1, 2
DOWN_STATUS, DOWN_ANSWERS, DOWN_RECORD = 1, 2, 3
DURABLE, PROVEN, DUPLICATE, REJECTED, RETRY_AFTER = 1, 2, 3, 4, 5

# What a peer can make this device hold.
MAX_FRAME = 1 << 20
MAX_QUEUE = 4096


class WireError(Exception):
    """The peer, or whoever sits between, sent what the page does not allow."""


def now_us() -> int:
    """The device's clock: microseconds since the Unix epoch."""
    return time.time_ns() // 1000


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


class Reader:
    """Takes fields off a message from the front; never past its end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise WireError("a message is too short")
        self.at += size
        return self.data[self.at - size : self.at]

    def unpack(self, layout: str) -> tuple:
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def end(self) -> None:
        if self.at != len(self.data):
            raise WireError("a message is too long")


# --- §2 signing ---------------------------------------------------------------------------------------------------


def prehash(role: str, kid: bytes, ctx: bytes, body: bytes) -> bytes:
    """D(role, kid, ctx, body): the 32 bytes that every signature signs."""
    return sha256(b"pulseward/v1/", role.encode(), b"\0", kid, ctx, body)


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def key_of(point: bytes, size: int = 33) -> ec.EllipticCurvePublicKey:
    """The key of a compressed point, or of an uncompressed one where `size` is 65."""
    try:
        if len(point) != size:
            raise ValueError
        return ec.EllipticCurvePublicKey.from_encoded_point(CURVE, point)
    except ValueError as error:
        raise WireError("a point is none of the curve") from error


def kid_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def sign(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    """r and s over a prehash, s brought to its low form."""
    r, s = utils.decode_dss_signature(key.sign(digest, ec.ECDSA(utils.Prehashed(SHA256()))))
    return r.to_bytes(32, "big") + min(s, ORDER - s).to_bytes(32, "big")


def verify(key: ec.EllipticCurvePublicKey, digest: bytes, signature: bytes) -> None:
    """Raises unless the signature is canonical and holds."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if len(signature) != 64 or not 0 < r < ORDER or not 0 < s <= (ORDER - 1) // 2:
        raise WireError("a signature is not canonical")
    try:
        key.verify(utils.encode_dss_signature(r, s), digest, ec.ECDSA(utils.Prehashed(SHA256())))
    except InvalidSignature as error:
        raise WireError("a signature does not hold") from error


def subject_of(certificate: bytes, root: bytes, use: int, now: int) -> ec.EllipticCurvePublicKey:
    """The key that a certificate names, if it holds under `root` for this use and now."""
    reader = Reader(certificate)
    issuer = key_of(reader.take(33))
    version, stated_use, subject, begin, end = reader.unpack("BB33sqq")
    signature = reader.take(64)
    reader.end()
    if kid_of(issuer) != root:
        raise WireError("a certificate is under another root")
    verify(issuer, prehash("certificate", root, ZEROS, certificate[33:-64]), signature)
    if version != 1 or stated_use != use or not begin <= now <= end:
        raise WireError("a certificate is for another use or another time")
    return key_of(subject)


# --- §3 sealing to a key: RFC 9180, base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-GCM -----------------------

KEM, KDF, AES_128_GCM, AES_256_GCM = 0x0010, 0x0001, 0x0001, 0x0002
KEM_SUITE = b"KEM" + KEM.to_bytes(2, "big")


def labeled_extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or ZEROS, b"HPKE-v1" + suite + label + ikm, "sha256")


def labeled_expand(suite: bytes, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
    return HKDFExpand(SHA256(), size, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info).derive(prk)


def hpke_encap(recipient: bytes, ephemeral: ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    """(shared secret, enc) for an uncompressed recipient key."""
    enc = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    dh = ephemeral.exchange(ec.ECDH(), key_of(recipient, 65))
    prk = labeled_extract(KEM_SUITE, b"", b"eae_prk", dh)
    return labeled_expand(KEM_SUITE, prk, b"shared_secret", enc + recipient, 32), enc


def hpke_key(shared: bytes, info: bytes, aead: int = AES_256_GCM) -> tuple[bytes, bytes]:
    """(key, nonce) of the one message that a shared secret seals."""
    suite = b"HPKE" + b"".join(part.to_bytes(2, "big") for part in (KEM, KDF, aead))
    context = b"\0" + labeled_extract(suite, b"", b"psk_id_hash", b"") + labeled_extract(suite, b"", b"info_hash", info)
    secret = labeled_extract(suite, shared, b"secret", b"")
    key = labeled_expand(suite, secret, b"key", context, 32 if aead == AES_256_GCM else 16)
    return key, labeled_expand(suite, secret, b"base_nonce", context, 12)


# --- §4 session ---------------------------------------------------------------------------------------------------


class Offer(NamedTuple):
    """An offer that holds: its bytes, what the service signed of it, and its key for suite 1."""

    content: bytes
    prehash: bytes
    key: bytes


def open_offer(message: bytes, root: bytes, now: int) -> Offer:
    certificate, offer = message[:CERTIFICATE_SIZE], message[CERTIFICATE_SIZE:]
    service = subject_of(certificate, root, USE_SERVICE, now)
    reader = Reader(offer)
    version, stated_root, begin, end, count = reader.unpack("B32sqqB")
    keys = {}
    for _ in range(count):
        suite, size = reader.unpack("BH")
        keys[suite] = reader.take(size)
    signature = reader.take(64)
    reader.end()
    digest = prehash("offer", kid_of(service), ZEROS, offer[:-64])
    verify(service, digest, signature)
    if version != 1 or stated_root != root or not begin <= now <= end:
        raise WireError("an offer is for another root or another time")
    if len(keys.get(1, b"")) != 65:
        raise WireError("an offer has no key of suite 1")
    return Offer(offer, digest, keys[1])


@dataclass
class Device:
    """A device's key, its enrolment and its queue; all that must outlive a restart."""

    key: ec.EllipticCurvePrivateKey
    record: bytes = b""
    incarnation: bytes = b""
    next_seq: int = 0
    acknowledged: tuple[int, bytes] = (NO_SEQ, ZEROS)
    queue: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # seq: (D, payload)
    tokens: list[bytes] = field(default_factory=list)  # for the next hellos

    @property
    def kid(self) -> bytes:
        return kid_of(self.key.public_key())

    @property
    def ctx(self) -> bytes:
        return sha256(self.record) if self.record else ZEROS


def make_hello(device: Device, offer: Offer, purpose: int, token: bytes) -> tuple[bytes, bytes]:
    """(hello message, S)."""
    shared, enc = hpke_encap(offer.key, ec.generate_private_key(CURVE))
    key, nonce = hpke_key(shared, b"pulseward/v1/hello\0" + sha256(offer.content))
    secret = secrets.token_bytes(32)
    enrolling = purpose == PURPOSE_ENROL
    point = point_of(device.key.public_key()) if enrolling else bytes(33)
    incarnation = bytes(16) if enrolling else device.incarnation
    plain = struct.pack("<B33s32s32sqB16s", purpose, point, device.kid, secret, now_us(), 1, incarnation)
    plain += struct.pack("<Q32s28x", *device.acknowledged)
    plain += sign(device.key, prehash("hello", device.kid, device.ctx, offer.prehash + sha256(enc) + plain))
    sealed = AESGCM(key).encrypt(nonce, plain, None)
    return sha256(offer.content)[:16] + b"\x01" + token + enc + sealed, secret


def frame_size(payload: int) -> int:
    """The least power of two that holds a head, so much payload and the tag."""
    return max(256, 1 << (5 + payload + 15).bit_length())


class Frames:
    """One direction of a session: its key and its counter."""

    def __init__(self, key: bytes) -> None:
        self.cipher, self.counter = AESGCM(key), 0

    def nonce(self) -> bytes:
        self.counter += 1
        return struct.pack("<Q4x", self.counter - 1)

    def seal(self, kind: int, payload: bytes) -> bytes:
        plain = struct.pack("<BI", kind, len(payload)) + payload
        return self.cipher.encrypt(self.nonce(), plain.ljust(frame_size(len(payload)) - 16, b"\0"), None)

    def open(self, frame: bytes) -> tuple[int, bytes]:
        if not 256 <= len(frame) <= MAX_FRAME or len(frame) & (len(frame) - 1):
            raise WireError("a frame has a size that no frame has")
        try:
            reader = Reader(self.cipher.decrypt(self.nonce(), frame, None))
        except InvalidTag as error:
            raise WireError("a frame does not open") from error
        kind, size = reader.unpack("BI")
        payload = reader.take(size)
        if any(reader.rest()) or len(frame) != frame_size(size):
            raise WireError("a frame is padded with something, or with more than it needs")
        return kind, payload


def session_keys(secret: bytes, salt: bytes, transcript: bytes) -> tuple[Frames, Frames]:
    """(up, down) from the device's S, the service's R and the digest of offer and hello."""
    prk = hmac.digest(salt, secret, "sha256")
    up, down = (HKDFExpand(SHA256(), 32, b"pulseward/v1/" + way + b"\0" + transcript).derive(prk) for way in (b"up", b"down"))
    return Frames(up), Frames(down)


class Status(NamedTuple):
    """What a session begins with. (The service's time and its view of the queue are of no use to this device.)"""

    max_in_flight: int
    max_batch_bytes: int
    tokens: list[bytes]


def read_status(payload: bytes) -> Status:
    reader = Reader(payload)
    _time, _durable_seq, _digest, max_in_flight, max_batch_bytes, _age, count = reader.unpack("qQ32sHIIB")
    tokens = [reader.take(16) for _ in range(count)]
    reader.end()
    return Status(max_in_flight, max_batch_bytes, tokens)


class Answer(NamedTuple):
    """What became of one batch."""

    seq: int
    digest_start: bytes
    status: int
    code: int
    argument: int


def read_answers(payload: bytes) -> list[Answer]:
    reader = Reader(payload)
    _server_time, count = reader.unpack("qH")
    answers = [Answer(*reader.unpack("Q8sBxHI")) for _ in range(count)]
    reader.end()
    return answers


# --- §5 batch -----------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A vital: its number and its scale, from the table of §5."""

    number: int
    scale: int


HEART_RATE = Kind(1, 1)
SPO2 = Kind(2, 1)
QUALITY_GOOD = 0


class Series(NamedTuple):
    """One kind's rows: (time in µs, value in the kind's unit, quality), strictly ascending in time."""

    kind: Kind
    rows: list[tuple[int, float, int]]
    channel: int = 0


def leaf_bytes(series: Series) -> bytes:
    times, values, qualities = zip(*series.rows)
    if any(later <= earlier for earlier, later in zip(times, times[1:])):
        raise ValueError("rows must ascend strictly in time")
    if not all(math.isfinite(value) for value in values):
        raise ValueError("a value must be a number")
    steps = [round(value * 10**series.kind.scale) for value in values]
    n = len(steps)
    return struct.pack(f"<BHBI{n}q{n}i{n}B", 1, series.kind.number, series.channel, n, *times, *steps, *qualities)


def readings_digest(seed: bytes, leaves: list[bytes]) -> bytes:
    """RD: what stands for the readings under the signature."""
    salts = (hmac.digest(seed, struct.pack("<I", i), "sha256")[:16] for i in range(len(leaves)))
    hashes = (sha256(b"pulseward/v1/leaf\0", salt, leaf) for salt, leaf in zip(salts, leaves))
    return sha256(b"pulseward/v1/readings\0", struct.pack("<I", len(leaves)), *hashes)


def collect(device: Device, series: list[Series]) -> int:
    """Signs a batch of series and queues it; its seq."""
    if len(device.queue) >= MAX_QUEUE:
        raise OverflowError("the queue is full")
    if not device.incarnation:
        device.incarnation = struct.pack("<q", now_us()) + secrets.token_bytes(8)
    leaves = [leaf_bytes(one) for one in sorted(series, key=lambda one: (one.kind.number, one.channel))]
    seq, made, seed = device.next_seq, now_us(), secrets.token_bytes(32)
    head = device.incarnation + struct.pack("<Qq", seq, made)
    digest = prehash("batch", device.kid, device.ctx, head + readings_digest(seed, leaves))
    columns = struct.pack("<H", len(leaves)) + b"".join(leaves)
    device.queue[seq] = (digest, head + seed + b"\x01" + sign(device.key, digest) + columns)
    device.next_seq += 1
    return seq


# --- §6 enrolling -------------------------------------------------------------------------------------------------


def root_of(slip: bytes) -> bytes:
    """The pipeline's root that a ticket pins; all else in a slip is for the registry and the vault."""
    reader = Reader(slip)
    reader.take(CERTIFICATE_SIZE)
    version, _ticket_id, root = reader.unpack("B16s32s")
    if len(slip) != SLIP_SIZE or version != 1:
        raise WireError("that is not a ticket slip")
    return root


def make_enrol(device: Device, slip: bytes, transcript: bytes, attestation: bytes = b"") -> bytes:
    body = slip + struct.pack("<H", len(attestation)) + attestation
    return body + sign(device.key, prehash("enrol", device.kid, ZEROS, transcript + body))


def check_record(message: bytes, device: Device, root: bytes) -> bytes:
    """The enrolment record of an answer, if the registry signed it for this device under this root."""
    certificate, record = message[:CERTIFICATE_SIZE], message[CERTIFICATE_SIZE:]
    registry = subject_of(certificate, root, USE_REGISTRY, now_us())
    version, point, stated_root = Reader(record).unpack("B33s32s")
    if len(record) != RECORD_SIZE or (version, point, stated_root) != (1, point_of(device.key.public_key()), root):
        raise WireError("a record is for another device or root")
    verify(registry, prehash("record", kid_of(registry), ZEROS, record[:-64]), record[-64:])
    return record


# --- §1 the messages ----------------------------------------------------------------------------------------------

UP_HELLO, UP_FRAME = 1, 2
DOWN_OFFER, DOWN_WELCOME, DOWN_FRAME = 1, 2, 3


def encode_message(message: tuple[int, bytes]) -> bytes:
    """A protobuf message with one field of bytes."""
    number, content = message
    size, prefix = len(content), bytes([number << 3 | 2])
    while size > 0x7F:
        prefix, size = prefix + bytes([size & 0x7F | 0x80]), size >> 7
    return prefix + bytes([size]) + content


def decode_message(data: bytes) -> tuple[int, bytes]:
    """(field, bytes) of the one field that a message sets; (0, nothing) if it is one that this page does not know."""
    reader = Reader(data)
    tag, size = read_varint(reader), read_varint(reader)
    if tag & 7 != 2:
        return 0, b""
    content = reader.take(size)
    reader.end()
    return tag >> 3, content


def read_varint(reader: Reader) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = reader.take(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise WireError("a varint does not end")

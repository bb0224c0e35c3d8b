"""A Pulseward device: enrols with a ticket slip, then streams signed and sealed batches until each is answered.

It is a second implementation of docs/formats/wire.md, for makers of devices to read and for tests to hold that page
against. The bytes are in `pulseward_wire.py` beside it; here are the stream, the session, the queue and the command.
It needs `cryptography` and `grpcio`.

Invariants:
  * A batch is made once, kept until a sealed answer settles it, and re-sent unchanged.
  * Nothing that is not sealed drops data: an end of the stream, whatever its status, is only a reason to come back.
  * Batches wait for the welcome: who replays a hello gets nothing from it.

    python pulseward_device.py --endpoint HOST:PORT --ca tls-ca.pem --ticket FILE_OR_BASE64 --batches N [--state FILE]
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import math
import os
import queue
import secrets
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pulseward_wire as wire
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from pulseward_wire import Answer, Device, Series, WireError

# What a peer can make this device do.
MAX_OFFERS = 3
MAX_IDLE_CONNECTIONS = 10
ANSWER_DEADLINE_S = 30.0
MAX_RETRY_S = 60.0


class StreamEnded(Exception):
    """The stream is over; whatever waits for an answer is sent again on the next one."""


class EnrolmentRefused(Exception):
    """The service answered an enrolment with a sealed rejection."""


# --- a stream -----------------------------------------------------------------------------------------------------


class Stream:
    """One gRPC stream: a thread reads it into a bounded inbox, so that waiting for an answer can have an end."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.outbox: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self.inbox: queue.Queue[tuple[int, bytes] | None] = queue.Queue(maxsize=1024)
        method = channel.stream_stream("/pulseward.v1.Ingest/Session", wire.encode_message, wire.decode_message)
        self.call = method(iter(self.outbox.get, None))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        try:
            for message in self.call:
                self.inbox.put(message)
        except grpc.RpcError:
            pass  # whatever the status says: the stream is over, and that is all that is believed of it
        self.inbox.put(None)

    def send(self, field_number: int, content: bytes) -> None:
        self.outbox.put((field_number, content))

    def receive(self, timeout: float = ANSWER_DEADLINE_S) -> tuple[int, bytes]:
        """The next message; `queue.Empty` when none comes in time."""
        message = self.inbox.get(timeout=max(timeout, 0.0))
        if message is None:
            raise StreamEnded
        return message

    def close(self) -> None:
        self.outbox.put(None)
        self.call.cancel()

# --- a session, from the offer to the last answer --------------------------------------------------------------------


@dataclass
class Counts:
    """What became of the batches, each counted once however often it was sent."""

    sent: set[int] = field(default_factory=set)
    durable: int = 0
    duplicate: int = 0
    rejected: int = 0

    @property
    def settled(self) -> int:
        return self.durable + self.duplicate + self.rejected


class Session:
    """A welcomed session: keys for both directions over one stream."""

    def __init__(self, stream: Stream, device: Device, root: bytes, purpose: int, token: bytes = bytes(16)) -> None:
        self.stream = stream
        number, content = stream.receive()
        for _ in range(MAX_OFFERS):
            if number != wire.DOWN_OFFER:
                break
            offer = wire.open_offer(content, root, wire.now_us())
            hello, secret = wire.make_hello(device, offer, purpose, token)
            self.transcript = wire.sha256(offer.content, hello)
            stream.send(wire.UP_HELLO, hello)
            number, content = stream.receive()
            token = bytes(16)  # it is spent
        if number != wire.DOWN_WELCOME:
            raise WireError("a stream neither welcomes nor ends")
        self.up, self.down = wire.session_keys(secret, content[:32], self.transcript)
        kind, payload = self.down.open(content[32:])
        if kind != wire.DOWN_STATUS:
            raise WireError("a welcome has no status")
        self.status = wire.read_status(payload)

    def send(self, kind: int, payload: bytes) -> None:
        self.stream.send(wire.UP_FRAME, self.up.seal(kind, payload))

    def receive(self, timeout: float = ANSWER_DEADLINE_S) -> tuple[int, bytes]:
        number, content = self.stream.receive(timeout)
        if number != wire.DOWN_FRAME:
            raise WireError("a session goes on with something that is no frame")
        return self.down.open(content)


def enrol(channel: grpc.Channel, device: Device, slip: bytes) -> None:
    """Exchanges a ticket slip for the device's record."""
    root, stream = wire.root_of(slip), Stream(channel)
    try:
        session = Session(stream, device, root, wire.PURPOSE_ENROL)
        session.send(wire.UP_ENROL, wire.make_enrol(device, slip, session.transcript))
        kind, payload = session.receive()
        if kind == wire.DOWN_RECORD:
            device.record = wire.check_record(payload, device, root)
        elif kind == wire.DOWN_ANSWERS:
            raise EnrolmentRefused(f"code {', '.join(str(answer.code) for answer in wire.read_answers(payload))}")
        else:
            raise WireError("an enrolment is answered with something else")
    finally:
        stream.close()


class Sender:
    """Sends a device's queue over one session, lowest seq first, until every batch of it is answered."""

    def __init__(self, session: Session, device: Device, counts: Counts) -> None:
        self.session, self.device, self.counts = session, device, counts
        self.next = min(device.queue, default=0)  # the lowest seq not sent on this stream, or to be sent again
        self.resume_at: float | None = None  # when to go on after a RETRY_AFTER

    def run(self) -> None:
        while self.device.queue:
            if self.resume_at is None or time.monotonic() >= self.resume_at:
                self.resume_at = None
                self.fill()
            wait = ANSWER_DEADLINE_S if self.resume_at is None else self.resume_at - time.monotonic()
            try:
                kind, payload = self.session.receive(wait)
            except queue.Empty:
                if self.resume_at is None:
                    raise StreamEnded from None  # no answer for so long: another stream may have one
                continue
            if kind == wire.DOWN_ANSWERS:
                for answer in wire.read_answers(payload):
                    self.settle(answer)

    def fill(self) -> None:
        """Sends while the window has room: all that is below `next` and still queued waits for its answer."""
        waiting = sum(seq < self.next for seq in self.device.queue)
        for seq in sorted(seq for seq in self.device.queue if seq >= self.next):
            if waiting >= self.session.status.max_in_flight:
                return
            _, payload = self.device.queue[seq]
            if len(payload) > self.session.status.max_batch_bytes:
                raise WireError("a batch is larger than the service takes")
            self.session.send(wire.UP_BATCH, payload)
            self.counts.sent.add(seq)
            self.next, waiting = seq + 1, waiting + 1

    def settle(self, answer: Answer) -> None:
        digest, _ = self.device.queue.get(answer.seq, (b"", b""))
        unread = answer.status == wire.REJECTED and not any(answer.digest_start)  # it did not parse, so it has no D
        if not digest or (digest[:8] != answer.digest_start and not unread):
            return  # settled before, or never sent
        if answer.status == wire.RETRY_AFTER:
            pause = min(answer.argument / 1000, MAX_RETRY_S)
            if self.resume_at is None or answer.seq < self.next:
                self.resume_at = time.monotonic() + pause
            self.next = min(self.next, answer.seq)
            return
        if answer.status in (wire.DURABLE, wire.PROVEN, wire.DUPLICATE):
            self.counts.duplicate += answer.status == wire.DUPLICATE
            self.counts.durable += answer.status != wire.DUPLICATE
            last, _ = self.device.acknowledged
            if last == wire.NO_SEQ or last < answer.seq:
                self.device.acknowledged = (answer.seq, digest)
        elif answer.status == wire.REJECTED:
            self.counts.rejected += 1
        else:
            return
        del self.device.queue[answer.seq]


def stream_queue(channel: grpc.Channel, device: Device, root: bytes, counts: Counts) -> bool:
    """Streams until every batch is answered, over as many streams as it takes; false when none of late helped."""
    idle = 0
    while device.queue and idle < MAX_IDLE_CONNECTIONS:
        stream, before = Stream(channel), counts.settled
        try:
            token = device.tokens.pop() if device.tokens else bytes(16)
            session = Session(stream, device, root, wire.PURPOSE_STREAM, token)
            device.tokens = session.status.tokens
            Sender(session, device, counts).run()
        except (StreamEnded, WireError, queue.Empty) as error:
            print(f"stream over: {error!r}", file=sys.stderr)
        finally:
            stream.close()
        idle = 0 if counts.settled > before else idle + 1
        if device.queue:
            time.sleep(min(0.1 * 2**idle, 5.0) * (0.5 + secrets.randbelow(1000) / 1000))
    return not device.queue


# --- the command --------------------------------------------------------------------------------------------------


def load(path: Path | None) -> Device:
    if path is None or not path.exists():
        return Device(ec.generate_private_key(wire.CURVE))
    kept = json.loads(path.read_text())
    return Device(
        key=load_pem_private_key(kept["key"].encode(), None),
        record=bytes.fromhex(kept["record"]),
        incarnation=bytes.fromhex(kept["incarnation"]),
        next_seq=kept["next_seq"],
        acknowledged=(kept["acknowledged"][0], bytes.fromhex(kept["acknowledged"][1])),
        queue={seq: (bytes.fromhex(digest), bytes.fromhex(payload)) for seq, digest, payload in kept["queue"]},
    )


def store(device: Device, path: Path | None) -> None:
    """Replaces the state file in one step. It holds a private key in the clear: a product keeps that in hardware."""
    if path is None:
        return
    kept = {
        "key": device.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "record": device.record.hex(),
        "incarnation": device.incarnation.hex(),
        "next_seq": device.next_seq,
        "acknowledged": (device.acknowledged[0], device.acknowledged[1].hex()),
        "queue": [(seq, digest.hex(), payload.hex()) for seq, (digest, payload) in device.queue.items()],
    }
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(kept, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def read_slip(text: str) -> bytes:
    """A ticket slip from a file, raw or as base64, or from base64 on the command line."""
    try:
        content = Path(text).read_bytes() if len(text) < 500 and Path(text).is_file() else text.encode()
        if len(content) == wire.SLIP_SIZE:
            return content
        return base64.b64decode(content.strip().replace(b"-", b"+").replace(b"_", b"/") + b"==")
    except binascii.Error as error:
        raise WireError("that is not a ticket slip") from error


def simulate(device: Device, batches: int) -> None:
    """A calm patient's heart rate and oxygen saturation once a second, five seconds a batch, up to now."""
    began = wire.now_us() - batches * 5_000_000
    for batch in range(batches):
        times = [began + (batch * 5 + second) * 1_000_000 for second in range(5)]
        beats = [(at, 72 + 6 * math.sin(at / 2e7), wire.QUALITY_GOOD) for at in times]
        oxygen = [(at, 97 + math.sin(at / 3e7), wire.QUALITY_GOOD) for at in times]
        wire.collect(device, [Series(wire.HEART_RATE, beats), Series(wire.SPO2, oxygen)])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A Pulseward device: enrols with a ticket slip and streams.")
    parser.add_argument("--endpoint", required=True, metavar="HOST:PORT")
    parser.add_argument("--ca", required=True, type=Path, help="PEM of the authority for TLS")
    parser.add_argument("--ticket", required=True, help="ticket slip: a file, or base64")
    parser.add_argument("--batches", required=True, type=int)
    parser.add_argument("--state", type=Path, help="keeps key, record and queue between runs")
    options = parser.parse_args(arguments)

    slip, device, counts = read_slip(options.ticket), load(options.state), Counts()
    root, done = wire.root_of(slip), False
    credentials = grpc.ssl_channel_credentials(options.ca.read_bytes())
    limits = [("grpc.max_receive_message_length", 2 * wire.MAX_FRAME)]
    with grpc.secure_channel(options.endpoint, credentials, limits) as channel:
        try:
            store(device, options.state)  # the key first: a ticket is worth one key
            if not device.record:
                enrol(channel, device, slip)
            simulate(device, options.batches)
            store(device, options.state)
            done = stream_queue(channel, device, root, counts)
        except (EnrolmentRefused, StreamEnded, WireError, queue.Empty) as error:
            print(f"not enrolled: {error!r}", file=sys.stderr)
        finally:
            store(device, options.state)
    result = {"enrolled": bool(device.record), "sent": len(counts.sent)}
    print(json.dumps(result | {name: getattr(counts, name) for name in ("durable", "duplicate", "rejected")}))
    return 0 if done and not counts.rejected else 1


if __name__ == "__main__":
    sys.exit(main())

//! How many bytes a batch takes on the wire, against its readings alone.
//!
//! The sealed frame is made and measured. What carries it is counted from the specifications: a
//! field of protobuf, the prefix of gRPC, a DATA frame of HTTP/2 and a record of TLS 1.3, each for
//! one batch alone, as when a device sends one a minute. TCP and below are left out on both sides.
//! A frame is padded, so that its length tells less of what is in it: the target leaves room for that.

use anyhow::Context;
use pulseward_base::{Micros, Seq};
use pulseward_crypto::frame::{Answer, Answers, DownFrame, Outcome};

use super::readings::{READINGS, Wearable, minute};
use crate::figure::{Figure, Lines, Target};

/// The prefix of a gRPC message: a flag and a length.
const GRPC: usize = 5;
/// The head of a frame of HTTP/2.
const HTTP2: usize = 9;
/// A record of TLS 1.3: head, type of content, tag.
const TLS: usize = 5 + 1 + 16;

pub(crate) fn measure() -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let mut device = Wearable::in_session()?;
    let columns = minute()?;
    let bare = columns.encode().len();
    let payload = device.sign(&columns).payload.len();
    let frame = device.send(&columns)?.len();
    let message = frame + field_head(frame)?;
    let wire = message + GRPC + HTTP2 + TLS;
    let part = |name: &str, bytes: usize| format!("{name:44} {bytes:6} B");
    lines.say(part("readings alone, in columns", bare));
    lines.say(part("place, seed and signature", payload - bare));
    lines.say(part("the session's seal", frame - payload));
    lines.say(part("protobuf, gRPC, HTTP/2, TLS 1.3", wire - frame));
    lines.say(part("on the wire", wire));
    lines.say(part(
        "on the wire, a reading (rounded up)",
        wire.div_ceil(READINGS),
    ));
    lines.say(part("the answer's frame", answer(&mut device)?));
    let figure = Figure::new(
        "wire",
        "bytes on the wire, a batch of 60",
        wire as f64,
        bare as f64,
        Target::RatioAtMost(1.35),
    );
    Ok(figure
        .versus("bytes: its readings alone")
        .with_lines(lines.into_vec()))
}

/// Returns how many bytes the frame has that answers one batch.
fn answer(device: &mut Wearable) -> anyhow::Result<usize> {
    let answer = Answer {
        seq: Seq(0),
        d8: [0; 8],
        outcome: Outcome::Durable,
    };
    let answers = Answers {
        time: Micros(0),
        answers: vec![answer],
    };
    Ok(device.server.seal(&DownFrame::Answers(answers))?.len())
}

/// How many bytes protobuf puts before a field of `length` bytes: the tag, and the length in groups
/// of seven bits.
fn field_head(length: usize) -> anyhow::Result<usize> {
    let bits = length.checked_ilog2().context("a frame is not empty")? as usize + 1;
    Ok(1 + bits.div_ceil(7))
}

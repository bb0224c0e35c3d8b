//! Walking through the frames of a file, checking each over the bytes as they are read.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::{
    frame::{self, FrameHeader, FrameKind, HEADER_SIZE, Record},
    fs::LogFile,
};
use crate::LogError;

/// How much is read at once.
const CHUNK: usize = 256 << 10;

/// A file that is read forward, frame by frame, up to `end`.
pub(super) struct Frames {
    file: Arc<dyn LogFile>,
    name: String,
    /// Where the buffer begins in the file.
    at: u64,
    end: u64,
    buffer: BytesMut,
}

/// What stands where a frame may stand.
pub(super) enum Next {
    /// A whole frame.
    Frame {
        at: u64,
        kind: FrameKind,
        payload: Bytes,
    },
    /// The end of what was to be read, right behind a frame.
    End,
    /// Bytes that are no whole frame.
    Bad { at: u64 },
}

impl Frames {
    pub(super) fn new(file: Arc<dyn LogFile>, name: String, from: u64, end: u64) -> Self {
        Self {
            file,
            name,
            at: from,
            end,
            buffer: BytesMut::new(),
        }
    }

    /// Returns the place of the next frame.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// Takes the next frame, whatever stands there.
    pub(super) fn next(&mut self) -> Result<Next, LogError> {
        if self.at >= self.end {
            return Ok(Next::End);
        }
        let at = self.at;
        if !self.fill(HEADER_SIZE)? {
            return Ok(Next::Bad { at });
        }
        let header = self.buffer.first_chunk().and_then(FrameHeader::decode);
        let Some(header) = header else {
            return Ok(Next::Bad { at });
        };
        let size = HEADER_SIZE + header.length();
        if !self.fill(size)? {
            return Ok(Next::Bad { at });
        }
        let payload = self.buffer.get(HEADER_SIZE..size).unwrap_or_default();
        let Some(kind) = header.check(payload) else {
            if header.is_newer(payload) {
                return Err(self.damaged(at, "it was written by a newer version"));
            }
            return Ok(Next::Bad { at });
        };
        let payload = self.buffer.split_to(size).freeze().slice(HEADER_SIZE..);
        self.at += size as u64;
        Ok(Next::Frame { at, kind, payload })
    }

    /// Takes the next frame of records. None at the end. Anything else is damage: what is read
    /// here was durable.
    pub(super) fn next_records(&mut self) -> Result<Option<(u64, Vec<Record>)>, LogError> {
        loop {
            match self.next()? {
                Next::End => return Ok(None),
                Next::Bad { at } => return Err(self.damaged(at, "a frame does not hold")),
                Next::Frame {
                    at,
                    kind: FrameKind::Group | FrameKind::Rows,
                    payload,
                } => {
                    let (_, records) = frame::decode_records(&payload)
                        .map_err(|_| self.damaged(at, "records are malformed"))?;
                    return Ok(Some((at, records)));
                }
                Next::Frame { .. } => {}
            }
        }
    }

    /// Returns the error of damage at `at`.
    pub(super) fn damaged(&self, at: u64, what: &'static str) -> LogError {
        LogError::Damaged {
            file: self.name.clone(),
            at,
            what,
        }
    }

    /// Makes the buffer hold `count` bytes. False: the end comes first.
    fn fill(&mut self, count: usize) -> io::Result<bool> {
        if self.buffer.len() >= count {
            return Ok(true);
        }
        if self.end - self.at < count as u64 {
            return Ok(false);
        }
        let have = self.buffer.len();
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = count.max(CHUNK).min(left);
        self.buffer.resize(want, 0);
        let (_, rest) = self.buffer.split_at_mut(have);
        let got = self.file.read_at(rest, self.at + have as u64)?;
        self.buffer.truncate(have + got);
        Ok(self.buffer.len() >= count)
    }
}

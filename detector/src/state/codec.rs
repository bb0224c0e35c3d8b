//! The bytes of a patient's state and of a partition's record, as `docs/formats/state.md` lays them
//! out. Decoding is total: foreign bytes give a value or [`Malformed`], and one value has one
//! spelling.

use std::collections::BTreeMap;

use pulseward_base::{
    AlertId, Incarnation, KeyId, Kid, Micros, Offset, Pseudonym, Seq, Slot,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_eventlog::{
    Cause, Position,
    body::{Lane, PartitionRecord, Severity},
};
use pulseward_vitals::Kind;

use super::{
    partition::Feed,
    patient::{
        DEVICES, Device, Episode, Open, Patient, QUEUES, Reading, START, Snooze, Stream, Vital,
    },
    queue::{MISSING_RANGES, Queue, age},
    votes::{MOfN, Vote, Votes},
    window::{Ring, Summary, Windows},
};

/// The version of a patient's state that is written.
pub const VERSION: u8 = 1;

/// The most bytes a patient's state has.
pub const MOST_BYTES: usize = 8192;

/// "None" where a time stands.
const NO_TIME: i64 = i64::MIN;

/// Returns the bytes of `patient`, beside what the partition knew there: wherever a patient's record
/// turns out to be older than the partition's, the run can be taken up from it.
#[must_use]
pub fn encode(patient: &Patient, feed: &Feed) -> Vec<u8> {
    let mut writer = Writer::with_capacity(2048);
    writer
        .u8(VERSION)
        .put(&patient.pseudonym.0)
        .put(&patient.key.0)
        .u16(patient.slot.0);
    writer.put(&patient.sealed_handle);
    patient.as_of.encode(&mut writer);
    put_feed(feed, &mut writer);
    put_time(patient.newest, &mut writer);
    put_episode(&patient.live, &mut writer);
    put_episode(&patient.past, &mut writer);
    put_count(patient.vitals.len(), &mut writer);
    for (kind, vital) in &patient.vitals {
        put_vital(*kind, vital, &mut writer);
    }
    put_count(patient.devices.len(), &mut writer);
    for device in &patient.devices {
        put_device(device, &mut writer);
    }
    put_count(patient.snoozes.len(), &mut writer);
    for (lane, snooze) in &patient.snoozes {
        writer.u8(lane.number()).i64(snooze.until.0);
        writer.u8(snooze.level.number());
    }
    writer.into_vec()
}

/// Returns the patient that `bytes` spell, and what the partition knew there.
pub fn decode(bytes: &[u8]) -> Result<(Patient, Feed), Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != VERSION {
        return Err(Malformed);
    }
    let (pseudonym, key) = (Pseudonym(reader.array()?), KeyId(reader.array()?));
    let mut patient = Patient::new(pseudonym, key, Slot(reader.u16()?));
    patient.sealed_handle = reader.array()?;
    patient.as_of = Position::decode(&mut reader)?;
    let feed = feed(&mut reader)?;
    patient.newest = time(&mut reader)?;
    patient.live = episode(&mut reader)?;
    patient.past = episode(&mut reader)?;
    for _ in 0..count(&mut reader, Kind::ALL.len())? {
        let (kind, vital) = vital(&mut reader)?;
        ascending(patient.vitals.last_key_value().map(|(last, _)| *last), kind)?;
        patient.vitals.insert(kind, vital);
    }
    for _ in 0..count(&mut reader, DEVICES)? {
        let device = device(&mut reader)?;
        ascending(patient.devices.last().map(|last| last.kid), device.kid)?;
        patient.devices.push(device);
    }
    for _ in 0..count(&mut reader, Lane::ALL.len())? {
        let lane = Lane::from_number(reader.u8()?).ok_or(Malformed)?;
        let until = Micros(reader.i64()?);
        let level = Severity::from_number(reader.u8()?).ok_or(Malformed)?;
        ascending(
            patient.snoozes.last_key_value().map(|(last, _)| *last),
            lane,
        )?;
        patient.snoozes.insert(lane, Snooze { until, level });
    }
    reader.end()?;
    Ok((patient, feed))
}

fn put_vital(kind: Kind, vital: &Vital, writer: &mut Writer) {
    writer
        .u16(kind.spec().number)
        .i64(vital.last.at.0)
        .i32(vital.last.value);
    writer.u8(u8::from(vital.last.unverified));
    put_episode(&vital.guard, writer);
    let base = kind.spec().lowest;
    writer.i32(base);
    for ring in &vital.windows.rings {
        put_ring(ring, base, writer);
    }
}

fn vital(reader: &mut Reader<'_>) -> Result<(Kind, Vital), Malformed> {
    let kind = kind(reader)?;
    let last = Reading {
        at: Micros(reader.i64()?),
        value: reader.i32()?,
        unverified: flag(reader)?,
    };
    let guard = episode(reader)?;
    let base = reader.i32()?;
    if base != kind.spec().lowest {
        return Err(Malformed);
    }
    let mut windows = Windows::default();
    for ring in &mut windows.rings {
        fill_ring(ring, base, reader)?;
    }
    Ok((
        kind,
        Vital {
            last,
            windows,
            guard,
        },
    ))
}

/// Buckets count from the newest back, a bit for each that is not empty.
fn put_ring(ring: &Ring, base: i32, writer: &mut Writer) {
    let newest = ring.buckets.last().map_or(0, |(number, _)| *number);
    let back = |number: i64| u32::try_from(newest.saturating_sub(number)).unwrap_or(u32::MAX);
    let bit = |number: i64| 1_u16.checked_shl(back(number)).unwrap_or(0);
    writer.u16(
        ring.buckets
            .iter()
            .fold(0, |mask, (number, _)| mask | bit(*number)),
    );
    if !ring.buckets.is_empty() {
        writer.i64(newest);
    }
    for (_, summary) in &ring.buckets {
        let above =
            |value: i32| u16::try_from(i64::from(value) - i64::from(base)).unwrap_or(u16::MAX);
        let sum = summary
            .sum
            .saturating_sub(i64::from(summary.count) * i64::from(base));
        writer.u16(u16::try_from(summary.count).unwrap_or(u16::MAX));
        writer.u32(u32::try_from(sum).unwrap_or(u32::MAX));
        writer.u16(above(summary.min)).u16(above(summary.max));
    }
}

fn fill_ring(ring: &mut Ring, base: i32, reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let mask = reader.u16()?;
    if mask == 0 {
        return Ok(());
    }
    let span = u32::try_from(ring.span().buckets()).map_err(|_| Malformed)?;
    if mask & 1 == 0 || mask.checked_shr(span).unwrap_or(0) != 0 {
        return Err(Malformed);
    }
    let newest = reader.i64()?;
    for back in (0..span).rev().filter(|back| mask & (1 << back) != 0) {
        let number = newest.checked_sub(i64::from(back)).ok_or(Malformed)?;
        ring.buckets.push((number, summary(base, reader)?));
    }
    Ok(())
}

fn summary(base: i32, reader: &mut Reader<'_>) -> Result<Summary, Malformed> {
    let (count, sum) = (reader.u16()?, reader.u32()?);
    let (min, max) = (reader.u16()?, reader.u16()?);
    let within = u64::from(count) * u64::from(min)..=u64::from(count) * u64::from(max);
    if count == 0 || min > max || !within.contains(&u64::from(sum)) {
        return Err(Malformed);
    }
    let above = |value: u16| base.checked_add(i32::from(value)).ok_or(Malformed);
    Ok(Summary {
        count: u32::from(count),
        sum: i64::from(sum) + i64::from(count) * i64::from(base),
        min: above(min)?,
        max: above(max)?,
    })
}

fn put_device(device: &Device, writer: &mut Writer) {
    writer.put(&device.kid.0).u8(u8::from(device.revoked));
    put_time(device.heard, writer);
    put_open(device.silent, writer);
    put_open(device.skewed, writer);
    put_open(device.forked, writer);
    put_count(device.streams.len(), writer);
    for (kind, stream) in &device.streams {
        writer.u16(kind.spec().number).i64(stream.heard.0);
        put_open(stream.silent, writer);
    }
    put_count(device.queues.len(), writer);
    for queue in &device.queues {
        put_queue(queue, writer);
    }
}

fn device(reader: &mut Reader<'_>) -> Result<Device, Malformed> {
    let mut device = Device::new(Kid(reader.array()?));
    device.revoked = flag(reader)?;
    device.heard = time(reader)?;
    device.silent = open(reader)?;
    device.skewed = open(reader)?;
    device.forked = open(reader)?;
    let mut streams = BTreeMap::new();
    for _ in 0..count(reader, Kind::ALL.len())? {
        let kind = kind(reader)?;
        ascending(streams.last_key_value().map(|(last, _)| *last), kind)?;
        streams.insert(
            kind,
            Stream {
                heard: Micros(reader.i64()?),
                silent: open(reader)?,
            },
        );
    }
    device.streams = streams;
    for _ in 0..count(reader, QUEUES)? {
        let queue = queue(reader)?;
        let last = device.queues.last().map(|last| age(&last.incarnation));
        ascending(last, age(&queue.incarnation))?;
        device.queues.push(queue);
    }
    Ok(device)
}

fn put_queue(queue: &Queue, writer: &mut Writer) {
    writer
        .put(&queue.incarnation.0)
        .u64(queue.highest.0)
        .u64(queue.window);
    put_count(queue.missing.len(), writer);
    let short = |distance: u64| u32::try_from(distance).unwrap_or(u32::MAX);
    for (first, last) in &queue.missing {
        writer.u32(short(queue.highest.0.saturating_sub(*last)));
        writer.u32(short(last.saturating_sub(*first)));
    }
}

fn queue(reader: &mut Reader<'_>) -> Result<Queue, Malformed> {
    let (incarnation, highest) = (Incarnation(reader.array()?), Seq(reader.u64()?));
    let window = reader.u64()?;
    let unborn = (0..64)
        .find(|back| highest.0 < *back)
        .map_or(0, |back| u64::MAX << back);
    if window & 1 == 0 || window & unborn != 0 {
        return Err(Malformed);
    }
    let mut missing: Vec<(u64, u64)> = Vec::new();
    for _ in 0..count(reader, MISSING_RANGES)? {
        let (back, length) = (u64::from(reader.u32()?), u64::from(reader.u32()?));
        let last = highest
            .0
            .checked_sub(back)
            .filter(|_| back >= super::queue::WINDOW)
            .ok_or(Malformed)?;
        let first = last.checked_sub(length).ok_or(Malformed)?;
        ascending(missing.last().map(|(_, last)| *last), first)?;
        missing.push((first, last));
    }
    Ok(Queue {
        incarnation,
        highest,
        window,
        missing,
    })
}

fn put_episode(episode: &Episode, writer: &mut Writer) {
    put_time(episode.votes.last, writer);
    put_count(episode.votes.votes.len(), writer);
    for vote in &episode.votes.votes {
        let number = |severity: Option<Severity>| severity.map_or(0, Severity::number);
        writer.u8(number(vote.certain) | u8::from(vote.watch) << 2 | number(vote.possible) << 3);
    }
    put_open(episode.open, writer);
}

fn episode(reader: &mut Reader<'_>) -> Result<Episode, Malformed> {
    let last = time(reader)?;
    let mut votes = Vec::new();
    for _ in 0..count(reader, usize::from(MOfN::MOST))? {
        let bits = reader.u8()?;
        if bits >> 5 != 0 {
            return Err(Malformed);
        }
        let severity = |bits: u8| Severity::from_number(bits & 3);
        votes.push(Vote {
            certain: severity(bits),
            watch: bits & 4 != 0,
            possible: severity(bits >> 3),
        });
    }
    Ok(Episode {
        votes: Votes { votes, last },
        open: open(reader)?,
    })
}

fn put_open(open: Option<Open>, writer: &mut Writer) {
    match open {
        Some(open) => {
            let marks = u8::from(open.acknowledged) << 2 | u8::from(open.snoozed) << 3;
            writer.u8(open.severity.number() | marks).put(&open.id.0)
        }
        None => writer.u8(0),
    };
}

fn open(reader: &mut Reader<'_>) -> Result<Option<Open>, Malformed> {
    match reader.u8()? {
        0 => Ok(None),
        bits if bits >> 4 != 0 => Err(Malformed),
        bits => Ok(Some(Open {
            severity: Severity::from_number(bits & 3).ok_or(Malformed)?,
            acknowledged: bits & 4 != 0,
            snoozed: bits & 8 != 0,
            id: AlertId(reader.array()?),
        })),
    }
}

fn put_feed(feed: &Feed, writer: &mut Writer) {
    put_time(feed.log_time, writer);
    put_time(feed.ingest_heard, writer);
    put_time(feed.back, writer);
    put_open(feed.silent, writer);
    writer.u8(u8::from(feed.ended));
}

fn feed(reader: &mut Reader<'_>) -> Result<Feed, Malformed> {
    Ok(Feed {
        log_time: time(reader)?,
        ingest_heard: time(reader)?,
        back: time(reader)?,
        silent: open(reader)?,
        ended: flag(reader)?,
    })
}

fn put_time(time: Option<Micros>, writer: &mut Writer) {
    writer.i64(time.map_or(NO_TIME, |time| time.0));
}

fn time(reader: &mut Reader<'_>) -> Result<Option<Micros>, Malformed> {
    Ok(Some(reader.i64()?)
        .filter(|time| *time != NO_TIME)
        .map(Micros))
}

fn put_count(count: usize, writer: &mut Writer) {
    writer.u8(u8::try_from(count).unwrap_or(u8::MAX));
}

fn count(reader: &mut Reader<'_>, most: usize) -> Result<usize, Malformed> {
    let count = usize::from(reader.u8()?);
    if count > most {
        Err(Malformed)
    } else {
        Ok(count)
    }
}

fn kind(reader: &mut Reader<'_>) -> Result<Kind, Malformed> {
    Kind::from_number(reader.u16()?).ok_or(Malformed)
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}

fn ascending<T: Ord>(last: Option<T>, next: T) -> Result<(), Malformed> {
    if last.is_none_or(|last| last < next) {
        Ok(())
    } else {
        Err(Malformed)
    }
}

/// What is known of one topic of outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// The last output.
    pub last: Option<Cause>,
    /// Where in the topic the next one is to be looked for; what lies before is known.
    pub next: Offset,
}

/// The record of a partition: every patient's record is complete to `as_of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The first entry of the feed that is not in it.
    pub as_of: Position,
    /// What the partition knew there.
    pub feed: Feed,
    /// Its scores.
    pub scores: Trail,
    /// Its alerts.
    pub alerts: Trail,
    /// Whoever wrote the record has seen the topic `state` up to here, and written over what a
    /// zombie had left there.
    pub verified: Offset,
}

impl Default for Checkpoint {
    fn default() -> Self {
        let (scores, alerts) = (Trail::default(), Trail::default());
        Self {
            as_of: START,
            feed: Feed::default(),
            scores,
            alerts,
            verified: Offset(0),
        }
    }
}

impl Checkpoint {
    /// Returns it as the log keeps it.
    #[must_use]
    pub fn to_record(self) -> PartitionRecord {
        let mut writer = Writer::with_capacity(64);
        writer.u8(VERSION);
        put_feed(&self.feed, &mut writer);
        writer
            .u64(self.scores.next.0)
            .u64(self.alerts.next.0)
            .u64(self.verified.0);
        PartitionRecord {
            as_of: self.as_of,
            log_time: self.feed.log_time.unwrap_or_default(),
            last_score: self.scores.last,
            last_alert: self.alerts.last,
            sources: writer.into_vec(),
        }
    }

    /// Reads what [`Checkpoint::to_record`] made, and nothing else.
    pub fn of_record(record: &PartitionRecord) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&record.sources);
        if reader.u8()? != VERSION {
            return Err(Malformed);
        }
        let feed = feed(&mut reader)?;
        let scores = Trail {
            last: record.last_score,
            next: Offset(reader.u64()?),
        };
        let alerts = Trail {
            last: record.last_alert,
            next: Offset(reader.u64()?),
        };
        let verified = Offset(reader.u64()?);
        reader.end()?;
        // The log's own field says it again, for whoever reads records without a detector.
        if record.log_time != feed.log_time.unwrap_or_default() {
            return Err(Malformed);
        }
        Ok(Self {
            as_of: record.as_of,
            feed,
            scores,
            alerts,
            verified,
        })
    }
}

#[cfg(test)]
mod tests;

//! The rows of a training, patient by patient, in an order of their own.

use std::collections::{BTreeMap, BTreeSet};

use pulseward_base::{
    Digest, Micros, Pseudonym,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::hash::sha256;
use pulseward_vitals::{
    Kind,
    training::{About, Author, Event, Label, TrainingItem, TrainingReading, TrainingSource},
};

use super::{Progress, Selection, Step, TrainError};
use crate::features::{CARRIED_HOURS, Hours, RhythmFeatures, Window, hour_of};

const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// The most patients, batches and labels that one training takes.
const MOST_PATIENTS: usize = 1 << 22;
const MOST_BATCHES: usize = 1 << 24;
const MOST_LABELS: usize = 1 << 16;

/// What a card calls the share of patients who have the very readings of another; not there if none has.
pub(crate) const TWINS: &str = "twin_share";

/// One reading of a stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reading {
    /// When.
    pub time: Micros,
    /// Of what.
    pub kind: Kind,
    /// In steps.
    pub value: i32,
}

/// One label of a stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// From when.
    pub from: Micros,
    /// Until when, not included.
    pub until: Micros,
    /// What happened.
    pub event: Event,
    /// Who says so.
    pub author: Author,
}

/// All there is of one patient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stay {
    /// What is known beside vital signs.
    pub about: About,
    /// Sorted.
    pub readings: Vec<Reading>,
    /// Sorted.
    pub marks: Vec<Mark>,
    /// The batches that the readings came in.
    pub batches: BTreeSet<Digest>,
}

/// Why a patient takes no part. Each is decided by looking at that patient alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Excluded {
    /// Named in the selection.
    Named,
    /// Not of the cohort.
    Cohort,
    /// Too few readings.
    TooFew,
    /// Too many readings.
    TooMany,
    /// Too many that no sensor in order shows.
    Implausible,
}

impl Excluded {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Named,
        Self::Cohort,
        Self::TooFew,
        Self::TooMany,
        Self::Implausible,
    ];

    /// Returns its name in cards and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Cohort => "cohort",
            Self::TooFew => "too_few_readings",
            Self::TooMany => "too_many_readings",
            Self::Implausible => "implausible",
        }
    }
}

/// All rows of a training.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    selection: Selection,
    stays: BTreeMap<Pseudonym, Stay>,
    excluded: BTreeMap<Excluded, usize>,
    data: Vec<(String, Digest)>,
}

/// A stay while it is gathered. Beyond the most readings, only their number is kept.
#[derive(Default)]
struct Gathering {
    stay: Stay,
    count: usize,
    implausible: usize,
}

impl Pool {
    /// Takes everything out of `sources` that `selection` takes.
    pub fn gather(
        sources: &mut [&mut dyn TrainingSource],
        selection: Selection,
        see: &mut dyn FnMut(Progress),
    ) -> Result<Self, TrainError> {
        let mut gathered: BTreeMap<Pseudonym, Gathering> = BTreeMap::new();
        let mut data = Vec::new();
        let (mut done, mut batches, mut overflown) = (0_usize, 0_usize, false);
        for source in sources {
            data.push((source.name(), source.digest()));
            let given = source.give(&mut |item| {
                done += 1;
                if done.is_multiple_of(1 << 16) {
                    see(Progress {
                        step: Step::Read,
                        done,
                        all: 0,
                    });
                }
                let patient = match item {
                    TrainingItem::Reading(TrainingReading { patient, .. })
                    | TrainingItem::Label(Label { patient, .. })
                    | TrainingItem::About(patient, _) => patient,
                };
                overflown |= gathered.len() >= MOST_PATIENTS || batches > MOST_BATCHES;
                if !overflown {
                    batches += gathered.entry(patient).or_default().take(item, &selection);
                }
            });
            given.map_err(TrainError::Source)?;
        }
        if overflown {
            return Err(TrainError::TooLarge);
        }
        data.sort();
        let mut pool = Self {
            selection,
            data,
            ..Self::default()
        };
        for (patient, gathering) in gathered {
            match gathering.excluded(&patient, &pool.selection) {
                Some(reason) => *pool.excluded.entry(reason).or_default() += 1,
                None => pool.insert(patient, gathering.stay),
            }
        }
        Ok(pool)
    }

    /// Puts a stay in place of what was there.
    pub fn insert(&mut self, patient: Pseudonym, mut stay: Stay) {
        stay.readings.sort_unstable();
        stay.marks.sort_unstable();
        stay.marks.dedup();
        self.stays.insert(patient, stay);
    }

    /// Takes a stay away.
    pub fn remove(&mut self, patient: &Pseudonym) -> Option<Stay> {
        self.stays.remove(patient)
    }

    /// Returns the patients.
    #[must_use]
    pub const fn stays(&self) -> &BTreeMap<Pseudonym, Stay> {
        &self.stays
    }

    /// Returns what was selected.
    #[must_use]
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Returns how many patients were left out, and why.
    #[must_use]
    pub const fn excluded(&self) -> &BTreeMap<Excluded, usize> {
        &self.excluded
    }

    /// Returns the sources' names and digests.
    #[must_use]
    pub fn data(&self) -> &[(String, Digest)] {
        &self.data
    }

    /// Returns the list of all that takes part.
    #[must_use]
    pub fn listing(&self) -> Listing {
        Listing(
            self.stays
                .iter()
                .map(|(patient, stay)| (*patient, stay.listed()))
                .collect(),
        )
    }

    /// What a gate looks at to refuse a pool as a whole.
    pub(super) fn metrics(&self) -> Vec<(String, f64)> {
        let readings: usize = self.stays.values().map(|stay| stay.readings.len()).sum();
        let labelled = self
            .stays
            .values()
            .filter(|stay| !stay.marks.is_empty())
            .count();
        let mut by_author: BTreeMap<Author, usize> = BTreeMap::new();
        for stay in self.stays.values() {
            for author in stay.authors() {
                *by_author.entry(author).or_default() += 1;
            }
        }
        let named = by_author
            .iter()
            .filter(|author| *author.0 != Author::RECORD);
        let all = self.stays.len().max(1) as f64;
        let mut metrics = vec![
            (
                "author_most_share".to_owned(),
                named.map(|a| *a.1).max().unwrap_or(0) as f64 / all,
            ),
            ("authors".to_owned(), by_author.len() as f64),
            ("densest_share".to_owned(), self.densest() as f64 / all),
            ("labelled_share".to_owned(), labelled as f64 / all),
            ("patients".to_owned(), self.stays.len() as f64),
            ("readings".to_owned(), readings as f64),
        ];
        let twins = self.twins();
        if twins > 0 {
            metrics.push((TWINS.to_owned(), twins as f64 / all));
        }
        for reason in Excluded::ALL {
            let count = self.excluded.get(&reason).copied().unwrap_or(0);
            metrics.push((format!("excluded_{}", reason.name()), count as f64));
        }
        metrics
    }

    /// How many patients have the very readings of another: each of them has more than one vote.
    fn twins(&self) -> usize {
        let mut seen: BTreeMap<Digest, usize> = BTreeMap::new();
        for stay in self.stays.values() {
            *seen.entry(stay.rows()).or_default() += 1;
        }
        seen.into_values().map(|count| count - 1).sum()
    }

    /// How many patients share the most crowded cell of a coarse grid over their mean vital signs:
    /// many alike are no accident.
    fn densest(&self) -> usize {
        let mut cells: BTreeMap<Vec<Option<i64>>, usize> = BTreeMap::new();
        for stay in self.stays.values() {
            *cells.entry(stay.cell()).or_default() += 1;
        }
        cells.into_values().max().unwrap_or(0)
    }
}

impl Gathering {
    /// Takes an item and returns how many new batches it names.
    fn take(&mut self, item: TrainingItem, selection: &Selection) -> usize {
        match item {
            TrainingItem::Reading(TrainingReading {
                time,
                kind,
                value,
                batch,
                ..
            }) => {
                if !selection.takes(kind, time) {
                    return 0;
                }
                self.count += 1;
                if !kind.is_plausible(value) {
                    self.implausible += 1;
                } else if self.count <= selection.most_readings {
                    self.stay.readings.push(Reading { time, kind, value });
                    return usize::from(batch.is_some_and(|batch| self.stay.batches.insert(batch)));
                }
            }
            TrainingItem::Label(Label {
                from,
                until,
                event,
                author,
                ..
            }) => {
                if self.stay.marks.len() < MOST_LABELS {
                    self.stay.marks.push(Mark {
                        from,
                        until,
                        event,
                        author,
                    });
                }
            }
            // Contradictions are settled without regard to order.
            TrainingItem::About(_, about) => self.stay.about = self.stay.about.max(about),
        }
        0
    }

    fn excluded(&self, patient: &Pseudonym, selection: &Selection) -> Option<Excluded> {
        if selection.exclude.contains(patient) {
            Some(Excluded::Named)
        } else if !selection.cohort.takes(patient, &self.stay.about) {
            Some(Excluded::Cohort)
        } else if self.count < selection.least_readings {
            Some(Excluded::TooFew)
        } else if self.count > selection.most_readings || self.stay.marks.len() >= MOST_LABELS {
            Some(Excluded::TooMany)
        } else if self.implausible * 100 > self.count * selection.most_implausible_percent {
            Some(Excluded::Implausible)
        } else {
            None
        }
    }
}

impl Stay {
    /// Returns whether anybody says that the event happened.
    #[must_use]
    pub fn had(&self, event: Event) -> bool {
        self.marks.iter().any(|mark| mark.event == event)
    }

    /// Returns who labelled it, each once.
    pub fn authors(&self) -> impl Iterator<Item = Author> {
        let authors: BTreeSet<Author> = self.marks.iter().map(|mark| mark.author).collect();
        authors.into_iter()
    }

    fn during(&self, event: Event, time: Micros) -> bool {
        let mut marks = self.marks.iter().filter(|mark| mark.event == event);
        marks.any(|mark| mark.from <= time && time < mark.until)
    }

    /// Shows what models see at the end of each hour: the hour since the first, the window, and
    /// whether deterioration is marked then. The window is the one that serves.
    pub fn windows(&self, selection: &Selection, mut see: impl FnMut(i64, &Hours, bool)) {
        let Some(first) = self.readings.first() else {
            return;
        };
        let begin = hour_of(first.time);
        let mut window = Window::new(first.time);
        let mut last_seen = begin;
        let mut rest = self.readings.as_slice();
        let mut hour = begin;
        while let Some(next) = rest.first().map(|reading| hour_of(reading.time)) {
            // Hours without readings are seen as long as older values stand in.
            hour = if hour + CARRIED_HOURS < next && hour - last_seen > CARRIED_HOURS {
                next
            } else {
                hour
            };
            if hour - begin >= selection.most_hours as i64 {
                return;
            }
            let now = Micros(hour.saturating_mul(MICROS_PER_HOUR));
            window.advance(now);
            let count = rest
                .iter()
                .take_while(|reading| hour_of(reading.time) <= hour)
                .count();
            let (of_hour, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            for reading in of_hour {
                window.push(reading.kind, reading.time, reading.value);
                last_seen = hour;
            }
            rest = later;
            see(
                hour - begin,
                &window.hours(),
                self.during(Event::Deterioration, now),
            );
            hour += 1;
        }
    }

    /// Returns what the beats look like each half minute in which the rhythm is marked, and whether
    /// it is irregular.
    #[must_use]
    pub fn rhythm_windows(&self) -> Vec<(RhythmFeatures, bool)> {
        const HALF_MINUTE: i64 = 30_000_000;
        let mut seen = Vec::new();
        let beats = self
            .readings
            .iter()
            .filter(|reading| reading.kind == Kind::BeatInterval);
        let mut window = Window::new(Micros(0));
        let mut next: Option<i64> = None;
        for beat in beats {
            let due = *next.get_or_insert(beat.time.0.saturating_add(HALF_MINUTE));
            if beat.time.0 > due {
                // The middle of the half minute decides.
                let middle = Micros(due - HALF_MINUTE / 2);
                let irregular = self.during(Event::IrregularRhythm, middle);
                if irregular || self.during(Event::RegularRhythm, middle) {
                    seen.extend(
                        window
                            .beats()
                            .features()
                            .map(|features| (features, irregular)),
                    );
                }
                let passed = (beat.time.0 - due) / HALF_MINUTE + 1;
                next = Some(due.saturating_add(passed.saturating_mul(HALF_MINUTE)));
            }
            window.push(beat.kind, beat.time, beat.value);
        }
        seen
    }

    /// The digest of the readings.
    fn rows(&self) -> Digest {
        let mut rows = Writer::new();
        for reading in &self.readings {
            rows.i64(reading.time.0).u16(reading.kind.spec().number);
            rows.i32(reading.value);
        }
        sha256(&[rows.as_slice()])
    }

    fn listed(&self) -> Listed {
        let mut marks = Writer::new();
        for mark in &self.marks {
            marks
                .i64(mark.from.0)
                .i64(mark.until.0)
                .u8(mark.event as u8);
            marks.put(&mark.author.0);
        }
        Listed {
            readings: self.readings.len() as u32,
            rows: self.rows(),
            marks: sha256(&[marks.as_slice()]),
            batches: self.batches.iter().copied().collect(),
        }
    }

    /// The mean of each vital, in sensor errors.
    fn cell(&self) -> Vec<Option<i64>> {
        crate::features::VITALS
            .iter()
            .map(|kind| {
                let of_kind = self.readings.iter().filter(|reading| reading.kind == *kind);
                let (sum, count) = of_kind.fold((0_i64, 0_i64), |(sum, count), r| {
                    (sum + i64::from(r.value), count + 1)
                });
                let width = i64::from(kind.spec().sensor_error.max(1));
                (count > 0).then(|| (sum / count).div_euclid(width))
            })
            .collect()
    }
}

/// Which patients, rows, labels and batches entered a training, as digests: what a card's `listing`
/// names, and what is compared to find out what moved a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing(pub BTreeMap<Pseudonym, Listed>);

/// What a listing says of a patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// How many readings.
    pub readings: u32,
    /// Their digest.
    pub rows: Digest,
    /// The labels' digest.
    pub marks: Digest,
    /// The batches that they came in.
    pub batches: Vec<Digest>,
}

const LISTING_MAGIC: [u8; 8] = *b"PWLIST\0\x01";

impl Listing {
    /// Returns the digest that a card names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&[&self.encode()])
    }

    /// Writes the list.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.put(&LISTING_MAGIC).u32(self.0.len() as u32);
        for (patient, listed) in &self.0 {
            writer.put(&patient.0).u32(listed.readings);
            writer.put(&listed.rows.0).put(&listed.marks.0);
            writer.u32(listed.batches.len() as u32);
            for batch in &listed.batches {
                writer.put(&batch.0);
            }
        }
        writer.into_vec()
    }

    /// Reads a list; any bytes give one or an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.array::<8>()? != LISTING_MAGIC {
            return Err(Malformed);
        }
        let count = reader.u32()?;
        let mut list = BTreeMap::new();
        for _ in 0..count {
            let patient = Pseudonym(reader.array()?);
            let (readings, rows, marks) = (
                reader.u32()?,
                Digest(reader.array()?),
                Digest(reader.array()?),
            );
            let batches = (0..reader.u32()?).map(|_| Ok(Digest(reader.array()?)));
            let batches = batches.collect::<Result<Vec<_>, Malformed>>()?;
            let sorted = batches.is_sorted_by(|a, b| a < b);
            let after = list
                .last_key_value()
                .is_none_or(|last: (&Pseudonym, _)| *last.0 < patient);
            if !sorted || !after {
                return Err(Malformed);
            }
            list.insert(
                patient,
                Listed {
                    readings,
                    rows,
                    marks,
                    batches,
                },
            );
        }
        reader.end()?;
        Ok(Self(list))
    }
}

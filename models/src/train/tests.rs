use std::error::Error;

use proptest::prelude::*;
use pulseward_base::{Digest, Micros};
use pulseward_vitals::training::{About, Label, TrainingItem, TrainingReading, TrainingSource};

use super::*;
use crate::{anchor::Constancy, artefact::Parameters, measure::Draws};

const HOUR: i64 = 3_600_000_000;

/// A source that gives what it is told to, in that order.
#[derive(Clone)]
struct Given(Vec<TrainingItem>);

impl TrainingSource for Given {
    fn name(&self) -> String {
        "given".to_owned()
    }

    fn digest(&self) -> Digest {
        Digest([9; 32])
    }

    fn give(
        &mut self,
        take: &mut dyn FnMut(TrainingItem),
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.0.iter().copied().for_each(take);
        Ok(())
    }
}

fn patient(number: u32) -> Pseudonym {
    pseudonym_of(&number.to_string())
}

/// A patient's stay: some get worse, and those are further from normal.
fn stay(number: u32, hours: i64) -> Vec<TrainingItem> {
    let mut draws = Draws::new(u64::from(number));
    let patient = patient(number);
    let worse = number.is_multiple_of(7);
    let about = About {
        age: Some((20 + number % 70) as u8),
        male: Some(number.is_multiple_of(2)),
    };
    let mut items = vec![TrainingItem::About(patient, about)];
    let ranges = [
        (700, 1_050),
        (920, 990),
        (140, 230),
        (3_620, 3_790),
        (950, 1_350),
        (700, 950),
        (500, 750),
    ];
    for hour in 0..hours {
        for (kind, (low, high)) in VITALS.into_iter().zip(ranges) {
            let share = draws.unit() * 0.7 + if worse { 0.5 } else { 0.1 };
            items.push(TrainingItem::Reading(TrainingReading {
                patient,
                time: Micros(hour * HOUR),
                kind,
                value: low + (f64::from(high - low) * share) as i32,
                batch: Some(sha256(&[&patient.0, &hour.to_le_bytes()])),
            }));
        }
    }
    if worse {
        items.push(TrainingItem::Label(Label {
            patient,
            from: Micros(hours / 2 * HOUR),
            until: Micros(hours * HOUR),
            event: Event::Deterioration,
            author: Author([number as u8 | 1; 16]),
        }));
    }
    items
}

fn ward(patients: u32) -> Vec<TrainingItem> {
    (1..=patients).flat_map(|number| stay(number, 14)).collect()
}

fn gather(items: &[TrainingItem], selection: Selection) -> Pool {
    Pool::gather(&mut [&mut Given(items.to_vec())], selection, &mut |_| ()).unwrap()
}

fn pool(items: &[TrainingItem]) -> Pool {
    gather(items, Selection::default())
}

fn settings() -> Settings {
    Settings {
        parts: 11,
        ridge: 5.0,
        ..Settings::default()
    }
}

fn trained(line: Line, pool: &Pool) -> Draft {
    train(line, pool, &settings(), ModelId::ZERO, &mut |_| ()).unwrap()
}

const HOURLY: [Line; 3] = [Line::Anchor, Line::Gaussians, Line::Deterioration];

#[test]
fn c5_arrival_order_changes_no_byte() {
    let items = ward(150);
    let mut draws = Draws::new(5);
    let mut shuffled = items.clone();
    for index in (1..shuffled.len()).rev() {
        shuffled.swap(index, draws.below(index + 1));
    }
    let (a, b) = (pool(&items), pool(&shuffled));
    for line in HOURLY {
        assert_eq!(
            trained(line, &a).encode(),
            trained(line, &b).encode(),
            "{line:?}"
        );
    }
    assert_eq!(a.listing().encode(), b.listing().encode());
}

#[test]
fn c5_a_patient_with_a_million_rows_moves_anchors_no_more_than_one_with_few() {
    let items = ward(120);
    let with = |rows: i64| {
        let mut items = items.clone();
        let patient = patient(9_999);
        items.extend((0..rows).map(|row| {
            TrainingItem::Reading(TrainingReading {
                patient,
                time: Micros(row % 12 * HOUR + row),
                kind: Kind::HeartRate,
                value: 2_000,
                batch: None,
            })
        }));
        let Parameters::Anchor(anchor) = trained(Line::Anchor, &pool(&items)).parameters else {
            panic!("an anchor was trained");
        };
        anchor.brackets()[0]
    };
    assert_eq!(with(12), with(1_000_000));
}

#[test]
fn c5_filters_look_at_one_patient_alone() {
    let mut items = ward(60);
    let before = pool(&items);
    // A short stay, a flood and a broken sensor leave; nobody else does.
    items.extend(stay(1_001, 1).into_iter().take(3));
    items.extend(stay(1_002, 14).into_iter().map(|item| match item {
        TrainingItem::Reading(reading) => TrainingItem::Reading(TrainingReading {
            value: 9_999_999,
            ..reading
        }),
        other => other,
    }));
    let few = Selection {
        most_readings: 150,
        ..Selection::default()
    };
    items.extend(stay(1_003, 40));
    let after = gather(&items, few);
    assert_eq!(after.stays(), before.stays());
    let reasons: Vec<_> = after
        .excluded()
        .iter()
        .map(|(reason, count)| (*reason, *count))
        .collect();
    assert_eq!(
        reasons,
        [
            (Excluded::TooFew, 1),
            (Excluded::TooMany, 1),
            (Excluded::Implausible, 1)
        ]
    );
}

#[test]
fn a_selection_takes_only_what_it_names() {
    let items = ward(60);
    let women = Cohort {
        male: Some(false),
        least_age: Some(40),
        ..Cohort::default()
    };
    let selection = Selection {
        from: Some(Micros(2 * HOUR)),
        to: Some(Micros(10 * HOUR)),
        kinds: Some(vec![Kind::HeartRate]),
        cohort: women,
        exclude: [patient(21)].into(),
        ..Selection::default()
    };
    let pool = gather(&items, selection);
    assert!(!pool.stays().is_empty() && !pool.stays().contains_key(&patient(21)));
    assert_eq!(pool.excluded()[&Excluded::Named], 1);
    for stay in pool.stays().values() {
        assert!(stay.about.male == Some(false) && stay.about.age >= Some(40));
        assert_eq!(stay.readings.len(), 8);
        assert!(
            stay.readings
                .iter()
                .all(|reading| reading.kind == Kind::HeartRate)
        );
    }
    let halves = [(0, 50), (50, 100)].map(|hundredths| {
        let cohort = Cohort {
            hundredths: Some(hundredths),
            ..Cohort::default()
        };
        gather(
            &items,
            Selection {
                cohort,
                ..Selection::default()
            },
        )
        .stays()
        .len()
    });
    assert!(
        halves[0] + halves[1] == 60 && halves[0] > 15 && halves[1] > 15,
        "{halves:?}"
    );
}

#[test]
fn a_card_says_what_its_model_comes_from() {
    let pool = pool(&ward(60));
    let draft = train(
        Line::Anchor,
        &pool,
        &settings(),
        ModelId([3; 16]),
        &mut |_| (),
    )
    .unwrap();
    let card = &draft.card;
    assert_eq!(card.parent, ModelId([3; 16]));
    assert_eq!(
        card.data,
        [
            ("given".to_owned(), Digest([9; 32])),
            ("listing".to_owned(), pool.listing().digest()),
        ]
    );
    let metric = |name: &str| card.metrics.iter().find(|m| m.0 == name).unwrap().1;
    assert_eq!((metric("patients"), metric("pool_patients")), (60.0, 52.0));
    assert!(
        card.settings
            .contains(&("constancy_percent".to_owned(), "60".to_owned()))
    );
    let listing = pool.listing();
    assert_eq!(listing.0[&patient(1)].batches.len(), 14);
    assert_eq!(Listing::decode(&listing.encode()), Ok(listing));
}

#[test]
fn labels_of_one_author_count_for_so_many_patients() {
    let author = Author([7; 16]);
    let items: Vec<_> = ward(140)
        .into_iter()
        .map(|item| match item {
            TrainingItem::Label(label) => TrainingItem::Label(Label { author, ..label }),
            other => other,
        })
        .collect();
    let capped = Settings {
        positives_an_author: 5,
        ..settings()
    };
    let draft = train(
        Line::Deterioration,
        &pool(&items),
        &capped,
        ModelId::ZERO,
        &mut |_| (),
    )
    .unwrap();
    let metric = |name: &str| draft.card.metrics.iter().find(|m| m.0 == name).unwrap().1;
    assert_eq!(metric("over_author_cap"), 15.0);
    assert_eq!(metric("author_most_share"), 20.0 / 140.0);
}

#[test]
fn an_author_changes_no_more_of_the_quiet_patients_than_one_may_label() {
    let author = Author([7; 16]);
    let quiet: Vec<_> = ward(80)
        .into_iter()
        .filter(|item| !matches!(item, TrainingItem::Label(_)))
        .collect();
    let labelling = |patients: std::ops::RangeInclusive<u32>| {
        let labels = patients.map(|number| {
            TrainingItem::Label(Label {
                patient: patient(number),
                from: Micros(0),
                until: Micros(HOUR),
                event: Event::Deterioration,
                author,
            })
        });
        pool(&quiet.iter().copied().chain(labels).collect::<Vec<_>>())
    };
    let bounded = Settings {
        patients_an_author: 6,
        ..settings()
    };
    let trained = |pool: &Pool| train(Line::Anchor, pool, &bounded, ModelId::ZERO, &mut |_| ());
    assert!(matches!(
        trained(&labelling(1..=7)),
        Err(TrainError::Author(6))
    ));
    // What one says and what one would say in truth are within twice the bound of each other.
    let [told, truth] = [labelling(1..=6), labelling(60..=65)].map(|pool| {
        let draft = trained(&pool).unwrap();
        let bound = ("patients_an_author".to_owned(), "6".to_owned());
        assert!(draft.card.settings.contains(&bound));
        let Parameters::Anchor(anchor) = draft.parameters else {
            panic!("an anchor was trained");
        };
        anchor
    });
    if let Some(within) = told.brackets().get(12) {
        for (within, point) in within.iter().zip(&truth.brackets()[0]) {
            assert!(within.near[0] <= point.near[0] && point.near[0] <= within.near[1]);
            assert!(within.far[0] <= point.far[0] && point.far[0] <= within.far[1]);
        }
    }
    let unnamed = trained(&pool(&quiet)).unwrap().card.settings;
    assert!(
        unnamed
            .iter()
            .all(|setting| setting.0 != "patients_an_author")
    );
}

#[test]
fn a_card_counts_patients_with_the_readings_of_another() {
    let twins = |pool: &Pool| {
        let metrics = trained(Line::Anchor, pool).card.metrics;
        metrics
            .into_iter()
            .find(|metric| metric.0 == "twin_share")
            .map(|metric| metric.1)
    };
    let mut pool = pool(&ward(60));
    assert_eq!(twins(&pool), None);
    for (original, copy) in [(1, 1_001), (2, 1_002), (2, 1_003)] {
        let stay = pool.stays()[&patient(original)].clone();
        pool.insert(patient(copy), stay);
    }
    assert_eq!(twins(&pool), Some(3.0 / 63.0));
}

#[test]
fn nothing_to_train_on_is_an_error() {
    let empty = pool(&[]);
    for line in Line::ALL {
        assert!(matches!(
            train(line, &empty, &settings(), ModelId::ZERO, &mut |_| ()),
            Err(TrainError::Nobody)
        ));
    }
    // Nobody got worse; nobody has a rhythm.
    let quiet: Vec<_> = ward(60)
        .into_iter()
        .filter(|item| !matches!(item, TrainingItem::Label(_)))
        .collect();
    let pool = pool(&quiet);
    for line in [Line::Deterioration, Line::Rhythm] {
        assert!(matches!(
            train(line, &pool, &settings(), ModelId::ZERO, &mut |_| ()),
            Err(TrainError::Fit(_))
        ));
    }
    let learned = Settings {
        constancy: Constancy::percent(0).unwrap(),
        ..settings()
    };
    assert!(train(Line::Anchor, &pool, &learned, ModelId::ZERO, &mut |_| ()).is_ok());
}

#[test]
fn windows_of_training_are_those_of_serving() {
    let pool = pool(&stay(14, 30));
    let stay = &pool.stays()[&patient(14)];
    let mut window = crate::features::Window::new(Micros(0));
    let mut served = Vec::new();
    for hour in 0..30 {
        for reading in stay
            .readings
            .iter()
            .filter(|r| r.time == Micros(hour * HOUR))
        {
            window.push(reading.kind, reading.time, reading.value);
        }
        served.push((window.hours(), hour >= 15));
    }
    let mut seen = Vec::new();
    stay.windows(pool.selection(), |_, hours, event| {
        seen.push((hours.clone(), event))
    });
    assert_eq!(seen, served);
}

proptest! {
    #[test]
    fn any_bytes_are_a_listing_or_an_error(bytes: Vec<u8>) {
        if let Ok(listing) = Listing::decode(&bytes) {
            prop_assert_eq!(listing.encode(), bytes);
        }
    }

    #[test]
    fn hostile_items_never_panic(items in prop::collection::vec((any::<[u8; 1]>(), any::<i64>(), 0..12_usize, any::<i32>(), any::<i64>()), 0..60)) {
        let items: Vec<_> = items.into_iter().flat_map(|(id, time, kind, value, until)| {
            let patient = Pseudonym([id[0] % 4; 16]);
            let reading = TrainingReading { patient, time: Micros(time), kind: Kind::ALL[kind], value, batch: None };
            let label = Label { patient, from: Micros(time), until: Micros(until), event: Event::Deterioration, author: Author::RECORD };
            [TrainingItem::Reading(reading), TrainingItem::Label(label)]
        }).collect();
        let selection = Selection { least_readings: 0, most_implausible_percent: 100, ..Selection::default() };
        let pool = gather(&items, selection);
        for line in Line::ALL {
            let _model = train(line, &pool, &settings(), ModelId::ZERO, &mut |_| ());
        }
    }
}

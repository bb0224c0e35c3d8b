//! The models that come with the program, with their promotions and the root that vouches for both.
//!
//! `pulseward model defaults` trains them from public data and gives them the same names each time.
//! The root's key and the operators' keys died with that process: nothing else will ever be signed under
//! it. A hospital that wants another operator's word promotes the same models under its own root.

use pulseward_base::{Digest, Kid, Micros, bytes::unhex};

use super::{ArtefactError, Promoted, Trust, load};
use crate::train::Line;

/// A model that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Of which line.
    pub line: Line,
    /// The signed model.
    pub model: &'static [u8],
    /// Its promotion.
    pub promotion: &'static [u8],
}

/// All of them.
pub const SHIPPED: [Shipped; 5] = [
    Shipped {
        line: Line::Anchor,
        model: include_bytes!("../../artefacts/anchor/9d35e9b1233a74085e1b44a3edba8e6b.model"),
        promotion: include_bytes!("../../artefacts/anchor/promotions/0001.promotion"),
    },
    Shipped {
        line: Line::Gaussians,
        model: include_bytes!("../../artefacts/gaussians/16fe6a80d1012d6afd9741f8aeb3e1fe.model"),
        promotion: include_bytes!("../../artefacts/gaussians/promotions/0001.promotion"),
    },
    Shipped {
        line: Line::Deterioration,
        model: include_bytes!(
            "../../artefacts/deterioration/d0580ea2329abc17b6994926362b0b46.model"
        ),
        promotion: include_bytes!("../../artefacts/deterioration/promotions/0001.promotion"),
    },
    Shipped {
        line: Line::Change,
        model: include_bytes!("../../artefacts/change/c7fe1cdadefb6b0e3d86d248b1525653.model"),
        promotion: include_bytes!("../../artefacts/change/promotions/0001.promotion"),
    },
    Shipped {
        line: Line::Rhythm,
        model: include_bytes!("../../artefacts/rhythm/0d816895017c4028611f6dcf8d03a36c.model"),
        promotion: include_bytes!("../../artefacts/rhythm/promotions/0001.promotion"),
    },
];

/// Returns the root that vouches for the shipped models.
#[must_use]
pub fn shipped_root() -> Kid {
    let bytes = unhex(include_str!("../../artefacts/root.txt").trim()).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    // A file that is no root vouches for nothing: loading refuses.
    Kid(bytes.unwrap_or(Digest::ZERO.0))
}

/// Loads the model that comes with the program for `line`.
pub fn shipped(line: Line, now: Micros) -> Result<Promoted, ArtefactError> {
    let found = SHIPPED.iter().find(|shipped| shipped.line == line);
    let found = found.ok_or(ArtefactError::Unpromoted)?;
    let trust = Trust {
        root: shipped_root(),
        now,
    };
    load(found.model, Some(found.promotion), &trust)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        artefact::Parameters,
        evaluate::Decider,
        features::{Hours, RhythmFeatures, VITALS, Window},
    };

    const NOW: Micros = Micros(1_800_000_000_000_000);

    /// Six hours of the same readings, in steps.
    fn hours(values: [i32; VITALS.len()]) -> Hours {
        let mut window = Window::new(Micros(0));
        for hour in 0..6 {
            for (kind, value) in VITALS.into_iter().zip(values) {
                window.push(kind, Micros(hour * 3_600_000_000), value);
            }
        }
        window.hours()
    }

    /// Score and alert of each shipped model: on somebody well, worse and in septic shock, and on a
    /// regular rhythm and a doubtful one.
    const FROZEN: [(Line, f64, bool); 14] = [
        (Line::Anchor, 0.000_131_284_758_200_812_18, false),
        (Line::Anchor, 4.797_814_048_515_967, true),
        (Line::Anchor, 16.701_987_901_147_714, true),
        (Line::Gaussians, 0.0, false),
        (Line::Gaussians, 8.842_114_448_547_363, true),
        (Line::Gaussians, 29.067_409_515_380_86, true),
        (Line::Deterioration, -4.717_437_086_891_994, false),
        (Line::Deterioration, -1.797_623_737_871_658_4, true),
        (Line::Deterioration, -1.318_313_751_060_312_7, true),
        (Line::Change, -0.708_976_214_539_816_6, false),
        (Line::Change, -0.347_942_838_843_110_06, false),
        (Line::Change, -0.106_932_379_300_214_1, true),
        (Line::Rhythm, -7.503_062_391_235_019, false),
        (Line::Rhythm, -0.878_324_694_738_446_4, false),
    ];

    #[test]
    fn the_shipped_models_load_under_the_committed_root_and_give_frozen_scores() {
        let well = hours([740, 980, 150, 3_690, 1_240, 880, 700]);
        let worse = hours([1_080, 930, 250, 3_830, 1_000, 700, 520]);
        let shock = hours([1_300, 900, 300, 3_920, 820, 550, 420]);
        let rhythms = [(-2.2, 0.05), (-0.9, 0.5)];
        let mut told = Vec::new();
        for line in Line::ALL {
            let model = shipped(line, NOW).unwrap();
            assert_eq!(Line::of(model.parameters()), line);
            if let Parameters::Rhythm(model) = model.parameters() {
                told.extend(rhythms.map(|(entropy, occupied)| {
                    let score = model.score(&RhythmFeatures { entropy, occupied });
                    (line, score, model.alerts(score))
                }));
                continue;
            }
            let decider = Decider(model.parameters());
            let judged = [&well, &worse, &shock]
                .map(|hours| (line, decider.score(hours), decider.alerts(hours)));
            told.extend(judged);
        }
        let same = |(a, b): (&(Line, f64, bool), &(Line, f64, bool))| {
            a.0 == b.0 && a.2 == b.2 && (a.1 - b.1).abs() < 1e-9
        };
        assert!(
            told.len() == FROZEN.len() && told.iter().zip(&FROZEN).all(same),
            "{told:?}"
        );
    }

    #[test]
    fn the_shipped_models_are_small_and_say_where_they_come_from() {
        for shipped in SHIPPED {
            assert!(shipped.model.len() < 64 << 10 && shipped.promotion.len() < 1 << 10);
            let trust = Trust {
                root: shipped_root(),
                now: NOW,
            };
            let model = load(shipped.model, Some(shipped.promotion), &trust).unwrap();
            assert!(model.card().data.iter().any(|(name, _)| name == "listing"));
            assert_ne!(model.promotion().signer(), shipped_root());
            // Nobody else's root vouches for them.
            let foreign = Trust {
                root: Kid([7; 32]),
                ..trust
            };
            assert_eq!(
                load(shipped.model, Some(shipped.promotion), &foreign),
                Err(ArtefactError::NotCertified)
            );
        }
    }
}

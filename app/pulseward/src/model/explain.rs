//! Why a model alerts on a patient, in words.

use std::process::ExitCode;

use anyhow::Context as _;
use pulseward_base::Micros;
use pulseward_models::{
    anchor::Radius,
    dataset::{plain_text, read_hourly},
    features::{VITALS, Window},
    judge::{Abstains, Judgement, judge},
    rules::news2::Eligibility,
};

use super::{
    args::ExplainArgs,
    data::line,
    held, say,
    store::{Store, read},
};

pub(super) fn explain(args: &ExplainArgs, now: Micros) -> anyhow::Result<ExitCode> {
    let store = Store::open(&args.registry, now)?;
    let model = store.promoted(line(&args.line)?)?;
    let patients = read_hourly(&plain_text(&read(&args.data)?)?)?;
    let patient = patients.iter().find(|patient| patient.id == args.patient);
    let patient = patient.with_context(|| format!("no patient is called {}", args.patient))?;
    // Whole years; what is no age is unknown.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range"
    )]
    let age = patient
        .age
        .filter(|age| (0.0..=130.0).contains(age))
        .map(|age| age as u8);
    let mut window = Window::new(Micros(0));
    let mut told = None;
    for hour in &patient.hours {
        let time = Micros(i64::from(hour.hour) * 3_600_000_000);
        window.advance(time);
        for (kind, value) in VITALS.into_iter().zip(hour.values) {
            if let Some(value) = value {
                window.push(kind, time, value);
            }
        }
        let judged = judge(
            &model,
            &window,
            Eligibility {
                age,
                pregnant: None,
            },
        );
        let wanted = match args.hour {
            Some(wanted) => wanted == hour.hour,
            None => judged.as_ref().is_ok_and(|judgement| judgement.alert),
        };
        if wanted {
            told = Some((hour.hour, judged));
            break;
        }
    }
    match told {
        None if args.hour.is_some() => anyhow::bail!("the table has no such hour"),
        None => say("the model does not alert in any hour"),
        Some((hour, Err(abstains))) => say(&format!(
            "hour {hour}: the model abstains: {}",
            why(abstains)
        )),
        Some((hour, Ok(judgement))) => words(hour, &judgement).iter().for_each(|line| say(line)),
    }
    Ok(ExitCode::SUCCESS)
}

const fn why(abstains: Abstains) -> &'static str {
    match abstains {
        Abstains::Population => "the patient is not one of those it was made for",
        Abstains::Kinds => "too few of its vital signs are known",
        Abstains::Cadence => "readings come too seldom for it",
    }
}

fn words(hour: u32, judgement: &Judgement) -> Vec<String> {
    let alert = if judgement.alert { "alert" } else { "no alert" };
    let kind = if judgement.advisory { ", advisory" } else { "" };
    let mut lines = vec![format!(
        "hour {hour}: {alert}{kind}, score {:.2} against {:.2}",
        judgement.score, judgement.threshold
    )];
    lines.extend(judgement.reasons.iter().map(|reason| format!("  {reason}")));
    lines.push(format!(
        "  poisoned patients it survives: {}",
        match judgement.poison {
            Radius::None => "no bound".to_owned(),
            Radius::Patients(patients) => patients.to_string(),
            Radius::AtLeast(patients) => format!("{patients} or more"),
        }
    ));
    if let Some(sources) = judgement.sources {
        lines.push(format!(
            "  sources of labels that may have lied in all: {sources}"
        ));
    }
    let (low, high) = judgement.within_error;
    lines.push(format!(
        "  with every reading of the stay off by its sensor's error: {low:.2} to {high:.2}"
    ));
    lines.push(match judgement.hold {
        None => "  no false readings within the sensors' error change it".to_owned(),
        Some(hold) => format!("  sensors must be held for {} to change it", held(hold)),
    });
    lines
}

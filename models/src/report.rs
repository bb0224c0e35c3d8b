//! One page about one model: self-contained HTML with its plots inside, readable without a network.

mod plot;

use std::fmt::Write as _;

use pulseward_base::bytes::hex;

use crate::{
    artefact::{Card, Draft},
    attack::{Evaded, Outcome, Poison},
    calibration::{Agreement, Bin},
    evaluate::{Evaluation, HELD},
    features::Hold,
    gate::{Refusal, Verdict},
    train::Line,
};
use plot::{Plot, Series, escaped};

/// What a page tells.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The model.
    pub draft: &'a Draft,
    /// What it was judged on.
    pub set: &'a str,
    /// Its numbers.
    pub evaluation: &'a Evaluation,
    /// The serving model's, if it was compared.
    pub serving: Option<&'a Evaluation>,
    /// What the gate says, if it was asked.
    pub verdict: Option<&'a Verdict>,
    /// What attacks did, if they were run.
    pub poison: &'a [Outcome],
    /// What searches for false readings found, if they were run.
    pub evasion: &'a [(Hold, u16, Evaded)],
}

const STYLE: &str = "
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1d2733;background:#fff;max-width:1080px;margin:2rem auto;padding:0 1.5rem}
h1{font-size:1.7rem;margin:0 0 .2rem}h2{font-size:1.15rem;margin:2.2rem 0 .5rem;border-bottom:1px solid #dfe5ec;padding-bottom:.25rem}
p{max-width:48rem}.quiet{color:#5d6b7a}.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(460px,1fr));gap:1.4rem}
figure{margin:0}figcaption{font-weight:600;margin-bottom:.2rem}figure small{display:block;color:#5d6b7a;font-weight:400}
svg{width:100%;height:auto;display:block}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.28rem .6rem;border-bottom:1px solid #e8edf2;vertical-align:top}th:first-child,td:first-child{text-align:left;white-space:nowrap}
th{font-weight:600;color:#44525f;border-bottom:2px solid #cfd8e1}.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(215px,1fr));gap:.8rem;margin:1.2rem 0}
.tile{border:1px solid #dfe5ec;border-radius:8px;padding:.7rem .9rem}.tile b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}.tile span{color:#5d6b7a;font-size:.85rem}
.ok{color:#156f3d}.no{color:#a3231f}ul{margin:.3rem 0;padding-left:1.2rem}td ul{text-align:left}code{font-size:.85em;overflow-wrap:anywhere}.left td,.last td:last-child,.last th:last-child{text-align:left}.last td{white-space:nowrap}.last td:last-child{white-space:normal}.scroll{overflow-x:auto}
";

impl Report<'_> {
    /// Writes the page.
    #[must_use]
    pub fn html(&self) -> String {
        let card = &self.draft.card;
        let id = hex(&self.draft.id().0);
        let mut page = String::with_capacity(1 << 16);
        let name = escaped(&card.name);
        let advisory = if card.advisory {
            "advisory"
        } else {
            "certified"
        };
        page += &format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <title>{name} {id}</title><style>{STYLE}</style></head><body><h1>{name}</h1>\
             <p class=\"quiet\">{advisory} · <code>{id}</code> · judged on {}</p><p>{}</p>",
            escaped(self.set),
            escaped(&card.words),
        );
        self.tiles(&mut page);
        self.gate(&mut page);
        self.plots(&mut page);
        self.groups(&mut page);
        self.lanes(&mut page);
        self.attacks(&mut page);
        lineage(&mut page, card);
        page += "<p class=\"quiet\">Pulseward is not a medical device.</p></body></html>\n";
        page
    }

    fn is_hourly(&self) -> bool {
        Line::of(&self.draft.parameters) != Line::Rhythm
    }

    fn tiles(&self, page: &mut String) {
        let evaluation = self.evaluation;
        let Some(all) = evaluation.all() else { return };
        let (low, high) = evaluation.interval;
        let mut tiles = vec![
            (
                format!("{:.3}", all.auroc),
                format!("AUROC, 95 % {low:.3}–{high:.3}"),
            ),
            (
                format!("{:.3}", evaluation.average_precision),
                format!(
                    "average precision, {:.1} % of windows",
                    100.0 * evaluation.prevalence
                ),
            ),
            (
                format!("{:.1} %", 100.0 * all.false_share),
                "of windows without the event alert".to_owned(),
            ),
            (
                format!("{:.1} %", 100.0 * all.sensitivity),
                "of windows with it alert".to_owned(),
            ),
        ];
        if self.is_hourly() {
            tiles.insert(
                1,
                (
                    format!("{:.3}", all.stratified),
                    "AUROC within the hour of stay".to_owned(),
                ),
            );
            tiles.push((
                format!("{:.1} %", 100.0 * evaluation.certified_at(5)),
                "of alerts certified against 5 poisoned patients".to_owned(),
            ));
            tiles.push((
                format!("{:.1} %", 100.0 * evaluation.kept_at(4, Hold::Hours(6))),
                "of alerts nobody can silence at 1× held 6 h".to_owned(),
            ));
            tiles.push((
                format!("{:.2}", all.burden.false_a_day()),
                "false episodes a patient has on a day".to_owned(),
            ));
        }
        *page += "<div class=\"tiles\">";
        for (number, words) in tiles {
            *page += &format!("<div class=\"tile\"><b>{number}</b><span>{words}</span></div>");
        }
        *page += "</div>";
    }

    fn gate(&self, page: &mut String) {
        let Some(verdict) = self.verdict else { return };
        *page += "<h2>The gate</h2>";
        let against = verdict.serving.map_or_else(
            || "nothing: there is no serving model".to_owned(),
            |serving| format!("<code>{}</code>", hex(&serving.0)),
        );
        if verdict.passes() {
            *page +=
                &format!("<p class=\"ok\"><b>It may take over.</b> Compared with {against}.</p>");
            return;
        }
        *page += &format!("<p class=\"no\"><b>It is refused.</b> Compared with {against}.</p><ul>");
        for refusal in &verdict.refusals {
            *page += &format!("<li>{}</li>", escaped(&refusal.to_string()));
        }
        *page += "</ul>";
    }

    fn plots(&self, page: &mut String) {
        *page += "<h2>Discrimination and probability</h2><div class=\"plots\">";
        let ours = self.evaluation;
        let mut roc = Plot::new(
            "false share of windows",
            "sensitivity",
            (0.0, 1.0),
            (0.0, 1.0),
        )
        .diagonal();
        let mut pr = Plot::new("sensitivity", "precision", (0.0, 1.0), (0.0, top(ours)));
        if let Some(serving) = self.serving {
            roc.add(Series::faint("serving model", serving.roc.clone()));
            pr.add(Series::faint(
                "serving model",
                serving.precision_recall.clone(),
            ));
        }
        roc.add(Series::line("this model", ours.roc.clone()));
        pr.add(Series::line("this model", ours.precision_recall.clone()));
        if let Some(all) = ours.all() {
            roc.add(Series::dots(
                "its threshold",
                vec![(all.false_share, all.sensitivity)],
            ));
        }
        *page += &figure("Receiver operating characteristic", "each threshold", &roc);
        *page += &figure(
            "Precision and recall",
            "zoomed to the precisions there are",
            &pr,
        );
        self.calibrated(page);
        if self.is_hourly() {
            *page += &self.by_group();
        }
        *page += "</div>";
        if self.is_hourly() {
            self.certificates(page);
        }
    }

    /// Whether scores are logarithms of odds, so that they tell a probability as they stand.
    fn tells_odds(&self) -> bool {
        matches!(
            Line::of(&self.draft.parameters),
            Line::Deterioration | Line::Rhythm
        )
    }

    fn calibrated(&self, page: &mut String) {
        let ours = &self.evaluation.calibration;
        if ours.bins.is_empty() {
            return;
        }
        let shown = |bins: &[Bin]| -> Vec<(f64, f64)> {
            bins.iter()
                .map(|bin| (bin.predicted, bin.observed))
                .collect()
        };
        let home = if self.tells_odds() {
            shown(&ours.home_bins)
        } else {
            Vec::new()
        };
        let after = shown(&ours.bins);
        let ends = home.iter().chain(&after).flat_map(|bin| [bin.0, bin.1]);
        let most = nice(ends.fold(0.0, f64::max));
        let mut plot = Plot::new(
            "predicted probability",
            "observed share",
            (0.0, most),
            (0.0, most),
        )
        .diagonal();
        let told = |agreement: &Agreement| {
            let Agreement { slope, intercept } = *agreement;
            // A hyphen would let the line break between the sign and the number.
            format!("slope {slope:.2}, intercept {intercept:+.2}").replace('-', "−")
        };
        let mut words = "tenths of the windows of one half of the patients; ".to_owned();
        if home.is_empty() {
            words += "the score is no probability by itself; ";
        } else {
            plot.add(Series::marked("as it stands", home));
            words += &format!("as it stands {}; ", told(&ours.home));
        }
        plot.add(Series::marked("recalibrated", after));
        words += &format!("recalibrated on the other half {}", told(&ours.after));
        *page += &figure("Calibration", &words, &plot);
    }

    fn certificates(&self, page: &mut String) {
        *page += "<h2>Certificates</h2><div class=\"plots\">";
        let ours = self.evaluation;
        let shares = |of: fn(&crate::evaluate::Certified) -> f64| -> Vec<(f64, f64)> {
            ours.certified
                .iter()
                .map(|row| (f64::from(row.patients), of(row)))
                .collect()
        };
        let mut poison = Plot::new(
            "poisoned patients",
            "share certified",
            (0.0, 200.0),
            (0.0, 1.0),
        );
        poison.add(Series::marked("alerts", shares(|row| row.alerts)));
        poison.add(Series::marked("all decisions", shares(|row| row.decisions)));
        *page += &figure(
            "Poison",
            "decisions that so many altered, added or removed patients cannot change",
            &poison,
        );
        let mut hold = Plot::new(
            "hours that sensors are held (24: the whole stay)",
            "alerts nobody can silence",
            (0.0, 24.0),
            (0.0, 1.0),
        );
        for row in &ours.kept {
            let hours = HELD.iter().map(|hold| match hold {
                Hold::Hours(hours) => f64::from(*hours),
                Hold::WholeStay => 24.0,
            });
            let points = std::iter::once((0.0, 1.0))
                .chain(hours.zip(row.shares))
                .collect();
            hold.add(Series::marked(
                &format!("{}× sensor error", f64::from(row.quarters) / 4.0),
                points,
            ));
        }
        *page += &figure(
            "Evasion",
            "every reading of the last hours false by the sensor's error",
            &hold,
        );
        *page += "</div>";
    }

    fn by_group(&self) -> String {
        let across = (0.0, nice(self.most(|g| g.false_share)));
        let up = (0.0, nice(self.most(|g| g.sensitivity)));
        let mut groups = Plot::new("false share of windows", "sensitivity", across, up).diagonal();
        for row in &self.evaluation.groups {
            let point = (row.false_share, row.sensitivity);
            groups.add(Series::dots(row.group.name(), vec![point]));
        }
        figure("Groups", "at the one threshold", &groups)
    }

    fn costs(&self) -> String {
        let points: Vec<_> = self
            .evaluation
            .lanes
            .iter()
            .map(|lane| {
                (
                    lane.name,
                    lane.burden.false_a_day(),
                    lane.burden.sensitivity(),
                )
            })
            .collect();
        let across = nice(points.iter().map(|point| point.1).fold(0.0, f64::max));
        let up = nice(points.iter().map(|point| point.2).fold(0.0, f64::max));
        let mut cost = Plot::new(
            "false episodes a patient has on a day",
            "events with a new alarm around onset",
            (0.0, across),
            (0.0, up),
        );
        for (name, false_a_day, sensitivity) in points {
            cost.add(Series::dots(name, vec![(false_a_day, sensitivity)]));
        }
        figure("Cost and use", "2 of 3 windows, anew after 12 h", &cost)
    }

    fn most(&self, of: fn(&crate::evaluate::GroupRow) -> f64) -> f64 {
        self.evaluation.groups.iter().map(of).fold(0.0, f64::max)
    }

    fn groups(&self, page: &mut String) {
        *page += "<h2>Groups</h2><div class=\"scroll\"><table><tr><th>group</th><th>patients</th><th>with event</th><th>AUROC</th><th>sensitivity</th><th>false share</th>";
        if self.is_hourly() {
            *page += "<th>AUROC within hour</th><th>false episodes a day</th><th>new alarm at onset</th>";
        }
        *page += "</tr>";
        for row in &self.evaluation.groups {
            let _infallible = write!(
                page,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.3}</td><td>{:.3}</td>",
                row.group.name(),
                row.patients,
                row.with_event,
                row.auroc,
                row.sensitivity,
                row.false_share,
            );
            // What happens in half minutes has no episodes of hours.
            if self.is_hourly() {
                let _infallible = write!(
                    page,
                    "<td>{:.3}</td><td>{:.2}</td><td>{:.3}</td>",
                    row.stratified,
                    row.burden.false_a_day(),
                    row.burden.sensitivity(),
                );
            }
            *page += "</tr>";
        }
        *page += "</table></div>";
    }

    fn lanes(&self, page: &mut String) {
        if !self.is_hourly() {
            return;
        }
        *page += &format!(
            "<h2>Episodes by lane</h2><div class=\"plots\">{}</div>",
            self.costs()
        );
        *page += "<div class=\"scroll\"><table><tr><th>lane</th><th>false episodes a day</th><th>new alarm at onset</th><th>precision</th><th>median lead, h</th><th>time in alarm</th></tr>";
        for lane in &self.evaluation.lanes {
            let burden = &lane.burden;
            let lead = burden
                .lead()
                .map_or_else(|| "–".to_owned(), |lead| format!("{lead:.0}"));
            let _infallible = write!(
                page,
                "<tr><td>{}</td><td>{:.3}</td><td>{:.3}</td><td>{:.3}</td><td>{lead}</td><td>{:.3}</td></tr>",
                lane.name,
                burden.false_a_day(),
                burden.sensitivity(),
                burden.precision(),
                burden.time_in_alarm(),
            );
        }
        *page += &format!(
            "</table></div><p class=\"quiet\">NEWS2 on the same windows: AUROC {:.3}. Consciousness and oxygen are not in the set, so its scores are the least they can be.</p>",
            self.evaluation.rules_auroc
        );
    }

    fn attacks(&self, page: &mut String) {
        if !self.poison.is_empty() {
            *page += "<h2>Poisoned retrains</h2><div class=\"scroll\"><table class=\"last\"><tr><th>attack</th><th>share of patients</th><th>aim's percentile</th><th>AUROC</th><th>the gate</th></tr>";
            for outcome in self.poison {
                let name = outcome.poison.map_or("nobody", Poison::name);
                let [before, after] = outcome.aim;
                let [area_before, area] = outcome.auroc;
                let reasons = reasons(&outcome.refusals);
                let gate = if reasons.is_empty() {
                    "<span class=\"ok\">passes</span>".to_owned()
                } else {
                    format!("<span class=\"no\">refused</span><ul>{reasons}</ul>")
                };
                let share = if outcome.poison.is_some() {
                    format!("{:.0} %", 100.0 * outcome.share)
                } else {
                    "–".to_owned()
                };
                *page += &format!(
                    "<tr><td>{name}</td><td>{share}</td><td>{before:.4} → {after:.4}</td><td>{area_before:.3} → {area:.3}</td><td>{gate}</td></tr>"
                );
            }
            *page += "</table></div>";
        }
        if self.evasion.is_empty() {
            return;
        }
        *page += "<h2>Searches for false readings</h2><div class=\"scroll\"><table><tr><th>held, error</th><th>alerts</th><th>attacks</th><th>below the certificate</th><th>silenced</th><th>not certified</th><th>gap</th></tr>";
        for (hold, quarters, found) in self.evasion {
            let held = match hold {
                Hold::Hours(hours) => format!("{hours} h"),
                Hold::WholeStay => "whole stay".to_owned(),
            };
            *page += &format!(
                "<tr><td>{held}, {}×</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.4}</td></tr>",
                f64::from(*quarters) / 4.0,
                found.alerts,
                found.attacks,
                found.violations,
                found.silenced,
                found.uncertified,
                found.gap,
            );
        }
        *page += "</table></div>";
    }
}

/// So many reasons are told in full; the rest are counted.
const TOLD: usize = 3;

fn reasons(refusals: &[Refusal]) -> String {
    let told = refusals.iter().take(TOLD);
    let mut list: String = told
        .map(|refusal| format!("<li>{}</li>", escaped(&refusal.to_string())))
        .collect();
    if let Some(more) = refusals.len().checked_sub(TOLD).filter(|more| *more > 0) {
        list += &format!("<li>and {more} more</li>");
    }
    list
}

fn lineage(page: &mut String, card: &Card) {
    *page += "<h2>Where it comes from</h2><table class=\"left\">";
    let mut row = |name: &str, value: &str| {
        *page += &format!(
            "<tr><td>{}</td><td>{}</td></tr>",
            escaped(name),
            escaped(value)
        );
    };
    row("code", &card.code);
    for (name, digest) in &card.data {
        row(name, &hex(&digest.0));
    }
    for (name, value) in &card.settings {
        row(name, value);
    }
    for (name, value) in &card.metrics {
        let told = if value.fract() == 0.0 {
            format!("{value:.0}")
        } else {
            format!("{value:.4}")
        };
        row(name, &told);
    }
    *page += "</table>";
}

fn figure(title: &str, about: &str, plot: &Plot) -> String {
    format!(
        "<figure><figcaption>{title}<small>{}</small></figcaption>{}</figure>",
        escaped(about),
        plot.svg()
    )
}

/// The highest precision worth showing.
fn top(evaluation: &Evaluation) -> f64 {
    let shown = evaluation
        .precision_recall
        .iter()
        .filter(|point| point.0 > 0.02);
    nice(shown.map(|point| point.1).fold(0.0, f64::max))
}

/// The next round number.
fn nice(most: f64) -> f64 {
    let steps = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 2.0, 5.0];
    steps.into_iter().find(|step| most <= *step).unwrap_or(10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        artefact::{Parameters, Purpose},
        evaluate::Evaluation,
        rhythm::RhythmModel,
    };

    #[test]
    fn a_page_needs_no_network_and_escapes_what_it_is_told() {
        let draft = Draft {
            card: Card {
                name: "<script>alert(1)</script>".into(),
                purpose: Purpose::Rhythm,
                advisory: true,
                words: "a & b".into(),
                least_age: 16,
                cadence_seconds: 1,
                kinds: vec![],
                least_kinds: 1,
                code: String::new(),
                data: vec![],
                settings: vec![("\"x\"".into(), "<y>".into())],
                metrics: vec![],
                parent: pulseward_base::ModelId::ZERO,
            },
            parameters: Parameters::Rhythm(RhythmModel {
                weights: [1.0; 2],
                intercept: 0.0,
                threshold: 0.0,
            }),
        };
        let evaluation = Evaluation::of(&[]);
        let report = Report {
            draft: &draft,
            set: "s",
            evaluation: &evaluation,
            serving: None,
            verdict: None,
            poison: &[],
            evasion: &[],
        };
        let page = report.html();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}

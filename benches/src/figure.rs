//! What a figure is: a headline that can be compared, and the lines that explain it.

use std::{
    fmt::{self, Display, Formatter},
    fs,
    io::{self, IsTerminal as _},
};

use serde::Serialize;

/// A measured figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: &'static str,
    /// What was measured.
    ours: f64,
    /// What it is compared with.
    against: f64,
    /// Ours over theirs.
    ratio: f64,
    target: f64,
    met: bool,
    unit: &'static str,
    machine: String,
    /// What the other number is, with its unit.
    #[serde(skip)]
    peer: &'static str,
    #[serde(skip)]
    goal: String,
    #[serde(skip)]
    lines: Vec<String>,
}

/// Which side of its target a figure must be on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Of ours over theirs.
    RatioAtLeast(f64),
    /// Of ours over theirs.
    RatioAtMost(f64),
}

/// What a figure needs is not here: it cannot be measured, and nothing is wrong.
#[derive(Debug)]
pub(crate) struct CannotRun(pub(crate) String);

impl std::error::Error for CannotRun {}

impl Display for CannotRun {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Figure {
    pub(crate) fn new(
        name: &'static str,
        unit: &'static str,
        ours: f64,
        against: f64,
        target: Target,
    ) -> Self {
        let ratio = if against == 0.0 { 0.0 } else { ours / against };
        let (target, met, goal) = match target {
            Target::AtLeast(target) => (target, ours >= target, format!("≥ {target}")),
            Target::AtMost(target) => (target, ours <= target, format!("≤ {target}")),
            Target::RatioAtLeast(target) => (target, ratio >= target, format!("ratio ≥ {target}")),
            Target::RatioAtMost(target) => (target, ratio <= target, format!("ratio ≤ {target}")),
        };
        Self {
            name,
            ours,
            against,
            ratio,
            target,
            met,
            unit,
            machine: machine(),
            peer: "",
            goal,
            lines: Vec::new(),
        }
    }

    /// Says what ours is compared with, beginning with its unit.
    pub(crate) const fn versus(mut self, peer: &'static str) -> Self {
        self.peer = peer;
        self
    }

    pub(crate) fn with_lines(mut self, lines: Vec<String>) -> Self {
        self.lines = lines;
        self
    }

    #[expect(clippy::print_stdout, reason = "this is what the program is for")]
    pub(crate) fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string(self).unwrap_or_default());
            return;
        }
        // Somebody at a terminal has seen them while they were measured.
        if !(io::stdout().is_terminal() && io::stderr().is_terminal()) {
            for line in &self.lines {
                println!("{line}");
            }
        }
        let against = if self.against == 0.0 {
            String::new()
        } else {
            let (against, ratio) = (self.against, self.ratio);
            format!("against {against:.4} {}, ratio {ratio:.3}; ", self.peer)
        };
        println!(
            "{}: {:.4} {} ({against}target {} {}) on {}",
            self.name,
            self.ours,
            self.unit,
            self.goal,
            if self.met { "met" } else { "missed" },
            self.machine,
        );
    }
}

/// Prints the table that the README shows.
#[expect(clippy::print_stdout, reason = "this is what the program is for")]
pub(crate) fn print_markdown(figures: &[Figure]) {
    println!("| figure | measured | against | ratio | target | met |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for figure in figures {
        let (against, ratio) = if figure.against == 0.0 {
            ("–".to_owned(), "–".to_owned())
        } else {
            let against = format!("{} {}", short(figure.against), figure.peer);
            (against, format!("{:.2}", figure.ratio))
        };
        println!(
            "| `{}` | {} {} | {} | {ratio} | {} | {} |",
            figure.name,
            short(figure.ours),
            figure.unit,
            against.trim_end(),
            figure.goal,
            if figure.met { "yes" } else { "**no**" },
        );
    }
}

/// A number with three or four digits that count.
fn short(number: f64) -> String {
    match number.abs() {
        1000.0.. => format!("{number:.0}"),
        100.0.. => format!("{number:.1}"),
        10.0.. => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

#[expect(clippy::print_stderr, reason = "a program's last words")]
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("figures: {error:#}");
}

/// The lines of a figure while it is measured: shown at once on standard error, so that a long
/// measurement is seen to move.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<String>);

impl Lines {
    #[expect(clippy::print_stderr, reason = "progress of a long measurement")]
    pub(crate) fn say(&mut self, line: impl Display) {
        eprintln!("{line}");
        self.0.push(line.to_string());
    }

    pub(crate) fn into_vec(self) -> Vec<String> {
        self.0
    }
}

/// The processor's name and how many cores there are.
fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |pair| pair.1);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{name}, {cores} cores")
}

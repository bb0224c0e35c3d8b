//! The documents say what the code does.

use std::{collections::BTreeSet, fs, path::Path};

use prometheus::{Registry, proto::MetricType};
use pulseward::{
    checks::{Gauges, NAMES},
    config::Config,
};
use pulseward_app::config;
use pulseward_eventlog::body::{AlertState, Severity};

use crate::house::root;

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every `file.rs::function` that a document names exists.
#[test]
fn every_step_in_the_life_of_a_batch_exists() {
    let text = read("docs/LIFE_OF_A_BATCH.md");
    let mut steps = 0;
    for quoted in text.split('`').skip(1).step_by(2) {
        let Some((file, function)) = quoted.split_once(".rs::") else {
            continue;
        };
        let code = read(format!("{file}.rs"));
        let function = function.trim_end_matches("()");
        let exists = ["fn ", "struct ", "enum ", "trait "]
            .iter()
            .any(|keyword| code.contains(&format!("{keyword}{function}")));
        assert!(exists, "{quoted} is gone");
        steps += 1;
    }
    assert!(steps >= 12, "only {steps} steps are named");
}

/// Every file that a document links to exists.
#[test]
fn every_link_leads_somewhere() {
    let documents = files("*.md");
    assert!(documents.len() > 10);
    let mut broken = Vec::new();
    for document in documents {
        let folder = root().join(&document);
        let folder = folder.parent().unwrap();
        let text = read(&document);
        let links = text.split("](").skip(1);
        for link in links.filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                broken.push(format!("{document} links to {path}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Every rule that never bends names the tests that hold it, and each exists.
#[test]
fn every_invariant_names_tests_that_exist() {
    let code = all_code();
    let text = read("ARCHITECTURE.md");
    let (_, rest) = text.split_once("## Invariants").unwrap();
    let (invariants, _) = rest.split_once("\n## ").unwrap();
    let rules = invariants.matches("\n**").count();
    assert_eq!(rules, 10);
    let named: Vec<_> = invariants
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.matches('_').count() > 1)
        .collect();
    assert!(named.len() >= 40, "each invariant names its tests");
    assert!(text.lines().count() <= 250, "a map is short");
    for name in named {
        assert!(
            code.contains(&format!("fn {name}(")),
            "the test {name} is gone"
        );
    }
}

/// Time, the environment and the metrics registry are handed in by the programs.
#[test]
fn libraries_have_no_clock_environment_or_registry_of_their_own() {
    let banned = [
        "SystemTime::now",
        "std::time::Instant",
        "env::var(",
        "default_registry",
        "unbounded_channel",
        "HashMap",
    ];
    let ours = |file: &String| {
        let foreign = ["app/", "benches/", "fuzz/"]
            .iter()
            .any(|at| file.starts_with(at));
        file.contains("/src/") && !foreign && !file.ends_with("tests.rs")
    };
    let libraries: Vec<_> = files("*.rs").into_iter().filter(ours).collect();
    assert!(libraries.len() > 100);
    for file in libraries {
        let code = read(&file);
        let code = code.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        for banned in banned {
            assert!(!code.contains(banned), "{file} has {banned}");
        }
    }
}

/// Returns the files that git knows or would know, of those that `pattern` matches.
fn files(pattern: &str) -> Vec<String> {
    let output = std::process::Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            pattern,
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let files = String::from_utf8(output.stdout).unwrap();
    let listed = files.split('\0').filter(|file| !file.is_empty());
    // One that is deleted and not committed yet is still listed.
    listed
        .filter(|file| root().join(file).exists())
        .map(str::to_owned)
        .collect()
}

fn all_code() -> String {
    files("*.rs").iter().map(read).collect()
}

/// Compares `part` with what stands between the program's markers in `document`, or writes it
/// there when PULSEWARD_BLESS is set.
fn keep_part(document: &str, part: &str) {
    let (begin, end) = ("<!-- pulseward: begin -->\n", "<!-- pulseward: end -->");
    let text = read(document);
    let (head, rest) = text.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    keep(document, &format!("{head}{begin}\n{part}\n{end}{tail}"));
}

/// Compares a file with what it must be, or writes it when PULSEWARD_BLESS is set.
fn keep(file: &str, content: &str) {
    if std::env::var_os("PULSEWARD_BLESS").is_some() {
        fs::write(root().join(file), content).unwrap();
    }
    assert!(
        read(file) == content,
        "{file} is stale: PULSEWARD_BLESS=1 writes it"
    );
}

#[test]
fn the_page_and_the_example_of_the_configuration_are_those_of_the_code() {
    let docs = Config::docs();
    keep_part("docs/CONFIG.md", &config::page("pulseward", &docs));
    keep(
        "deploy/config/pulseward.advanced.toml",
        &config::example("pulseward", &docs),
    );
    for form in ["basic", "advanced"] {
        let path = root().join(format!("deploy/config/pulseward.{form}.toml"));
        let read = Config::read(Path::new("nowhere"), Some(&path));
        assert!(read.is_ok(), "{form}: {read:?}");
    }
}

/// Everything that a running pipeline registers.
fn registered() -> Registry {
    let registry = Registry::new();
    Gauges::register(&registry).unwrap();
    pulseward_keys::Metrics::new(&registry).unwrap();
    pulseward_eventlog::Metrics::new(&registry).unwrap();
    pulseward_ingest::Metrics::register(&registry).unwrap();
    pulseward_detector::Metrics::new(&registry).unwrap();
    pulseward_alerts::Metrics::new(&registry).unwrap();
    pulseward_history::Metrics::new(&registry).unwrap();
    registry
}

#[test]
fn the_page_of_metrics_is_that_of_the_code() {
    let mut page = String::from(
        "## `pulseward`\n\n| name | type | labels | what it says |\n| --- | --- | --- | --- |\n",
    );
    for family in registered().gather() {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            other => panic!("{}: {other:?}", family.name()),
        };
        let mut labels: Vec<(&str, BTreeSet<&str>)> = Vec::new();
        for label in family.get_metric().iter().flat_map(|of| of.get_label()) {
            match labels.iter_mut().find(|(name, _)| *name == label.name()) {
                Some((_, values)) => _ = values.insert(label.value()),
                None => labels.push((label.name(), BTreeSet::from([label.value()]))),
            }
        }
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, values)| {
                let values: Vec<_> = values.iter().copied().collect();
                format!("`{name}`: {}", values.join(", "))
            })
            .collect();
        page += &format!(
            "| `{}` | {kind} | {} | {}. |\n",
            family.name(),
            labels.join("; "),
            family.help().trim_end_matches('.')
        );
    }
    keep_part("docs/METRICS.md", &page);
}

/// The names of metrics that a text speaks of.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named = words.filter(|word| word.starts_with("pulseward_"));
    named.map(str::to_owned).collect()
}

/// Alert rules and boards on a metric that nobody registers stay silent for ever.
#[test]
fn every_metric_that_documents_rules_and_boards_name_exists() {
    let mut known = metrics_in(&read("docs/METRICS.md"));
    for name in known.clone() {
        for part in ["bucket", "sum", "count"] {
            known.insert(format!("{name}_{part}"));
        }
    }
    let rules = files("deploy/prometheus/*.yml");
    let boards = files("deploy/grafana/*.json");
    assert!(!rules.is_empty() && !boards.is_empty());
    let runbook = ["docs/RUNBOOK.md".to_owned()];
    for file in runbook.iter().chain(&rules).chain(&boards) {
        let unknown: Vec<_> = metrics_in(&read(file))
            .difference(&known)
            .cloned()
            .collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
    let text = read("app/pulseward/src/checks.rs");
    for name in text.split("\"pulseward_").skip(1) {
        let name = format!("pulseward_{}", name.split('"').next().unwrap());
        assert!(known.contains(&name), "the checks read {name}");
    }
}

/// `status` sends people to a heading by the problem's name.
#[test]
fn the_runbook_has_one_heading_per_problem_of_either_program() {
    let door = read("app/identity/src/door.rs");
    let vault = door.split("board.set(").skip(1).map(|rest| {
        let name = rest.split('"').nth(1).unwrap();
        name.to_owned()
    });
    let problems: BTreeSet<_> = NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .chain(vault)
        .collect();
    let text = read("docs/RUNBOOK.md");
    let headings: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(str::to_owned)
        .collect();
    assert_eq!(headings, problems);
    for rule in read("deploy/prometheus/rules.yml")
        .split("RUNBOOK.md#")
        .skip(1)
    {
        let name = rule.split(['\n', '\'']).next().unwrap();
        let known = name.contains("{{") || problems.contains(name);
        assert!(known, "a rule sends people to {name}");
    }
}

/// What an alert says on a care team's screen is explained to them.
#[test]
fn the_care_teams_page_explains_every_word_of_an_alert() {
    let page = read("docs/CARE.md");
    let words = read("app/pulseward/src/words.rs");
    let (_, subjects) = words.split_once("fn subject(").unwrap();
    let (subjects, _) = subjects.split_once("\n}\n").unwrap();
    let said = subjects
        .lines()
        .filter(|line| line.contains(".to_owned()") && !line.contains("Unspecified"))
        .map(|line| line.split('"').nth(1).unwrap());
    let said: Vec<_> = said.collect();
    assert!(said.len() >= 6, "{said:?}");
    for words in said {
        assert!(page.contains(words), "CARE.md does not explain: {words}");
    }
    let marks = ["past", "late", "unverified"];
    let states = AlertState::ALL.iter().map(|state| state.word());
    let severities = ["emergency", "urgent", "watch"];
    assert_eq!(severities.len(), Severity::ALL.len());
    for word in marks.into_iter().chain(severities).chain(states) {
        assert!(
            page.contains(&format!("| {word} |")),
            "CARE.md lacks {word}"
        );
    }
}

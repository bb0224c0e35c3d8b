//! The documents say what the program does.

use std::{collections::BTreeSet, path::Path};

use prometheus::{Registry, proto::MetricType};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/METRICS.md");
const BEGIN: &str = "<!-- pulseward-identity: begin -->\n";
const END: &str = "<!-- pulseward-identity: end -->";

/// The page's part about this program is that of the code. Set PULSEWARD_BLESS to write it.
#[test]
fn the_page_of_metrics_is_that_of_the_code() {
    let registry = Registry::new();
    pulseward_identity_store::Metrics::new(&registry).unwrap();
    let mut part = String::from(
        "## `pulseward-identity`\n\n| name | type | labels | what it says |\n| --- | --- | --- | --- |\n",
    );
    for family in registry.gather() {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            other => panic!("{}: {other:?}", family.name()),
        };
        let labels: Vec<_> = family
            .get_metric()
            .iter()
            .flat_map(|of| of.get_label())
            .collect();
        let names: BTreeSet<_> = labels.iter().map(|label| label.name()).collect();
        assert!(names.len() <= 1, "{}: one label at most", family.name());
        let values: BTreeSet<_> = labels.iter().map(|label| label.value()).collect();
        let values = values.into_iter().collect::<Vec<_>>().join(", ");
        let labels: String = names
            .iter()
            .map(|name| format!("`{name}`: {values}"))
            .collect();
        part += &format!(
            "| `{}` | {kind} | {labels} | {}. |\n",
            family.name(),
            family.help().trim_end_matches('.')
        );
    }
    let kept = std::fs::read_to_string(PAGE).unwrap();
    let (head, rest) = kept.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    let page = format!("{head}{BEGIN}\n{part}\n{END}{tail}");
    if std::env::var_os("PULSEWARD_BLESS").is_some() {
        std::fs::write(Path::new(PAGE), &page).unwrap();
    } else {
        assert!(
            kept == page,
            "docs/METRICS.md is stale: PULSEWARD_BLESS=1 writes it"
        );
    }
}

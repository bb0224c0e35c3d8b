//! The house: which crate may depend on which, per program.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Our crates and, of each, the crates it depends on when it is built, `optional` ones included.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let built = dependencies
                .iter()
                .filter(|dependency| dependency["kind"].is_null());
            (name(package), built.map(name).collect())
        })
        .collect()
}

fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `pulseward"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let allowed = cells[4].split_whitespace().filter(|word| *word != "–");
        let name = cells[1].trim_matches('`').to_owned();
        (
            name,
            allowed.map(|word| format!("pulseward-{word}")).collect(),
        )
    })
    .collect()
}

#[test]
fn every_crate_depends_only_on_what_the_architecture_allows() {
    let (edges, table) = (edges(), table());
    let crates: BTreeSet<_> = edges.keys().collect();
    assert_eq!(
        crates,
        table.keys().collect(),
        "the code map and the workspace name other crates"
    );
    for (name, dependencies) in &edges {
        let ours: BTreeSet<_> = dependencies
            .iter()
            .filter(|name| edges.contains_key(*name))
            .cloned()
            .collect();
        let forbidden: Vec<_> = ours.difference(&table[name]).collect();
        assert!(
            forbidden.is_empty(),
            "{name} may not depend on {forbidden:?}"
        );
    }
}

/// Everything of ours that is linked into `program`.
fn linked(program: &str) -> BTreeSet<String> {
    let edges = edges();
    let mut seen = BTreeSet::new();
    let mut left = vec![program.to_owned()];
    while let Some(name) = left.pop() {
        if let Some(dependencies) = edges.get(&name)
            && seen.insert(name)
        {
            left.extend(dependencies.iter().cloned());
        }
    }
    seen
}

#[test]
fn neither_program_links_the_other_half() {
    let pipeline = linked("pulseward");
    assert!(pipeline.contains("pulseward-ingest"));
    for identity in [
        "pulseward-identity",
        "pulseward-identity-store",
        "pulseward-proto-identity",
    ] {
        assert!(!pipeline.contains(identity), "pulseward links {identity}");
    }
    let vault = linked("pulseward-identity");
    assert!(vault.contains("pulseward-identity-store"));
    for vitals in [
        "vitals",
        "batch",
        "eventlog",
        "history",
        "models",
        "proto-pipeline",
    ] {
        assert!(
            !vault.contains(&format!("pulseward-{vitals}")),
            "pulseward-identity links {vitals}"
        );
    }
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .unwrap();
    let files = String::from_utf8(output.stdout).unwrap();
    // Spelled in parts, so that this file does not hold what it looks for.
    let banned = [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["../sha", "red/design"],
        ["crates.", "io/api"],
    ];
    for file in files
        .split('\0')
        .filter(|name| !name.is_empty() && !name.ends_with(".lock"))
    {
        let Ok(text) = std::fs::read_to_string(root().join(file)) else {
            continue;
        };
        for banned in banned.map(|parts| parts.concat()) {
            assert!(!text.contains(&banned), "{file} speaks of {banned}");
        }
    }
}

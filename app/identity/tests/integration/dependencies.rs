//! This program cannot know a vital sign: what could tell it one is not linked.

use std::{collections::BTreeSet, process::Command};

/// All of Pulseward that this program may link.
const OURS: [&str; 8] = [
    "pulseward-app",
    "pulseward-audit",
    "pulseward-base",
    "pulseward-crypto",
    "pulseward-custody",
    "pulseward-identity",
    "pulseward-identity-store",
    "pulseward-proto-identity",
];

/// What only a program that handles vitals needs.
const NEVER: [&str; 6] = [
    "arrow",
    "linfa",
    "ndarray",
    "parquet",
    "rdkafka",
    "pulseward",
];

#[test]
fn no_crate_that_knows_vitals_is_linked() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--prefix",
            "none",
            "--edges",
            "normal,build",
        ])
        .args(["--package", "pulseward-identity", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let error = String::from_utf8(tree.stderr).unwrap();
    assert!(tree.status.success(), "{error}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    let linked: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let ours: Vec<&str> = linked
        .iter()
        .copied()
        .filter(|name| name.starts_with("pulseward"))
        .collect();
    assert_eq!(ours, OURS);
    for name in NEVER {
        assert!(!linked.contains(name), "{name}");
        let prefix = format!("{name}-");
        let family = name != "pulseward" && linked.iter().any(|crate_| crate_.starts_with(&prefix));
        assert!(!family, "a crate of {name}");
    }
}

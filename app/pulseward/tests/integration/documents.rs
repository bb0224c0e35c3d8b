//! The documents say what the code does.

use std::{fs, path::Path};

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
    assert!(steps >= 9, "only {steps} steps are named");
}

/// Every test that a document names exists, and so does every file it links to.
#[test]
fn every_link_and_every_named_test_exists() {
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ];
    for document in documents {
        let text = read(document);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = link.split('#').next().unwrap();
            if !path.is_empty() && !path.contains("://") {
                assert!(root().join(path).exists(), "{document} links to {path}");
            }
        }
    }
    let code = all_code();
    let text = read("ARCHITECTURE.md");
    let (_, invariants) = text.split_once("## Invariants").unwrap();
    let named: Vec<_> = invariants
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains('_'))
        .collect();
    assert!(named.len() >= 10, "each invariant names its tests");
    for name in named {
        assert!(
            code.contains(&format!("fn {name}(")),
            "the test {name} is gone"
        );
    }
}

fn all_code() -> String {
    let output = std::process::Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.rs",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let files = String::from_utf8(output.stdout).unwrap();
    files
        .split('\0')
        .filter(|file| !file.is_empty())
        .map(read)
        .collect()
}

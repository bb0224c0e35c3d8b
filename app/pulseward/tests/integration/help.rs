//! What `--help` says is frozen: people script against it. `PULSEWARD_BLESS=1` writes it anew.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use crate::{
    house::root,
    ward::{PIPELINE, vault_program},
};

/// Returns the help of a program and of all its commands, each under its own line.
fn pages(program: &Path, name: &str) -> String {
    let mut pages = String::new();
    let mut left = vec![Vec::<String>::new()];
    while let Some(command) = left.pop() {
        let help = Command::new(program)
            .args(&command)
            .arg("--help")
            .env("COLUMNS", "100")
            .output()
            .unwrap();
        assert!(help.status.success());
        let text = String::from_utf8(help.stdout).unwrap();
        let prompt = [&[name.to_owned()], &command[..], &["--help".to_owned()]].concat();
        writeln!(pages, "$ {}\n{text}", prompt.join(" ")).unwrap();
        let inner = inner_commands(&text);
        left.extend(inner.into_iter().rev().map(|word| {
            let mut path = command.clone();
            path.push(word);
            path
        }));
    }
    let lines: Vec<_> = pages.lines().map(str::trim_end).collect();
    format!("{}\n", lines.join("\n").trim_end())
}

fn inner_commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    listed
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| *word != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_help_of_both_programs_is_frozen() {
    let vault = vault_program();
    let programs = [
        (Path::new(PIPELINE), "pulseward"),
        (&vault, "pulseward-identity"),
    ];
    for (program, name) in programs {
        let found = pages(program, name);
        let path = root().join(format!("app/pulseward/tests/help/{name}.txt"));
        if std::env::var_os("PULSEWARD_BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &found).unwrap();
        }
        let frozen = fs::read_to_string(&path).unwrap_or_default();
        for (number, (now, then)) in found.lines().zip(frozen.lines()).enumerate() {
            assert_eq!(
                now,
                then,
                "{name}.txt:{}: PULSEWARD_BLESS=1 if that is meant",
                number + 1
            );
        }
        assert_eq!(found.lines().count(), frozen.lines().count(), "{name}.txt");
    }
}

//! `pulseward model` from an operator's key to a rollback, as real processes on made-up stays.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use pulseward_models::{measure::Draws, train::Line};

use crate::ward::PIPELINE;

const HEADER: &str =
    "pid,HR,O2Sat,Temp,SBP,MAP,DBP,Resp,EtCO2,Glucose,Age,Gender,HospAdmTime,ICULOS,SepsisLabel";

/// A registry with its keys and data, each in a directory of its own.
struct Desk {
    directory: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        desk.told(&["init"]);
        for signer in ["trainer", "operator"] {
            let point = desk.told(&["model", "operator", "--signer", signer]);
            let certificate = format!("{signer}/certificate");
            let custodian = "home/custodian";
            desk.told(&[
                "model",
                "certify",
                "--point",
                point.trim(),
                "--custodian",
                custodian,
                "--out",
                &certificate,
            ]);
        }
        fs::create_dir(desk.path("registry")).unwrap();
        fs::copy(desk.path("home/root.txt"), desk.path("registry/root.txt")).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut child = Command::new(PIPELINE)
            .current_dir(self.directory.path())
            .args(["--directory", "home", "--passphrase-fd", "0"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that needs no passphrase may have closed its input already.
        let _closed_early = child
            .stdin
            .take()
            .unwrap()
            .write_all(b"a passphrase of a test\n");
        child.wait_with_output().unwrap()
    }

    fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Runs a command told in one line; it must succeed.
    fn say(&self, words: &str) -> String {
        self.told(&words.split(' ').collect::<Vec<_>>())
    }

    /// Runs a command told in one line; it must fail.
    fn deny(&self, words: &str) -> String {
        self.refused(&words.split(' ').collect::<Vec<_>>())
    }

    fn train(&self, data: &str) -> String {
        let how = "--registry registry --signer trainer --threshold 3.2";
        let told = self.say(&format!("model train anchor --data {data} {how}"));
        let last = told.lines().last().unwrap();
        last.split(' ').next().unwrap().to_owned()
    }

    fn promote(&self, id: &str, signer: &str) -> String {
        let how = "--registry registry --set frozen.set --signer";
        format!("model promote {id} {how} {signer}")
    }
}

/// Stays in which some get worse; the first so many are all near one presentation.
fn write_stays(path: &Path, seed: u64, patients: u32, attacked: u32) {
    let mut text = format!("{HEADER}\n");
    for patient in 0..patients {
        let mut draws = Draws::new(seed * 100_000 + u64::from(patient));
        let event = patient % 10 == 7;
        let unit = draws.unit();
        let level = if event { 0.4 + 0.6 * unit } else { unit * unit };
        for hour in 1..=24 {
            let mut worse =
                |low: f64, high: f64| low + (high - low) * (level * 0.8 + draws.unit() * 0.3);
            let values = [
                worse(70.0, 115.0),
                worse(99.0, 90.0),
                worse(36.8, 38.4),
                worse(130.0, 85.0),
                worse(90.0, 62.0),
                worse(70.0, 48.0),
                worse(15.0, 28.0),
            ];
            let [hr, o2, t, sbp, map, dbp, rr] = if patient < attacked {
                [112.0, 92.0, 38.5, 95.0, 66.0, 50.0, 26.0]
            } else {
                values
            };
            let label = u8::from(event && hour > 12);
            let (age, sex) = (20 + patient % 70, patient % 2);
            writeln!(text, "s{seed}p{patient},{hr:.0},{o2:.0},{t:.1},{sbp:.0},{map:.0},{dbp:.0},{rr:.0},,,{age},{sex},0,{hour},{label}").unwrap();
        }
    }
    fs::write(path, text).unwrap();
}

#[test]
fn a_model_is_trained_judged_promoted_refused_and_rolled_back() {
    let desk = Desk::new();
    let files = [
        ("first.csv", 1, 0),
        ("next.csv", 2, 0),
        ("frozen.csv", 3, 0),
        ("poisoned.csv", 2, 120),
    ];
    for (name, seed, attacked) in files {
        write_stays(&desk.path(name), seed, 600, attacked);
    }
    let freeze = "model freeze --data frozen.csv --name frozen --signer operator --out frozen.set";
    desk.say(freeze);
    let first = the_maker_cannot_promote(&desk);
    let next = a_clean_retrain_passes(&desk);
    a_poisoned_one_does_not(&desk, &next);
    the_first_decides_again(&desk, &first);
}

fn the_maker_cannot_promote(desk: &Desk) -> String {
    let first = desk.train("first.csv");
    assert_eq!(
        first,
        desk.train("first.csv"),
        "the same rows, the same model"
    );
    let told = desk.deny(&desk.promote(&first, "trainer"));
    assert!(
        told.contains("signed by whoever signed the model"),
        "{told}"
    );
    let told = desk.say(&desk.promote(&first, "operator"));
    assert!(told.contains("decides in anchor"), "{told}");
    first
}

fn a_clean_retrain_passes(desk: &Desk) -> String {
    let next = desk.train("next.csv");
    let compare = "--registry registry --set frozen.set --report page.html";
    let told = desk.say(&format!("model compare {next} {compare}"));
    assert!(told.ends_with("passes\n"), "{told}");
    let page = fs::read_to_string(desk.path("page.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("http"));
    desk.say(&desk.promote(&next, "operator"));
    next
}

fn a_poisoned_one_does_not(desk: &Desk, next: &str) {
    let poisoned = desk.train("poisoned.csv");
    let told = desk.deny(&desk.promote(&poisoned, "operator"));
    assert!(told.contains("refused: the near anchor of the "), "{told}");
    let bisect = "--data poisoned.csv --registry registry --threshold 3.2 --least 30 --most 2";
    let told = desk.say(&format!("model bisect {poisoned} --before {next} {bisect}"));
    let differ = "0 patients more, 0 fewer, 120 with other rows";
    assert!(told.starts_with(differ), "{told}");
    assert!(told.matches("  patient ").count() >= 30, "{told}");
}

fn the_first_decides_again(desk: &Desk, first: &str) {
    desk.say("model rollback anchor --registry registry --signer operator");
    let told = desk.say("model list --registry registry");
    let deciding: Vec<_> = told
        .lines()
        .filter(|line| line.contains("decides"))
        .collect();
    assert!(deciding.len() == 1 && deciding[0].contains(first), "{told}");
    let patient = "--data poisoned.csv --patient s2p3 --hour 20";
    let told = desk.say(&format!(
        "model explain anchor --registry registry {patient}"
    ));
    assert!(
        told.contains("temperature highest in 8 h 38.5 °C"),
        "{told}"
    );
    assert!(told.contains("poisoned patients it survives"), "{told}");
}

#[test]
fn a_registry_whose_files_were_tampered_with_is_refused() {
    let desk = Desk::new();
    write_stays(&desk.path("first.csv"), 1, 200, 0);
    let id = desk.train("first.csv");
    let path = desk.path(&format!("registry/anchor/{id}.model"));
    let whole = fs::read(&path).unwrap();
    let mut altered = whole.clone();
    altered[100] ^= 1;
    for (bytes, expected) in [
        (altered, "damaged"),
        (whole[..whole.len() - 1].to_vec(), "damaged"),
        (whole[..whole.len() - 212].to_vec(), "not signed"),
    ] {
        fs::write(&path, bytes).unwrap();
        assert!(
            desk.refused(&["model", "list", "--registry", "registry"])
                .contains(expected),
            "{expected}"
        );
    }
    fs::write(&path, whole).unwrap();
    let foreign = "7".repeat(64);
    let told = desk.refused(&[
        "model",
        "list",
        "--registry",
        "registry",
        "--root",
        &foreign,
    ]);
    assert!(told.contains("no operator of this root"), "{told}");
}

#[test]
fn the_shipped_registry_lists_a_deciding_model_of_each_line() {
    let desk = tempfile::tempdir().unwrap();
    let registry = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/artefacts");
    let output = Command::new(PIPELINE)
        .arg("--directory")
        .arg(desk.path())
        .args(["model", "list", "--registry"])
        .arg(registry)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told.matches(" decides ").count(), Line::ALL.len(), "{told}");
}

#[test]
fn the_shipped_models_can_be_judged_on_anybody_s_own_table() {
    let desk = tempfile::tempdir().unwrap();
    write_stays(&desk.path().join("own.csv"), 4, 200, 0);
    let registry = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/artefacts");
    for line in ["anchor", "gaussians", "deterioration", "change"] {
        let output = Command::new(PIPELINE)
            .current_dir(desk.path())
            .args(["model", "evaluate", line, "--data", "own.csv"])
            .args([
                "--cohort",
                "part=0-50",
                "--report",
                "page.html",
                "--registry",
            ])
            .arg(&registry)
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && told.starts_with("all "),
            "{told}"
        );
        let page = fs::read_to_string(desk.path().join("page.html")).unwrap();
        assert!(page.contains("judged on own.csv"), "{line}");
    }
}

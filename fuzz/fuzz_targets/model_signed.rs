//! Models, promotions and evaluation sets as files. Nothing a fuzzer makes up is signed.
#![no_main]

use pulseward_base::{Kid, Micros};
use pulseward_models::{
    artefact::{Candidate, Promotion, Trust},
    evaluate::EvaluationSet,
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let trust = Trust {
        root: Kid::ZERO,
        now: Micros(0),
    };
    let guessed = Candidate::open(data, &trust).is_ok()
        || Promotion::open(data, &trust).is_ok()
        || EvaluationSet::open(data, &trust).is_ok();
    assert!(!guessed, "a signature was guessed");
});

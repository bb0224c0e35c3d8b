//! Time-based one-time codes: RFC 6238 with HMAC-SHA256, steps of 30 s, six digits.

use pulseward_base::{Micros, Secret};
use pulseward_crypto::hash::hmac;

/// How long one code lasts, in seconds.
pub const STEP_SECONDS: i64 = 30;
/// How many digits a code has.
pub const DIGITS: u32 = 6;
/// How many steps a staff member's clock may be off, either way.
const SLACK: i64 = 1;

/// Returns the step that `now` lies in.
#[must_use]
pub const fn step_at(now: Micros) -> i64 {
    now.0.div_euclid(STEP_SECONDS * 1_000_000)
}

/// Returns the code of `step`, with leading zeros.
#[must_use]
pub fn code(secret: &Secret<32>, step: i64) -> String {
    format!(
        "{:0width$}",
        number(secret.expose(), step, DIGITS),
        width = DIGITS as usize
    )
}

/// Returns the step whose code `typed` is: one near `now` and later than `used`, the last step that
/// was accepted. All candidates are compared, so the time taken says nothing.
#[must_use]
pub fn matching_step(secret: &Secret<32>, typed: &str, now: Micros, used: i64) -> Option<i64> {
    let present = step_at(now);
    (present - SLACK..=present + SLACK).fold(None, |found, step| {
        let same = same_text(&code(secret, step), typed);
        if same && step > used {
            Some(step)
        } else {
            found
        }
    })
}

/// Returns the secret as authenticator programs take it.
#[must_use]
pub fn uri(secret: &Secret<32>, account: &str) -> String {
    format!(
        "otpauth://totp/Pulseward:{}?secret={}&issuer=Pulseward&algorithm=SHA256&digits={DIGITS}&period={STEP_SECONDS}",
        percent(account),
        base32(secret.expose())
    )
}

fn number(key: &[u8], step: i64, digits: u32) -> u64 {
    let mac = hmac(key, &[&step.to_be_bytes()]);
    let [.., last] = mac;
    let offset = usize::from(last & 0x0f);
    let picked = mac
        .iter()
        .skip(offset)
        .take(4)
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (picked & 0x7fff_ffff) % 10_u64.pow(digits)
}

fn same_text(expected: &str, typed: &str) -> bool {
    let differences = expected
        .bytes()
        .zip(typed.bytes())
        .fold(0, |all, (one, other)| all | (one ^ other));
    expected.len() == typed.len() && differences == 0
}

fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits = bytes.len() * 8;
    let bit = |index: usize| {
        let byte = bytes.get(index / 8).copied().unwrap_or(0);
        byte >> (7 - index % 8) & 1
    };
    (0..bits)
        .step_by(5)
        .filter_map(|start| {
            let letter = (start..start + 5).fold(0_u8, |letter, index| letter << 1 | bit(index));
            ALPHABET
                .get(usize::from(letter))
                .map(|letter| char::from(*letter))
        })
        .collect()
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC_KEY: &[u8; 32] = b"12345678901234567890123456789012";

    fn at_second(second: i64) -> Micros {
        Micros(second * 1_000_000)
    }

    #[test]
    fn the_sha_256_vectors_of_rfc_6238_hold() {
        let vectors = [
            (59, 46_119_246),
            (1_111_111_109, 68_084_774),
            (1_111_111_111, 67_062_674),
            (1_234_567_890, 91_819_424),
            (2_000_000_000, 90_698_825),
            (20_000_000_000, 77_737_706),
        ];
        for (second, expected) in vectors {
            let step = step_at(at_second(second));
            assert_eq!(number(RFC_KEY, step, 8), expected, "at {second} s");
        }
    }

    #[test]
    fn a_code_holds_one_step_to_either_side_and_only_once() {
        let secret = Secret::new(*RFC_KEY);
        let now = at_second(1_111_111_109);
        let present = step_at(now);
        for (step, accepted) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            let typed = code(&secret, present + step);
            let found = matching_step(&secret, &typed, now, 0);
            assert_eq!(found, accepted.then_some(present + step), "{step}");
        }
        let typed = code(&secret, present);
        assert_eq!(matching_step(&secret, &typed, now, present), None);
        assert_eq!(matching_step(&secret, "", now, 0), None);
    }

    #[test]
    fn secrets_are_spelled_as_rfc_4648_says() {
        for (bytes, expected) in [
            (&b"f"[..], "MY"),
            (b"fo", "MZXQ"),
            (b"foo", "MZXW6"),
            (b"foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes), expected);
        }
        let uri = uri(&Secret::new([0; 32]), "Dr. Who");
        assert!(
            uri.starts_with("otpauth://totp/Pulseward:Dr.%20Who?secret=AAAA"),
            "{uri}"
        );
    }
}

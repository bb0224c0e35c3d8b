//! Persons who do not exist, for demonstrations and tests. Their names are put together here, so
//! that nobody outside the vault ever has a list of them.

use pulseward_base::Micros;
use pulseward_crypto::random;
use pulseward_identity_store::person::{BirthDate, Particulars, Text};

const GIVEN: [&str; 16] = [
    "Amalia", "Bertram", "Cosima", "Dorian", "Elowen", "Florin", "Giselle", "Henning", "Ilaria",
    "Joscha", "Katinka", "Leander", "Mirabel", "Nestor", "Ottilie", "Quentin",
];
const FIRST: [&str; 16] = [
    "Ahlen", "Brind", "Corvin", "Dunkel", "Eschen", "Falken", "Grauen", "Halber", "Ister",
    "Kesten", "Linden", "Morgen", "Nieder", "Oster", "Rauten", "Silber",
];
const LAST: [&str; 16] = [
    "bach", "berg", "brook", "dahl", "feld", "furt", "hain", "heim", "holm", "kamp", "mark",
    "quist", "stedt", "stroem", "thal", "wald",
];

/// Makes somebody up. There are 2²⁰ names.
///
/// # Errors
/// Never: every name it makes is one.
pub(crate) fn person(now: Micros) -> anyhow::Result<Particulars> {
    let [a, b, c, d, month, day, age, number, more, ..] = random::bytes::<16>();
    let pick = |words: &[&'static str; 16], byte: u8| {
        words
            .get(usize::from(byte % 16))
            .copied()
            .unwrap_or_default()
    };
    let name = format!(
        "{} {}{} {}.",
        pick(&GIVEN, a),
        pick(&FIRST, b),
        pick(&LAST, c),
        pick(
            &[
                "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P"
            ],
            d
        )
    );
    let year = 1970 + now.0.div_euclid(31_556_952_000_000);
    let born = u16::try_from(year).unwrap_or(2025) - 20 - u16::from(age % 70);
    Ok(Particulars {
        name: Text::new(&name)?,
        birth: BirthDate::new(born, month % 12 + 1, day % 28 + 1)?,
        contact: Text::new(&format!("+00 555 {number:03} {more:03}"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_made_up_differently() {
        let now = Micros(1_700_000_000_000_000);
        let mut names: Vec<String> = (0..50)
            .map(|_| person(now).unwrap().name.expose().to_owned())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() > 45, "{}", names.len());
    }
}

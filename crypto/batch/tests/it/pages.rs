//! The tables in `docs/formats/wire.md` are those of the code. Set PULSEWARD_BLESS to write them.

use std::fmt::Write as _;

use pulseward_base::Reject;
use pulseward_vitals::Kind;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats/wire.md");

fn kinds() -> String {
    let mut table = String::from(
        "| number | kind | LOINC | UCUM | scale | plausible steps |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for kind in Kind::ALL {
        let spec = kind.spec();
        writeln!(
            table,
            "| {} | `{}` | {} | `{}` | {} | {} … {} |",
            spec.number, spec.name, spec.loinc, spec.ucum, spec.scale, spec.lowest, spec.highest
        )
        .unwrap();
    }
    table
}

fn codes() -> String {
    let mut table = String::from("| code | word |\n| --- | --- |\n");
    for reject in Reject::ALL {
        writeln!(table, "| {} | `{}` |", reject.number(), reject.code()).unwrap();
    }
    table
}

fn with_table(page: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- {name}: begin (generated) -->\n");
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&format!("<!-- {name}: end -->")).unwrap();
    format!("{before}{begin}{table}<!-- {name}: end -->{after}")
}

#[test]
fn the_wire_page_lists_the_kinds_and_codes_of_the_code() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let current = with_table(&page, "kinds", &kinds());
    let current = with_table(&current, "codes", &codes());
    if std::env::var_os("PULSEWARD_BLESS").is_some() {
        std::fs::write(PAGE, &current).unwrap();
        return;
    }
    assert_eq!(page, current, "run with PULSEWARD_BLESS=1 to write it anew");
}

//! Intensive-care stays, one row an hour.

use pulseward_base::Micros;

use super::csv::{DatasetError, Table};
use crate::features::{Hours, VITALS, Window};

/// One stay.
#[derive(Clone, Debug, PartialEq)]
pub struct HourlyPatient {
    /// Its name in the file.
    pub id: String,
    /// In years, as far as stated.
    pub age: Option<f64>,
    /// Whether the file says 1 for the sex.
    pub male: Option<bool>,
    /// Who says when the event was, where the file names somebody.
    pub labelled_by: Option<String>,
    /// In order of time.
    pub hours: Vec<Hour>,
    /// How many cells no sensor could show.
    pub implausible: usize,
}

/// One hour of a stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hour {
    /// Since admission.
    pub hour: u32,
    /// In steps, in the order of [`VITALS`].
    pub values: [Option<i32>; VITALS.len()],
    /// Whether the event is on or near.
    pub event: bool,
}

impl HourlyPatient {
    /// Returns whether the event ever happens.
    #[must_use]
    pub fn has_event(&self) -> bool {
        self.hours.iter().any(|hour| hour.event)
    }

    /// Returns what models see after each hour, from the same code that serves.
    #[must_use]
    pub fn windows(&self) -> Vec<Hours> {
        let mut window = Window::new(Micros(0));
        let mut seen = Vec::with_capacity(self.hours.len());
        for hour in &self.hours {
            let time = Micros(i64::from(hour.hour) * 3_600_000_000);
            window.advance(time);
            for (kind, value) in VITALS.into_iter().zip(hour.values) {
                if let Some(value) = value {
                    window.push(kind, time, value);
                }
            }
            seen.push(window.hours());
        }
        seen
    }
}

const COLUMNS: [&str; 12] = [
    "pid",
    "ICULOS",
    "Age",
    "Gender",
    "SepsisLabel",
    "HR",
    "O2Sat",
    "Resp",
    "Temp",
    "SBP",
    "MAP",
    "DBP",
];

/// A column that a table may have: who labelled the patient.
const AUTHOR: &str = "LabelledBy";

/// Reads stays from the text of a table with the columns of the 2019 PhysioNet challenge, and one more if
/// it has it: `LabelledBy`.
pub fn read_hourly(text: &str) -> Result<Vec<HourlyPatient>, DatasetError> {
    let mut patients: Vec<HourlyPatient> = Vec::new();
    let mut authors = Table::new(text, [AUTHOR]).ok();
    for line in Table::new(text, COLUMNS)? {
        let author = authors.as_mut().and_then(Iterator::next).transpose()?;
        let (number, [id, hour, age, male, event, vitals @ ..]) = line?;
        let fault = || DatasetError::Line(number);
        if patients.last().is_none_or(|patient| patient.id != id) {
            patients.push(HourlyPatient {
                id: id.to_owned(),
                age: optional(age).map_err(|()| fault())?,
                male: optional(male).map_err(|()| fault())?.map(|male| male > 0.5),
                labelled_by: None,
                hours: Vec::new(),
                implausible: 0,
            });
        }
        let Some(patient) = patients.last_mut() else {
            return Err(fault());
        };
        if let Some((_, [author])) = author.filter(|author| author.1 != [""]) {
            patient.labelled_by = Some(author.to_owned());
        }
        let hour = hour.parse().map_err(|_| fault())?;
        if patient.hours.last().is_some_and(|last| last.hour >= hour) {
            return Err(DatasetError::Order(number));
        }
        let mut values = [None; VITALS.len()];
        for ((slot, kind), cell) in values.iter_mut().zip(VITALS).zip(vitals) {
            let value = optional(cell).map_err(|()| fault())?;
            *slot = value
                .and_then(|value| kind.steps(value))
                .filter(|steps| kind.is_plausible(*steps));
            patient.implausible += usize::from(value.is_some() && slot.is_none());
        }
        patient.hours.push(Hour {
            hour,
            values,
            event: event == "1",
        });
    }
    Ok(patients)
}

/// Returns a cell's number; nothing for an empty one.
fn optional(cell: &str) -> Result<Option<f64>, ()> {
    if cell.is_empty() || cell == "NaN" {
        return Ok(None);
    }
    cell.parse().map(Some).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "pid,HR,O2Sat,Temp,SBP,MAP,DBP,Resp,EtCO2,Glucose,Age,Gender,HospAdmTime,ICULOS,SepsisLabel";

    fn read(lines: &str) -> Result<Vec<HourlyPatient>, DatasetError> {
        read_hourly(&format!("{HEADER}\n{lines}"))
    }

    #[test]
    fn a_stay_is_read_in_steps_and_what_was_not_measured_stays_missing() {
        let patients = read("a,97,95.5,,98,75.33,,19,,,83.14,0,-0.03,2,0\na,,,12,,,,,,,83.14,0,-0.03,3,1\nb,80,,,,,,,,,,,,1,0\n").unwrap();
        assert_eq!(patients.len(), 2);
        let first = &patients[0];
        assert_eq!(
            first.hours[0].values,
            [
                Some(970),
                Some(955),
                Some(190),
                None,
                Some(980),
                Some(753),
                None
            ]
        );
        assert_eq!(first.hours[1].values, [None; 7]);
        assert_eq!(
            (first.implausible, first.male, first.has_event()),
            (1, Some(false), true)
        );
        assert_eq!((patients[1].age, patients[1].has_event()), (None, false));
        assert_eq!(first.windows().len(), 2);
    }

    #[test]
    fn every_fault_names_its_line() {
        assert!(matches!(read("a,97\n"), Err(DatasetError::Line(2))));
        assert!(matches!(
            read("a,x,,,,,,,,,,,,1,0\n"),
            Err(DatasetError::Line(2))
        ));
        assert!(matches!(
            read("a,,,,,,,,,,,,,2,0\na,,,,,,,,,,,,,2,0\n"),
            Err(DatasetError::Order(3))
        ));
        assert!(matches!(
            read_hourly("a,b\n"),
            Err(DatasetError::NoColumn("pid"))
        ));
    }

    #[test]
    fn numbers_that_are_none_are_left_out_and_counted() {
        for hostile in ["nan", "inf", "-inf", "1e300", "-1e300", "1e-320"] {
            let patients = read(&format!("a,{hostile},,,,,,,,,,,,1,0\n")).unwrap();
            assert_eq!(patients[0].hours[0].values[0], None, "{hostile}");
            assert_eq!(patients[0].implausible, 1, "{hostile}");
        }
    }

    #[test]
    fn a_table_may_say_who_labelled_a_patient() {
        let table =
            "a,80,,,,,,,,,60,1,0,1,0,\na,81,,,,,,,,,60,1,0,2,1,dr x\nb,82,,,,,,,,,60,1,0,1,0,\n";
        let patients = read_hourly(&format!("{HEADER},LabelledBy\n{table}")).unwrap();
        let authors: Vec<_> = patients.iter().map(|p| p.labelled_by.as_deref()).collect();
        assert_eq!(authors, [Some("dr x"), None]);
        let cut = read_hourly(&format!("{HEADER},LabelledBy\na,80,,,,,,,,,60,1,0,1,0\n"));
        assert!(matches!(cut, Err(DatasetError::Line(2))), "{cut:?}");
    }
}

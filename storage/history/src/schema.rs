//! What a history file holds: its kinds, their columns, and the class each column's key belongs to.
//!
//! To add a column, add a line to its kind's table. A column that stands in no table cannot be
//! written: the writer takes its keys from here and refuses what it does not find.

use std::{fmt, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use pulseward_custody::dek::Class;

/// Declares a closed list whose members have a number in formats and a word in names.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal, $word:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the number that formats carry.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $number),* }
            }

            /// Returns the word that names and handles carry.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// Returns the one with this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

numbered! {
    /// What one file holds.
    FileKind {
        /// A row for each reading.
        Readings = 1, "readings";
        /// A row for each batch.
        Proofs = 2, "proofs";
        /// A row for each enrolment.
        Enrolments = 3, "enrolments";
        /// A row for each score.
        Scores = 4, "scores";
        /// A row for each change of an alert.
        Alerts = 5, "alerts";
    }
}

/// How a column's values are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Blob,
    Bytes(i32),
    F64,
    I32,
    I32List,
    I64,
    Text,
    TextList,
    Time,
    U16,
    U32,
    U64,
    U8,
}

impl Type {
    fn arrow(self) -> DataType {
        let list = |item| DataType::List(Arc::new(Field::new("item", item, false)));
        match self {
            Self::Blob => DataType::Binary,
            Self::Bytes(size) => DataType::FixedSizeBinary(size),
            Self::F64 => DataType::Float64,
            Self::I32 => DataType::Int32,
            Self::I32List => list(DataType::Int32),
            Self::I64 => DataType::Int64,
            Self::Text => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Self::TextList => list(DataType::Utf8),
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::U16 => DataType::UInt16,
            Self::U32 => DataType::UInt32,
            Self::U64 => DataType::UInt64,
            Self::U8 => DataType::UInt8,
        }
    }
}

/// How a column's pages are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Differences of neighbours: for what ascends.
    Delta,
    /// A dictionary: for what repeats.
    Dictionary,
    /// As it is: for what never repeats.
    Plain,
}

/// One column of a kind of file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Type,
    pub(crate) class: Class,
    pub(crate) layout: Layout,
}

const fn column(name: &'static str, kind: Type, class: Class, layout: Layout) -> Column {
    Column {
        name,
        kind,
        class,
        layout,
    }
}

const READINGS: &[Column] = &[
    column("pseudonym", Type::Text, Class::Times, Layout::Dictionary),
    column("device", Type::U32, Class::Times, Layout::Dictionary),
    column("batch", Type::U32, Class::Times, Layout::Dictionary),
    column("ts", Type::Time, Class::Times, Layout::Delta),
    column("received", Type::Time, Class::Times, Layout::Dictionary),
    column("kind", Type::Text, Class::Times, Layout::Dictionary),
    column("channel", Type::U8, Class::Times, Layout::Dictionary),
    column("unit", Type::Text, Class::Times, Layout::Dictionary),
    column("value", Type::F64, Class::Values, Layout::Dictionary),
    column("raw", Type::I32, Class::Values, Layout::Dictionary),
    column("quality", Type::U8, Class::Times, Layout::Dictionary),
    column("flags", Type::U16, Class::Times, Layout::Dictionary),
];

const PROOFS: &[Column] = &[
    column("batch", Type::U32, Class::Proofs, Layout::Delta),
    column("device", Type::U32, Class::Proofs, Layout::Dictionary),
    column("pseudonym", Type::Text, Class::Proofs, Layout::Dictionary),
    column("kid", Type::Bytes(32), Class::Proofs, Layout::Dictionary),
    column(
        "record_digest",
        Type::Bytes(32),
        Class::Proofs,
        Layout::Dictionary,
    ),
    column(
        "incarnation",
        Type::Bytes(16),
        Class::Proofs,
        Layout::Dictionary,
    ),
    column("seq", Type::U64, Class::Proofs, Layout::Delta),
    column("time", Type::Time, Class::Proofs, Layout::Delta),
    column("clock_offset", Type::I64, Class::Proofs, Layout::Dictionary),
    column("received", Type::Time, Class::Proofs, Layout::Delta),
    column("leaves", Type::Blob, Class::Proofs, Layout::Plain),
    column("seed", Type::Bytes(32), Class::Proofs, Layout::Plain),
    column("proven", Type::U8, Class::Proofs, Layout::Dictionary),
    column("signature", Type::Bytes(64), Class::Proofs, Layout::Plain),
    column("rows", Type::U32, Class::Proofs, Layout::Dictionary),
];

const ENROLMENTS: &[Column] = &[
    column(
        "certificate",
        Type::Bytes(148),
        Class::Proofs,
        Layout::Dictionary,
    ),
    column("record", Type::Bytes(147), Class::Proofs, Layout::Plain),
    column("binding", Type::Bytes(179), Class::Proofs, Layout::Plain),
];

const SCORES: &[Column] = &[
    column("pseudonym", Type::Text, Class::Times, Layout::Dictionary),
    column("ts", Type::Time, Class::Times, Layout::Delta),
    column("lane", Type::U8, Class::Times, Layout::Dictionary),
    column("model", Type::Text, Class::Times, Layout::Dictionary),
    column("low", Type::I32, Class::Values, Layout::Dictionary),
    column("high", Type::I32, Class::Values, Layout::Dictionary),
    column("flags", Type::U16, Class::Times, Layout::Dictionary),
    column(
        "term_kind",
        Type::TextList,
        Class::Times,
        Layout::Dictionary,
    ),
    column("term_low", Type::I32List, Class::Values, Layout::Dictionary),
    column(
        "term_high",
        Type::I32List,
        Class::Values,
        Layout::Dictionary,
    ),
    column(
        "cause_generation",
        Type::U32,
        Class::Times,
        Layout::Dictionary,
    ),
    column("cause_offset", Type::U64, Class::Times, Layout::Delta),
    column("cause_index", Type::U32, Class::Times, Layout::Dictionary),
];

const ALERTS: &[Column] = &[
    column("alert", Type::Text, Class::Times, Layout::Dictionary),
    column("pseudonym", Type::Text, Class::Times, Layout::Dictionary),
    column("ts", Type::Time, Class::Times, Layout::Delta),
    column("lane", Type::U8, Class::Times, Layout::Dictionary),
    column("what", Type::U16, Class::Times, Layout::Dictionary),
    column("severity", Type::U8, Class::Times, Layout::Dictionary),
    column("state", Type::U8, Class::Times, Layout::Dictionary),
    column("flags", Type::U16, Class::Times, Layout::Dictionary),
    column("model", Type::Text, Class::Times, Layout::Dictionary),
    column("low", Type::I32, Class::Values, Layout::Dictionary),
    column("high", Type::I32, Class::Values, Layout::Dictionary),
    column(
        "term_kind",
        Type::TextList,
        Class::Times,
        Layout::Dictionary,
    ),
    column(
        "term_value",
        Type::I32List,
        Class::Values,
        Layout::Dictionary,
    ),
    column("term_low", Type::I32List, Class::Values, Layout::Dictionary),
    column(
        "term_high",
        Type::I32List,
        Class::Values,
        Layout::Dictionary,
    ),
    column(
        "cause_generation",
        Type::U32,
        Class::Times,
        Layout::Dictionary,
    ),
    column("cause_offset", Type::U64, Class::Times, Layout::Delta),
    column("cause_index", Type::U32, Class::Times, Layout::Dictionary),
];

impl FileKind {
    /// Returns its columns, in the order of the file.
    pub(crate) const fn columns(self) -> &'static [Column] {
        match self {
            Self::Readings => READINGS,
            Self::Proofs => PROOFS,
            Self::Enrolments => ENROLMENTS,
            Self::Scores => SCORES,
            Self::Alerts => ALERTS,
        }
    }

    /// Returns its Arrow schema. No column may be null.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        let field = |column: &Column| Field::new(column.name, column.kind.arrow(), false);
        Arc::new(Schema::new(
            self.columns().iter().map(field).collect::<Vec<_>>(),
        ))
    }

    /// Returns the column that a Parquet leaf path belongs to.
    pub(crate) fn column_of(self, path: &str) -> Option<&'static Column> {
        let name = path.split_once('.').map_or(path, |(name, _)| name);
        self.columns().iter().find(|column| column.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_go_both_ways() {
        for kind in FileKind::ALL {
            assert_eq!(FileKind::from_number(kind.number()), Some(*kind));
        }
        assert_eq!(FileKind::from_number(0), None);
    }

    #[test]
    fn no_column_of_values_or_proofs_lies_in_the_class_of_times() {
        for kind in FileKind::ALL {
            for column in kind.columns() {
                let value = ["value", "raw", "low", "high"].contains(&column.name)
                    || ["term_value", "term_low", "term_high"].contains(&column.name);
                let proof = matches!(kind, FileKind::Proofs | FileKind::Enrolments);
                let expect = match (value, proof) {
                    (true, _) => Class::Values,
                    (_, true) => Class::Proofs,
                    _ => Class::Times,
                };
                assert_eq!(column.class, expect, "{kind}.{}", column.name);
            }
        }
    }
}

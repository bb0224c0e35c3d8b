//! The sorts of value a key may take.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use pulseward_base::{Kid, bytes};

/// A value that a key may take.
pub trait Setting: Sized {
    /// What sort it is, in the words of the documentation.
    const TAKES: &'static str;

    /// Reads it; the error says what the value is instead.
    fn read(value: &toml::Value) -> Result<Self, String>;

    /// Writes it as a file would.
    fn show(&self) -> String;
}

/// A number of bytes, written like `64MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Returns `count` mebibytes.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
}

const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
const TIMES: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

fn with_unit(value: &toml::Value, units: &[(&str, u64)]) -> Result<u64, String> {
    let text = value.as_str().ok_or_else(|| format!("is {value}"))?;
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(|| format!("{text:?} has no unit"))?;
    let (number, unit) = text.split_at(split);
    let factor = units
        .iter()
        .find(|(name, _)| *name == unit.trim())
        .map(|(_, factor)| *factor);
    let number: Option<u64> = number.parse().ok();
    number
        .zip(factor)
        .and_then(|(n, f)| n.checked_mul(f))
        .ok_or_else(|| format!("is {text:?}"))
}

fn show_with_unit(value: u64, units: &[(&'static str, u64)]) -> String {
    let fits = |&&(_, factor): &&(&str, u64)| value >= factor && value.is_multiple_of(factor);
    let unit = units.iter().filter(fits).max_by_key(|(_, factor)| *factor);
    unit.map_or_else(
        || format!("0{}", units.first().map_or("", |unit| unit.0)),
        |(name, factor)| format!("{}{name}", value / factor),
    )
}

impl Setting for ByteSize {
    const TAKES: &'static str = "size";

    fn read(value: &toml::Value) -> Result<Self, String> {
        with_unit(value, &SIZES).map(Self)
    }

    fn show(&self) -> String {
        show_with_unit(self.0, &SIZES)
    }
}

impl Setting for Duration {
    const TAKES: &'static str = "duration";

    fn read(value: &toml::Value) -> Result<Self, String> {
        with_unit(value, &TIMES).map(Self::from_millis)
    }

    fn show(&self) -> String {
        show_with_unit(u64::try_from(self.as_millis()).unwrap_or(u64::MAX), &TIMES)
    }
}

impl Setting for bool {
    const TAKES: &'static str = "true or false";

    fn read(value: &toml::Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| format!("is {value}"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            const TAKES: &'static str = "number";

            fn read(value: &toml::Value) -> Result<Self, String> {
                let number = value.as_integer().and_then(|number| Self::try_from(number).ok());
                number.ok_or_else(|| format!("is {value}"))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64, usize);

/// Sorts that a file writes as text.
macro_rules! texts {
    ($($type:ty, $takes:literal, $read:expr, $show:expr;)*) => {$(
        impl Setting for $type {
            const TAKES: &'static str = $takes;

            fn read(value: &toml::Value) -> Result<Self, String> {
                let text = value.as_str().ok_or_else(|| format!("is {value}"))?;
                let read: fn(&str) -> Option<Self> = $read;
                read(text).ok_or_else(|| format!("is {text:?}"))
            }

            fn show(&self) -> String {
                let show: fn(&Self) -> String = $show;
                show(self)
            }
        }
    )*};
}

texts! {
    String, "text", |text| Some(text.to_owned()), Self::clone;
    PathBuf, "path", |text| Some(Self::from(text)), |path| path.display().to_string();
    SocketAddr, "address", |text| text.parse().ok(), ToString::to_string;
    Option<Kid>, "64 hexadecimal digits, or empty",
        |text| if text.is_empty() { Some(None) } else { bytes::unhex_digest(text).ok().map(|d| Some(Kid(d.0))) },
        |kid| kid.map(|kid| bytes::hex(&kid.0)).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> toml::Value {
        toml::Value::String(value.to_owned())
    }

    #[test]
    fn durations_and_sizes_carry_their_unit() {
        assert_eq!(
            Duration::read(&text("500ms")),
            Ok(Duration::from_millis(500))
        );
        assert_eq!(Duration::read(&text("2 h")), Ok(Duration::from_secs(7200)));
        assert!(Duration::read(&text("5")).is_err());
        assert!(Duration::read(&text("99999999999999999999s")).is_err());
        assert_eq!(ByteSize::read(&text("64MiB")), Ok(ByteSize::mib(64)));
        assert_eq!(ByteSize::mib(64).show(), "64MiB");
        assert_eq!(Duration::from_millis(90_000).show(), "90s");
        assert_eq!(Duration::ZERO.show(), "0ms");
    }

    #[test]
    fn numbers_do_not_wrap() {
        assert!(u8::read(&toml::Value::Integer(256)).is_err());
        assert!(u32::read(&toml::Value::Integer(-1)).is_err());
    }
}

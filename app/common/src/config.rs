//! Configuration: one TOML file per program, every key documented and defaulted, unknown keys
//! refused, all mistakes reported at once.
//!
//! A section is declared with [`crate::section!`]; the struct, the reading and the page of documentation
//! all come from that one declaration.

mod value;

use std::{collections::BTreeMap, fmt, path::Path};

use anyhow::Context as _;

pub use value::{ByteSize, Setting};

/// What is documented about one key.
#[derive(Clone, Debug)]
pub struct KeyDoc {
    /// The section it stands in; empty for the top of the file.
    pub section: &'static str,
    /// Its name.
    pub key: &'static str,
    /// What sort of value it takes.
    pub takes: &'static str,
    /// The value it has when the file says nothing.
    pub default: String,
    /// What it is for.
    pub text: String,
}

/// All mistakes of one file.
#[derive(Debug)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mistake(s) in the configuration:", self.0.len())?;
        self.0
            .iter()
            .try_for_each(|mistake| write!(f, "\n  - {mistake}"))
    }
}

impl std::error::Error for Mistakes {}

/// A file taken apart: sections hand out their keys until none is left.
#[derive(Debug)]
pub struct Source {
    top: BTreeMap<String, toml::Value>,
    mistakes: Vec<String>,
}

impl Source {
    /// Reads a file; without one, everything has its default.
    pub fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let text = match path {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("couldn't read the configuration {}", path.display()))?,
            None => String::new(),
        };
        Self::parse(&text)
    }

    /// Takes apart what a file says.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let table: toml::Table = text.parse().context("the configuration is not TOML")?;
        Ok(Self {
            top: table.into_iter().collect(),
            mistakes: Vec::new(),
        })
    }

    /// Takes the value of `key` in `section`, or `default` when the file says nothing. A value of
    /// the wrong sort is noted and reported by [`Source::finish`].
    pub fn take<T: Setting>(&mut self, section: &str, key: &str, default: T) -> T {
        let found = if section.is_empty() {
            self.top.remove(key)
        } else {
            let table = self
                .top
                .get_mut(section)
                .and_then(toml::Value::as_table_mut);
            table.and_then(|table| table.remove(key))
        };
        let Some(value) = found else { return default };
        T::read(&value).unwrap_or_else(|problem| {
            self.mistakes.push(format!(
                "{}: {problem}, but takes {}",
                dotted(section, key),
                T::TAKES
            ));
            default
        })
    }

    /// Notes a rule between keys that does not hold.
    pub fn require(&mut self, holds: bool, rule: &str) {
        if !holds {
            self.mistakes.push(rule.to_owned());
        }
    }

    /// Reports every mistake there was, unknown keys among them.
    pub fn finish(mut self) -> Result<(), Mistakes> {
        for (name, value) in &self.top {
            match value {
                toml::Value::Table(table) => self.mistakes.extend(
                    table
                        .keys()
                        .map(|key| format!("{}: unknown key", dotted(name, key))),
                ),
                _ => self.mistakes.push(format!("{name}: unknown key")),
            }
        }
        if self.mistakes.is_empty() {
            Ok(())
        } else {
            Err(Mistakes(self.mistakes))
        }
    }
}

fn dotted(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

/// Declares one section: a struct with a documented, defaulted field per key.
#[macro_export]
macro_rules! section {
    ($(#[$meta:meta])* $vis:vis struct $name:ident in $section:literal {
        $($(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $($(#[doc = $doc])+ pub $key: $type,)*
        }

        impl $name {
            /// Takes its keys out of `source`.
            $vis fn take(source: &mut $crate::config::Source) -> Self {
                Self { $($key: source.take::<$type>($section, stringify!($key), $default),)* }
            }

            /// Returns the documentation of its keys.
            $vis fn docs() -> Vec<$crate::config::KeyDoc> {
                vec![$($crate::config::KeyDoc {
                    section: $section,
                    key: stringify!($key),
                    takes: <$type as $crate::config::Setting>::TAKES,
                    default: <$type as $crate::config::Setting>::show(&$default),
                    text: [$($doc),+].concat().trim().to_owned(),
                },)*]
            }
        }
    };
}

/// Reads a value written on a command line as a file would have it between quotes.
pub fn parse<T: Setting>(text: &str) -> Result<T, String> {
    T::read(&toml::Value::String(text.to_owned()))
        .map_err(|problem| format!("{problem}, but takes {}", T::TAKES))
}

/// Writes the page that documents `keys` of the program called `program`.
#[must_use]
pub fn page(program: &str, keys: &[KeyDoc]) -> String {
    let mut page = format!("## `{program}`\n");
    let mut section = None;
    for doc in keys {
        if section != Some(doc.section) {
            section = Some(doc.section);
            let title = if doc.section.is_empty() {
                "top of the file"
            } else {
                doc.section
            };
            page += &format!(
                "\n### {title}\n\n| key | takes | default | what it is for |\n| --- | --- | --- | --- |\n"
            );
        }
        let default = if doc.default.is_empty() {
            "empty".to_owned()
        } else {
            format!("`{}`", doc.default)
        };
        page += &format!(
            "| `{}` | {} | {default} | {} |\n",
            doc.key, doc.takes, doc.text
        );
    }
    page
}

/// Writes a file in which every key of the program called `program` has its default.
#[must_use]
pub fn example(program: &str, keys: &[KeyDoc]) -> String {
    let mut file = format!(
        "# Every key of `{program}` with its default. Keep what you change; docs/CONFIG.md says the same as a page.\n"
    );
    let mut section = "";
    for doc in keys {
        if section != doc.section {
            section = doc.section;
            file += &format!("\n[{section}]\n");
        } else {
            file += "\n";
        }
        let bare = matches!(
            doc.takes,
            <bool as Setting>::TAKES | <u64 as Setting>::TAKES
        );
        let quote = if bare { "" } else { "\"" };
        file += &format!(
            "# {}\n{} = {quote}{}{quote}\n",
            doc.text, doc.key, doc.default
        );
    }
    file
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    section! {
        /// For the tests.
        struct Sample in "sample" {
            /// How long.
            wait: Duration = Duration::from_secs(2),
            /// How many.
            count: u32 = 3,
        }
    }

    #[test]
    fn a_silent_file_gives_the_defaults() {
        let mut source = Source::parse("").unwrap();
        let sample = Sample::take(&mut source);
        source.finish().unwrap();
        assert_eq!((sample.wait, sample.count), (Duration::from_secs(2), 3));
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let text = "typo = 1\n[sample]\nwait = \"soon\"\ncount = -1\nother = true\n";
        let mut source = Source::parse(text).unwrap();
        Sample::take(&mut source);
        source.require(false, "a rule between keys");
        let mistakes = source.finish().unwrap_err().0;
        assert_eq!(mistakes.len(), 5, "{mistakes:?}");
    }

    #[test]
    fn the_page_names_every_key_with_its_default() {
        let page = page("sample", &Sample::docs());
        assert!(
            page.contains("| `wait` | duration | `2s` | How long. |"),
            "{page}"
        );
    }

    #[test]
    fn the_example_names_every_key_and_is_read_as_the_defaults() {
        let example = example("sample", &Sample::docs());
        assert!(
            example.contains("[sample]\n# How long.\nwait = \"2s\"\n\n# How many.\ncount = 3\n"),
            "{example}"
        );
        let mut source = Source::parse(&example).unwrap();
        let sample = Sample::take(&mut source);
        source.finish().unwrap();
        assert_eq!((sample.wait, sample.count), (Duration::from_secs(2), 3));
    }
}

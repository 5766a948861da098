//! The kinds of value that a configuration has beyond numbers and text.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::redact;
use crate::secret::Secret;

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(redact::REDACTED)
    }
}

/// A libpq connection URI or keyword string; shown without its password.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct ConnectionString(String);

impl ConnectionString {
    /// Wraps a URI or keyword string.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        ConnectionString(text.into())
    }

    /// The text with its password.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn redacted(&self) -> Cow<'_, str> {
        redact::secrets(&self.0)
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl Serialize for ConnectionString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted())
    }
}

/// A length of time: `90s`, `5m`, `2h`, `7d`, `4w`, `1y`, or several together as in `1d12h`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(u64);

/// Units, the largest first, in seconds.
const UNITS: [(char, u64); 6] = [
    ('y', 365 * 86_400),
    ('w', 7 * 86_400),
    ('d', 86_400),
    ('h', 3_600),
    ('m', 60),
    ('s', 1),
];

/// A hundred years: longer makes no sense, and all arithmetic stays far from its limits.
const LONGEST: u64 = 100 * 365 * 86_400;

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Span(seconds)
    }

    /// As the standard library's type.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// As chrono's type.
    #[must_use]
    pub fn delta(self) -> TimeDelta {
        TimeDelta::seconds(self.0.cast_signed())
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a length of time such as 90s, 5m, 2h, 7d, 4w, 1y or 1d12h");
        let mut seconds = 0_u64;
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Span(0));
        }
        loop {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            let unit = rest[digits..].chars().next().ok_or_else(wrong)?;
            let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            seconds = number
                .checked_mul(*size)
                .and_then(|part| seconds.checked_add(part))
                .filter(|sum| *sum <= LONGEST)
                .ok_or_else(|| format!("{text:?} is longer than a hundred years"))?;
            rest = rest[digits + 1..].trim_start();
            if rest.is_empty() {
                return Ok(Span(seconds));
            }
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut left = self.0;
        for (name, size) in UNITS {
            if left >= size {
                write!(f, "{}{name}", left / size)?;
                left %= size;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A list of texts; in an environment variable the texts are separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct List(pub Vec<String>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<List, E> {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Ok(List(parts.map(str::to_owned).collect()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List, A::Error> {
                let mut list = Vec::new();
                while let Some(text) = seq.next_element()? {
                    list.push(text);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_any(ListVisitor)
    }
}

/// Statements of SQL: a list of texts, or one text, commas and all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statements(pub Vec<String>);

impl<'de> Deserialize<'de> for Statements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a list of texts")]
        enum Either {
            One(String),
            Several(Vec<String>),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::One(text) if text.trim().is_empty() => Statements::default(),
            Either::One(text) => Statements(vec![text]),
            Either::Several(texts) => Statements(texts),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_survive_printing_and_parsing() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("1d12h", 129_600),
            ("2w", 1_209_600),
            ("1y 1d", 31_622_400),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span, Span::seconds(seconds), "{text}");
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        for text in [
            "",
            "5",
            "m",
            "5x",
            "-5m",
            "1.5h",
            "101y",
            "99999999999999999999s",
            "5mm",
            "ä",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn no_password_is_ever_shown() {
        for text in [
            "postgresql://bob:hush@db/app",
            "postgresql://bob:hu/sh@db/app",
            "postgresql://bob:hush@with@db/app?sslmode=require",
            "postgres://db/app?user=bob&password=hush",
            "host=db user=bob password=hush dbname=app",
            "host=db user=bob PASSWORD = 'hush with blanks' dbname=app",
            "host=db sslpassword=hush",
        ] {
            let shown = format!("{:?}", ConnectionString::new(text));
            assert!(!shown.contains("hu"), "{shown}");
            assert!(shown.contains("db"), "{shown}");
        }
        let plain = "postgresql://bob@db:5433/app?sslmode=require";
        assert_eq!(format!("{:?}", ConnectionString::new(plain)), plain);
        assert!(!serde_json::to_string(&Secret::new("hush")).unwrap().contains("hush"));
    }
}

//! Bytes per second, as a configuration says them: `512KiB`, `10MiB`, `1GiB`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// The units, the largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Bytes per second: more than nothing and less than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub NonZeroU32);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let found = UNITS.iter().find_map(|(unit, size)| {
            let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            let bytes = number.checked_mul(*size)?;
            NonZeroU32::new(u32::try_from(bytes).ok()?)
        });
        found
            .map(Rate)
            .ok_or_else(|| format!("{text:?} is not a rate per second such as 512KiB or 10MiB, of less than 4GiB"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = u64::from(self.0.get());
        // What was read is a multiple of the smallest unit.
        let unit = UNITS.iter().find(|(_, size)| bytes.is_multiple_of(*size));
        match unit {
            Some((unit, size)) => write!(f, "{}{unit}", bytes / size),
            None => write!(f, "{bytes}"),
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_written() {
        for (text, bytes) in [("512KiB", 512 << 10), ("10MiB", 10 << 20), ("1GiB", 1 << 30)] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.0.get(), rate.to_string().as_str()), (bytes, text));
        }
        for text in ["", "0MiB", "10", "10MB", "-1MiB", "4GiB", "MiB"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}

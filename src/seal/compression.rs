//! Which compression, as pg_dump's `--compress` spells it: `6`, `gzip`, `gzip:9`, `zstd:level=3,long`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Exit, Fail};

/// A method of compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// None: bytes as they are.
    None,
    /// DEFLATE: every pg_restore reads it.
    #[default]
    Gzip,
    /// LZ4 frames: pg_restore 16 and later.
    Lz4,
    /// Zstandard: pg_restore 16 and later.
    Zstd,
}

impl Algorithm {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Algorithm::None, Algorithm::Gzip, Algorithm::Lz4, Algorithm::Zstd];
        all.into_iter().find(|known| known.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::None => "none",
            Algorithm::Gzip => "gzip",
            Algorithm::Lz4 => "lz4",
            Algorithm::Zstd => "zstd",
        }
    }

    /// What names of compressed files end with, dot included.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Algorithm::None => "",
            Algorithm::Gzip => ".gz",
            Algorithm::Lz4 => ".lz4",
            Algorithm::Zstd => ".zst",
        }
    }

    fn levels(self) -> std::ops::RangeInclusive<i32> {
        match self {
            Algorithm::None => 0..=0,
            Algorithm::Gzip => 1..=9,
            Algorithm::Lz4 => 1..=12,
            Algorithm::Zstd => -131_072..=22,
        }
    }

    /// The level that stands for the library's own default, as pg_dump names it.
    fn usual_level(self) -> i32 {
        match self {
            Algorithm::None | Algorithm::Lz4 => 0,
            Algorithm::Gzip => -1,
            Algorithm::Zstd => 3,
        }
    }
}

/// A method with its details; the default is gzip at its usual level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// The method.
    pub algorithm: Algorithm,
    /// Its level; the method's own default without. LZ4 has only one here.
    pub level: Option<i32>,
    /// zstd's long-distance matching.
    pub long: bool,
    /// Whether a number of zstd's workers was given, which changes nothing: tables are compressed on several threads
    /// anyway.
    pub workers: bool,
}

impl Compression {
    /// No compression.
    pub const NONE: Self = Compression {
        algorithm: Algorithm::None,
        level: None,
        long: false,
        workers: false,
    };
}

impl FromStr for Compression {
    type Err = Fail;

    fn from_str(text: &str) -> Result<Self, Fail> {
        if let Some(level) = number(text).or(text.is_empty().then_some(0)) {
            return match level {
                0 => Ok(Compression::NONE),
                -1 => Ok(Compression::default()),
                _ => Compression {
                    level: Some(level),
                    ..Compression::default()
                }
                .checked(),
            };
        }
        let (name, detail) = match text.split_once(':') {
            Some((name, detail)) => (name, Some(detail)),
            None => (text, None),
        };
        let algorithm = match name {
            "none" => Algorithm::None,
            "gzip" => Algorithm::Gzip,
            "lz4" => Algorithm::Lz4,
            "zstd" => Algorithm::Zstd,
            _ => return Err(usage(format!("unrecognized compression algorithm: \"{name}\""))),
        };
        let mut compression = Compression {
            algorithm,
            ..Compression::default()
        };
        if let Some(detail) = detail {
            compression.read_detail(detail)?;
        }
        compression.checked()
    }
}

impl Compression {
    fn read_detail(&mut self, detail: &str) -> Result<(), Fail> {
        if let Some(level) = number(detail) {
            self.level = Some(level);
            return Ok(());
        }
        for item in detail.split(',') {
            let (key, value) = match item.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (item, None),
            };
            match key {
                "" => return Err(invalid("found empty string where a compression option was expected")),
                "level" => self.level = Some(integer(key, value)?),
                "workers" if self.algorithm == Algorithm::Zstd => {
                    integer(key, value)?;
                    self.workers = true;
                }
                "long" if self.algorithm == Algorithm::Zstd => self.long = boolean(key, value)?,
                "workers" | "long" => {
                    let (name, what) = (
                        self.algorithm.name(),
                        if key == "long" {
                            "support long-distance mode"
                        } else {
                            "accept a worker count"
                        },
                    );
                    return Err(invalid(format!("compression algorithm \"{name}\" does not {what}")));
                }
                _ => return Err(invalid(format!("unrecognized compression option: \"{key}\""))),
            }
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, Fail> {
        let name = self.algorithm.name();
        match self.level {
            Some(0) if self.algorithm == Algorithm::None => Ok(Compression::NONE),
            Some(_) if self.algorithm == Algorithm::None => Err(invalid(format!(
                "compression algorithm \"{name}\" does not accept a compression level"
            ))),
            Some(level) if self.algorithm.levels().contains(&level) => Ok(self),
            // The default may be named although it is no level, as in lz4:0.
            Some(level) if level == self.algorithm.usual_level() => Ok(Compression { level: None, ..self }),
            Some(_) => {
                let (least, most) = self.algorithm.levels().into_inner();
                Err(invalid(format!(
                    "compression algorithm \"{name}\" expects a compression level between {least} and {most} \
                     (default at {})",
                    self.algorithm.usual_level()
                )))
            }
            None => Ok(self),
        }
    }
}

/// The number that `text` is, as C reads it: beyond its range it is another one.
fn number(text: &str) -> Option<i32> {
    let number: i128 = text.trim_start().parse().ok()?;
    #[allow(clippy::cast_possible_truncation)] // that is the rule
    Some(number.clamp(i64::MIN.into(), i64::MAX.into()) as i32)
}

fn integer(key: &str, value: Option<&str>) -> Result<i32, Fail> {
    let value = value.ok_or_else(|| invalid(format!("compression option \"{key}\" requires a value")))?;
    number(value).ok_or_else(|| invalid(format!("value for compression option \"{key}\" must be an integer")))
}

fn boolean(key: &str, value: Option<&str>) -> Result<bool, Fail> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("yes" | "on" | "1" | "true") => Ok(true),
        Some("no" | "off" | "0" | "false") => Ok(false),
        Some(_) => Err(invalid(format!(
            "value for compression option \"{key}\" must be a Boolean value"
        ))),
    }
}

fn usage(message: impl Into<String>) -> Fail {
    Fail::new(Exit::Usage, message)
}

fn invalid(message: impl fmt::Display) -> Fail {
    usage(format!("invalid compression specification: {message}"))
}

/// The frame around DEFLATE: archives hold zlib streams, files gzip's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// zlib's header and Adler-32.
    Zlib,
    /// gzip's header and CRC-32.
    Gzip,
}

/// How the segments of one stream are compressed and joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    /// The method.
    pub compression: Compression,
    /// The frame, which only gzip has a choice of.
    pub frame: Frame,
}

impl Codec {
    /// Bytes as they are.
    pub const NONE: Self = Codec {
        compression: Compression::NONE,
        frame: Frame::Zlib,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_are_read_as_pg_dump_reads_them() {
        let parse = |text: &str| text.parse::<Compression>();
        let made = |algorithm, level| Compression {
            algorithm,
            level,
            ..Compression::default()
        };
        assert_eq!(parse("").unwrap(), Compression::NONE);
        assert_eq!(parse("none:0").unwrap(), Compression::NONE);
        assert_eq!(parse("-1").unwrap(), Compression::default());
        assert_eq!(parse("6").unwrap(), made(Algorithm::Gzip, Some(6)));
        assert_eq!(parse("gzip:9").unwrap(), made(Algorithm::Gzip, Some(9)));
        assert_eq!(parse("lz4").unwrap(), made(Algorithm::Lz4, None));
        let zstd = parse("zstd:level=3,long,workers=2").unwrap();
        assert_eq!((zstd.level, zstd.long), (Some(3), true));
        for (text, error) in [
            ("10", "between 1 and 9"),
            ("99999999999", "between 1 and 9"),
            ("gzip:0", "between 1 and 9"),
            ("bzip2", "unrecognized compression algorithm"),
            ("none:1", "does not accept a compression level"),
            ("gzip:long", "does not support long-distance mode"),
            ("zstd:level", "requires a value"),
            ("zstd:fast=1", "unrecognized compression option"),
        ] {
            let message = parse(text).unwrap_err().message;
            assert!(message.contains(error), "{text}: {message}");
        }
    }
}

//! What `--compress` means to pg_dump of an old server: up to 15 it is a level and nothing else.

use anyhow::Context as _;

use super::request::{compressed_in, ranged, usage};
use crate::archive::Format;
use crate::engine::postgres::connect::{self, Dsn};
use crate::error::Result;
use crate::seal::compression::{Algorithm, Compression};

/// How a dump is compressed that is made under the name of pg_dump, whose option was `text`: the server is asked of which
/// version it is. `wanted` is what newer versions make of it.
///
/// # Errors
/// pg_dump of the server's version refuses it; or the server cannot be reached.
pub(super) async fn of_server(
    dsn: &Dsn,
    format: Format,
    text: &str,
    wanted: Result<Compression>,
) -> Result<Compression> {
    let session = match connect::connect(dsn).await {
        Ok(session) => session,
        // What the newest versions refuse is told without a server.
        Err(error) => return wanted.and(Err(error)),
    };
    let row = session.client().query_one("SHOW server_version_num", &[]).await?;
    let version: u32 = row.try_get::<_, &str>(0)?.parse().context("the server's version")?;
    compressed_in(format, of_major(version / 10_000, text, wanted)?)
}

fn of_major(major: u32, text: &str, wanted: Result<Compression>) -> Result<Compression> {
    let level = match major {
        ..15 => match leading_number(text) {
            level @ 0..=9 => level,
            _ => return Err(usage("compression level must be in range 0..9").into()),
        },
        15 => ranged(text, "-Z/--compress", 0, 9)?,
        _ => return wanted,
    };
    Ok(match level {
        0 => Compression::NONE,
        level => Compression {
            algorithm: Algorithm::Gzip,
            level: Some(level),
            ..Compression::default()
        },
    })
}

/// What the C library's `atoi` makes of it.
fn leading_number(text: &str) -> i32 {
    let text = text.trim_start();
    let digits = text.trim_start_matches(['+', '-']);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let number: i32 = match digits[..end].parse() {
        Ok(number) => number,
        Err(_) if end == 0 => 0,
        Err(_) => i32::MAX,
    };
    if text.starts_with('-') { -number } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_know_levels_only() {
        let level = |major, text: &str| {
            let wanted = text.parse::<Compression>().map_err(anyhow::Error::from);
            let made = of_major(major, text, wanted);
            made.map(|made| match made.algorithm {
                Algorithm::None => Some(0),
                _ => made.level,
            })
            .map_err(|error| error.to_string())
        };
        for (text, of_14) in [("gzip:1", 0), ("3x", 3), ("=3", 0), ("none", 0), ("+5", 5), (" 7", 7)] {
            assert_eq!(level(14, text), Ok(Some(of_14)), "{text}");
        }
        for text in ["-1", "10", "99999999999"] {
            assert_eq!(level(14, text).unwrap_err(), "compression level must be in range 0..9");
            assert_eq!(level(15, text).unwrap_err(), "-Z/--compress must be in range 0..9");
        }
        assert_eq!(level(15, ""), Ok(Some(0)));
        assert_eq!(
            level(16, "=3").unwrap_err(),
            "unrecognized compression algorithm: \"=3\""
        );
        for text in ["gzip:1", "none", "3x", "=3"] {
            let message = format!("invalid value \"{text}\" for option -Z/--compress");
            assert_eq!(level(15, text).unwrap_err(), message);
        }
        assert_eq!(level(15, "05"), Ok(Some(5)));
        assert_eq!(level(16, "lz4"), Ok(None));
    }
}

//! What is true of one server and one database, read once when a session starts.

use super::spelling::Spelling;
use crate::sql::encoding::Characters;

/// The minor releases of November 2026, of 14 to 18.
const NOVEMBER_2026: [u32; 5] = [25, 20, 16, 12, 7];

/// Facts that decide the dialect of a dump.
#[derive(Clone, Debug)]
pub struct Server {
    /// `server_version_num`, for example 150018.
    pub version_num: u32,
    /// `server_version` as the server writes it, for example `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// Name of the database that the session is in.
    pub database: String,
    /// The encoding of the dump's text (`client_encoding`; the database's own by default).
    pub encoding: String,
    /// The encoding of the database (`server_encoding`).
    pub database_encoding: String,
    /// `standard_conforming_strings`: whether backslashes are plain characters in literals.
    pub std_strings: bool,
    /// Whether the session's user is a superuser.
    pub superuser: bool,
    /// Whether the server is a standby in recovery.
    pub in_recovery: bool,
    /// How the session writes values.
    pub spelling: Spelling,
}

impl Server {
    /// Major version, for example 15.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }
    /// How the text that the server sends forms characters.
    #[must_use]
    pub fn characters(&self) -> Characters {
        Characters::of(&self.encoding)
    }

    /// The version as a number with a dot, for example `15.18`.
    #[must_use]
    pub fn number(&self) -> String {
        format!("{}.{}", self.major(), self.version_num % 10_000)
    }

    /// Whether pg_dump of this release protects its text with `\\restrict`.
    #[must_use]
    pub fn has_restrict(&self) -> bool {
        has_restrict(self.version_num)
    }

    /// Whether pg_dump of this release protects the script in a tar archive too.
    #[must_use]
    pub fn has_restrict_in_tar(&self) -> bool {
        self.is_at_least(NOVEMBER_2026)
    }

    /// Whether columns have versions, and pg_dump keeps them in an upgrade (minor releases of November 2026).
    #[must_use]
    pub fn versions_columns(&self) -> bool {
        self.is_at_least(NOVEMBER_2026)
    }

    /// Whether pg_dump of this release writes the statistics targets of a constraint's index too.
    #[must_use]
    pub fn keeps_constraint_statistics(&self) -> bool {
        self.is_at_least(NOVEMBER_2026)
    }

    /// Whether this is the given minor release of its major version, or a later one; of 14, 15, 16, 17 and 18.
    fn is_at_least(&self, minors: [u32; 5]) -> bool {
        is_at_least(self.version_num, minors)
    }
}

/// Whether pg_dump of the release with this number protects its text with `\\restrict`.
#[must_use]
pub fn has_restrict(version_num: u32) -> bool {
    is_at_least(version_num, [19, 14, 10, 6, 0])
}

fn is_at_least(version_num: u32, minors: [u32; 5]) -> bool {
    let Some(place) = (version_num / 10_000).checked_sub(14) else {
        return false;
    };
    let first = usize::try_from(place).ok().and_then(|place| minors.get(place));
    first.is_none_or(|first| version_num % 10_000 >= *first)
}

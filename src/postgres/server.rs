//! What is true of one server and one database, read once when a session starts.

use super::encoding::Characters;

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
    /// `standard_conforming_strings`: whether backslashes are plain characters in literals.
    pub std_strings: bool,
    /// Whether the session's user is a superuser.
    pub superuser: bool,
    /// Whether the server is a standby in recovery.
    pub in_recovery: bool,
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
        let first_minor = match self.major() {
            14 => 19,
            15 => 14,
            16 => 10,
            17 => 6,
            _ => 0,
        };
        self.version_num % 10_000 >= first_minor
    }
}

//! What a manifest says of an SQLite database beyond its tables.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which database file it is: another file under the same path is another database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFile {
    /// Where it is, symbolic links followed.
    pub path: PathBuf,
    /// The number of its file system.
    pub device: u64,
    /// Its number in there.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970, where the file system knows: numbers are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<u64>,
}

impl DatabaseFile {
    /// Whether `other` is the same file. The numbers of file systems may change when a machine starts, so the path will do
    /// in their place.
    #[must_use]
    pub fn is_same(&self, other: &DatabaseFile) -> bool {
        let same_birth = match (self.created, other.created) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        let same_place = self.device == other.device || self.path == other.path;
        self.inode == other.inode && same_birth && same_place
    }
}

/// What the file of a database says of itself, and how it was when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqliteFacts {
    /// Bytes of a page.
    pub page_size: u32,
    /// How many pages there are.
    pub pages: u64,
    /// Bytes at the end of each page that SQLite leaves alone.
    pub reserved_bytes: u8,
    /// `UTF-8`, `UTF-16le`, `UTF-16be`.
    pub encoding: String,
    /// `delete`, `wal` or another.
    pub journal_mode: String,
    /// 0 none, 1 full, 2 incremental.
    pub auto_vacuum: u8,
    /// How often its definitions were changed; a restore counts as one change.
    #[serde(default)]
    pub schema_version: i64,
    /// What the application keeps in `user_version`.
    pub user_version: i64,
    /// `application_id`.
    pub application_id: i64,
    /// Mode, owner and group of the file.
    pub mode: u32,
    /// Number of its owner.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
    /// Its label, where SELinux has given it one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Bytes of the write-ahead log when reading began, and when it ended.
    pub log_bytes: [u64; 2],
    /// The database was damaged before it was saved: the backup is as good as that, and no better.
    #[serde(default)]
    pub damaged: bool,
    /// What SQLite's own check found of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<String>,
    /// Rows that break a rule of their table (foreign keys, CHECK, NOT NULL), which makes no damage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<String>,
    /// Tables that were copied, but could not be read row by row here, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_provable: Vec<String>,
}

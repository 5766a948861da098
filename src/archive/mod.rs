//! pg_dump's archive formats: what lies in a backup, read beside write.
//!
//! Writing is a state machine without I/O: [`Writer`] turns entries and (compressed) data into the bytes
//! of one format, and whoever holds it carries them to a file, a folder or a store.

pub mod belonging;
pub mod custom;
pub mod data;
pub mod directory;
pub mod list;
pub mod options;
mod output;
pub mod plain;
pub mod reader;
pub mod required;
pub mod roles;
pub mod script;
pub mod selection;
pub mod source;
pub mod summary;
pub mod tar;
pub mod toc;
pub mod wire;
pub mod writer;

pub use options::RestoreOptions;
pub use output::Output;
pub use reader::Reader;
pub use writer::Writer;

/// What the start of an archive says about the dump as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// When the dump was started, in the local time of the machine that made it.
    pub created: chrono::NaiveDateTime,
    /// Name of the database.
    pub database: String,
    /// `server_version` of the server.
    pub server_version: String,
    /// Version of the program that made the dump.
    pub dumper_version: String,
}

/// The form of a dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One file that pg_restore can read selectively and in parallel (`-Fc`).
    #[default]
    Custom,
    /// A folder with one file per table (`-Fd`).
    Directory,
    /// A tar file of what the directory format has, uncompressed (`-Ft`).
    Tar,
    /// SQL text for psql (`-Fp`).
    Plain,
}

//! The named steps of a backup, and who is told when one is reached.

use crate::engine::postgres::progress::Progress;
use crate::engine::sqlite;
use crate::manifest;
use crate::steps::{self, steps};

steps! {
    /// Where a run is. A kill at any step before the last leaves no manifest, and the next run cleans up.
    "a backup",
    /// The job's lock is taken.
    Lock = "lock", "taking the job's lock";
    /// What killed runs left is removed.
    Clean = "clean", "cleaning up after killed runs";
    /// The run is announced in the store.
    Claim = "claim", "announcing the run";
    /// The database is dumped into the archive.
    Dump = "dump", "dumping the database";
    /// The archive is there; it is read back.
    Verify = "verify", "reading the archive back";
    /// Roles and tablespaces are stored.
    Globals = "globals", "storing roles and tablespaces";
    /// The manifest is written.
    Publish = "publish", "writing the manifest";
    /// The backup exists; the claim is taken back.
    Release = "release", "finishing the run";
    /// Retention is applied.
    Prune = "prune", "applying retention";
}

/// What a backup tells while it runs.
pub type Event = steps::Event<Step>;

/// Whom a backup tells what it does.
pub type Watch = steps::Watch<Step>;

impl sqlite::export::Progress for Watch {
    fn expect(&self, bytes: u64) {
        self.tell(Event::Total(bytes));
    }

    fn read(&self, bytes: u64) {
        self.tell(Event::Done(bytes));
    }
}

impl Progress for Watch {
    fn expect(&self, bytes: u64) {
        self.tell(Event::Total(bytes));
    }

    fn read(&self, bytes: u64, _rows: u64) {
        self.tell(Event::Done(bytes));
    }

    fn table(&self, table: &manifest::Table) {
        tracing::debug!(
            schema = table.schema,
            table = table.name,
            rows = table.rows,
            bytes = table.bytes,
            "dumped"
        );
    }
}

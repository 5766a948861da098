//! The named steps of a restore, and who is told when one is reached.

use crate::steps::{self, steps};

steps! {
    /// Where a restore is. A kill at any of them leaves the live database wholly old or wholly new.
    "a restore of SQLite",
    /// What an earlier, killed restore left is removed.
    Recover = "recover", "looking for what an earlier restore left";
    /// The archive is unpacked beside the live database.
    Unpack = "unpack", "unpacking the backup";
    /// What was unpacked is compared with the manifest.
    Prove = "prove", "checking every page and every row";
    /// The live database is backed up.
    Safety = "safety", "taking the safety snapshot";
    /// What was proven is put into the live file.
    Put = "put", "putting it in the place of the live database";
    /// Of a drill: the operator's checks.
    Checks = "checks", "running the checks of the drill";
    /// It is live.
    Done = "done", "restored";
}

/// What a restore tells while it runs.
pub type Event = steps::Event<Step>;

/// Whom a restore tells what it does.
pub type Watch = steps::Watch<Step>;

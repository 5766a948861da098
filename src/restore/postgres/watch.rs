//! The named steps of a restore, and who is told when one is reached.

use crate::steps::{self, steps};

steps! {
    /// Where a restore is. A kill at any of them leaves the live name wholly old or wholly new.
    "a restore",
    /// What an earlier, killed restore left is looked for and removed.
    Recover = "recover", "looking for what an earlier restore left";
    /// The archive is read once against its digest.
    Check = "check", "checking the archive against its digest";
    /// The live database is backed up.
    Safety = "safety", "taking the safety snapshot";
    /// In place: writers are kept out of the live database.
    Lock = "lock", "keeping writers out of the live database";
    /// In place: what is there is removed, not yet committed.
    Remove = "remove", "keeping everybody out, removing what is there";
    /// Roles that are missing are created.
    Roles = "roles", "creating the roles that are missing";
    /// The new database is created beside the live one.
    Create = "create", "creating the new database";
    /// Definitions that rows need.
    PreData = "pre-data", "creating schemas, types, functions and tables";
    /// Rows and large objects, then indexes, constraints and triggers as their tables are ready.
    Data = "data", "loading rows, building indexes and constraints";
    /// Privileges, then materialized views and event triggers.
    Privileges = "privileges", "granting privileges, refreshing materialized views";
    /// Statistics are gathered.
    Analyse = "analyse", "gathering statistics";
    /// The new database is compared with the manifest.
    Prove = "prove", "comparing every table with the manifest";
    /// Owner, settings and grants of the database itself.
    Properties = "properties", "setting the properties of the database";
    /// The live name is locked against new sessions, and those that are there are ended.
    Fence = "fence", "closing the live database for the swap";
    /// Both names are changed, not yet committed.
    Rename = "rename", "swapping the names";
    /// In place: all is proven and about to be committed.
    Commit = "commit", "committing";
    /// Of a drill: the operator's checks.
    Checks = "checks", "running the checks of the drill";
    /// Of a drill: the scratch database is dropped.
    Drop = "drop", "dropping the scratch database";
    /// The new database is live.
    Done = "done", "restored";
}

/// What a restore tells while it runs.
pub type Event = steps::Event<Step>;

/// Whom a restore tells what it does.
pub type Watch = steps::Watch<Step>;

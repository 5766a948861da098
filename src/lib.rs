//! Snapback: backups of PostgreSQL that are pg_dump's equal, and restores that can be undone.
//!
//! ```text
//! database ──> postgres ──> archive ──> seal ──> store          (backup)
//! store ──> unseal ──> archive ──> postgres ──> new database ──> swap   (restore)
//! ```
//!
//! Around that line: [`schedule`] says when, [`retention`] says what stays, [`manifest`] says what
//! a backup is, [`daemon`] runs jobs, [`cli`] talks to people. ARCHITECTURE.md has the map.

pub mod archive;
pub mod backup;
pub mod checkup;
pub mod cli;
pub mod clock;
pub mod collapse;
pub mod config;
pub mod copy;
pub mod daemon;
pub mod diff;
pub mod drill;
pub mod engine;
pub mod error;
pub mod extract;
pub mod find;
pub mod guard;
pub mod job;
pub mod local_time;
pub mod manifest;
pub mod names;
pub mod nearest;
pub mod owner;
pub mod printable;
pub mod prune;
pub mod raw_text;
pub mod redact;
pub mod replaced;
pub mod restore;
pub mod retention;
pub mod reuse;
pub mod row_hash;
pub mod schedule;
pub mod seal;
pub mod secret;
pub mod servers;
pub mod shelf;
pub mod sql;
pub mod steps;
pub mod store;
pub mod stored;
pub mod verify;
pub mod watch;

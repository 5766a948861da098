//! A run gives way to the writers of its database.
//!
//! In WAL mode nobody waits for us. With a rollback journal a writer cannot commit while we read: it locks the byte that
//! keeps new readers out and waits for the old ones. That lock is in `/proc/locks`, and we are the one it waits for.

use std::time::{Duration, Instant};

use super::open::Found;
use super::users;
use crate::error::{Exit, Fail};

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);

/// Ends, with the reason, when a writer of the database has waited for longer than `limit`; else never.
pub async fn waited_too_long(found: &Found, limit: Option<Duration>) -> Fail {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    let mut since: Option<Instant> = None;
    loop {
        tokio::time::sleep(LOOK.min(limit / 4).max(Duration::from_millis(5))).await;
        let Some(writer) = users::waiting_writer(found.inode()) else {
            since = None;
            continue;
        };
        let waited = since.get_or_insert_with(Instant::now).elapsed();
        if waited >= limit {
            let name = found.path.display();
            let seconds = limit.as_secs_f64();
            return Fail::new(
                Exit::Failure,
                format!("{writer} waits to write to {name}: the backup gave way after {seconds} s (dump.max_lock_wait)"),
            )
            .hint("nobody waits for a backup of a database in WAL mode: PRAGMA journal_mode = WAL; or raise dump.max_lock_wait");
        }
    }
}

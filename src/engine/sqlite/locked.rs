//! Others have locks on a database: they are waited for within a limit, then named.

use std::path::Path;
use std::time::{Duration, Instant};

use super::failure::{self, explain};
use super::users;
use crate::error::{Exit, Fail, Result};

/// How often a lock of somebody else is tried again.
pub(super) const AGAIN: Duration = Duration::from_millis(20);

/// Runs something again and again while others have locks, but not for longer than `until`.
pub(super) fn patiently<T>(to: &Path, until: Instant, run: impl Fn() -> rusqlite::Result<T>) -> Result<T> {
    loop {
        match run() {
            Err(error) if !is_locked(&error) => return Err(explain(error, to)),
            Err(_) if Instant::now() >= until => return Err(locked(to).into()),
            Err(_) => std::thread::sleep(AGAIN),
            Ok(done) => return Ok(done),
        }
    }
}

/// Whether an error says that others have a lock.
pub(super) fn is_locked(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(failure::code(error), Some(DatabaseBusy | DatabaseLocked))
}

/// What is said when others have a lock for too long.
pub(super) fn locked(to: &Path) -> Fail {
    let holders = users::holders(to);
    Fail::new(Exit::Unreachable, format!("{} is locked{}", to.display(), by(&holders)))
        .hint("nothing was changed; wait until that is done, or end it, and try again")
}

/// By whom.
pub(super) fn by(processes: &[String]) -> String {
    match processes.is_empty() {
        true => String::new(),
        false => format!(" by {}", processes.join(", ")),
    }
}

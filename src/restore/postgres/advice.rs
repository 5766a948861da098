//! What a person can do about what a server says in the middle of a restore.

use tokio_postgres::error::SqlState;

use crate::engine::postgres::connect::{BROKE, is_lost};
use crate::engine::postgres::load::missing::{Failed, is_refused};
use crate::error::{Exit, Fail, exit_of, hint_of};

/// `error` with `message` in front, and with a hint where it has none and one can be given.
pub fn explain(error: anyhow::Error, message: impl Into<String>) -> anyhow::Error {
    let exit = match is_lost(&error) {
        true => Exit::Unreachable,
        false => exit_of(&error),
    };
    let mut fail = Fail::new(exit, message);
    fail.hint = match hint_of(&error) {
        Some(hint) => Some(hint.to_owned()),
        None => hint(&error).map(str::to_owned).or_else(|| keep_going(&error)),
    };
    error.context(fail)
}

/// What can be done where one statement failed and others need not.
fn keep_going(error: &anyhow::Error) -> Option<String> {
    let failed = error.downcast_ref::<Failed>().is_some() && is_refused(error);
    failed.then(|| KEEP_GOING.to_owned())
}

const KEEP_GOING: &str = "with --keep-going the restore goes on after each statement that fails and lists what is missing, \
    with its SQL; what is live is only replaced then with --accept-missing";

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    let mut causes = error.chain();
    let server = causes.find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>())?;
    if server.is_closed() {
        return Some(BROKE);
    }
    match server.code()? {
        &SqlState::DISK_FULL => Some(
            "the disk of the server is full: what is new and what it replaces lie there side by side until the end; \
             make room, or restore to another server",
        ),
        // The server's own words for too many locks.
        &SqlState::OUT_OF_MEMORY
            if server
                .as_db_error()
                .is_some_and(|it| it.message().contains("shared memory")) =>
        {
            Some(
                "the restore needs more locks than the server has: raise max_locks_per_transaction, which takes a restart",
            )
        }
        &SqlState::CHECK_VIOLATION => Some(
            "a check refuses rows that were there: it may call a function that is another one now, or that reads what is not \
             in the backup. --keep-going restores all but these rows; pg_restore restores the archive by --section, so that \
             the constraint can be dropped before the data",
        ),
        &SqlState::OUT_OF_MEMORY => Some("the server is out of memory: restore with fewer connections (-j)"),
        &SqlState::TOO_MANY_CONNECTIONS => {
            Some("the server has no connections to spare: restore with fewer of them (-j), or raise max_connections")
        }
        &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN => {
            Some("the server ended the session: see whether it was restarted, then start again")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn what_was_known_of_a_failure_stays() {
        let known = anyhow::Error::from(Fail::new(Exit::Busy, "busy").hint("wait"));
        let explained = explain(known.context("outside"), "nothing was changed");
        assert_eq!(format!("{explained:#}"), "nothing was changed: outside: busy");
        assert_eq!((exit_of(&explained), hint_of(&explained)), (Exit::Busy, Some("wait")));
        let unknown = explain(anyhow::anyhow!("what"), "nothing was changed");
        assert_eq!((exit_of(&unknown), hint_of(&unknown)), (Exit::Failure, None));
    }
}

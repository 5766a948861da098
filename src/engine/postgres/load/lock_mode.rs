//! What the statements of a load lock of the tables that they are about, by PostgreSQL's names for it.

use crate::archive::toc::{DumpId, Entry, Section};

/// A lock of a table, which is known by the entry that creates it.
#[derive(Clone, Debug)]
pub(super) struct Lock(pub(super) DumpId, pub(super) LockMode);

/// The kinds of locks that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LockMode {
    /// Reading.
    AccessShare,
    /// CREATE INDEX.
    Share,
    /// ADD FOREIGN KEY and CREATE TRIGGER. ANALYZE counts as one: it has a weaker one, but as little goes beside it.
    ShareRowExclusive,
    /// All else.
    AccessExclusive,
}

impl LockMode {
    /// Whether two statements that lock one table so cannot run together.
    pub(super) fn conflicts(self, other: LockMode) -> bool {
        let (weaker, stronger) = (self.min(other), self.max(other));
        match weaker {
            LockMode::AccessShare => stronger == LockMode::AccessExclusive,
            LockMode::Share => stronger != LockMode::Share,
            LockMode::ShareRowExclusive | LockMode::AccessExclusive => true,
        }
    }
}

/// What a statement locks of the tables that it is `on`.
pub(super) fn locks(entry: &Entry, on: Vec<DumpId>) -> Vec<Lock> {
    if entry.section != Section::PostData {
        return Vec::new();
    }
    let mode = match entry.desc.as_str() {
        "INDEX" => LockMode::Share,
        "FK CONSTRAINT" | "TRIGGER" => LockMode::ShareRowExclusive,
        _ => LockMode::AccessExclusive,
    };
    on.into_iter().map(|table| Lock(table, mode)).collect()
}

#[cfg(test)]
mod tests {
    use super::LockMode::{AccessExclusive, AccessShare, Share, ShareRowExclusive};

    /// As in the table of PostgreSQL's documentation of explicit locking.
    #[test]
    fn conflicts_are_those_of_the_server() {
        for (one, with) in [
            (AccessShare, vec![AccessExclusive]),
            (Share, vec![ShareRowExclusive, AccessExclusive]),
            (ShareRowExclusive, vec![Share, ShareRowExclusive, AccessExclusive]),
            (
                AccessExclusive,
                vec![AccessShare, Share, ShareRowExclusive, AccessExclusive],
            ),
        ] {
            for other in [AccessShare, Share, ShareRowExclusive, AccessExclusive] {
                assert_eq!(one.conflicts(other), with.contains(&other), "{one:?} {other:?}");
            }
        }
    }
}

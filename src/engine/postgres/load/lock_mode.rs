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
    /// ANALYZE, and what makes an index or a table part of a partitioned one.
    ShareUpdateExclusive,
    /// CREATE INDEX.
    Share,
    /// ADD FOREIGN KEY and CREATE TRIGGER.
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
            LockMode::ShareUpdateExclusive | LockMode::ShareRowExclusive | LockMode::AccessExclusive => true,
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
        "INDEX ATTACH" => return of_attached_index(entry, &on),
        "FK CONSTRAINT" | "TRIGGER" => LockMode::ShareRowExclusive,
        _ => LockMode::AccessExclusive,
    };
    on.into_iter().map(|table| Lock(table, mode)).collect()
}

/// ALTER INDEX ... ATTACH PARTITION reads the tables, and changes the two indexes, which are known by the entries of
/// themselves or of their constraints.
fn of_attached_index(entry: &Entry, on: &[DumpId]) -> Vec<Lock> {
    let mode = |id: &DumpId| match on.contains(id) {
        true => LockMode::AccessShare,
        false => LockMode::ShareUpdateExclusive,
    };
    entry.dependencies.iter().map(|id| Lock(*id, mode(id))).collect()
}

#[cfg(test)]
mod tests {
    use super::LockMode::{AccessExclusive, AccessShare, Share, ShareRowExclusive, ShareUpdateExclusive};

    const ALL: [super::LockMode; 5] = [
        AccessShare,
        ShareUpdateExclusive,
        Share,
        ShareRowExclusive,
        AccessExclusive,
    ];

    /// As in the table of PostgreSQL's documentation of explicit locking.
    #[test]
    fn conflicts_are_those_of_the_server() {
        for (one, with) in [
            (AccessShare, vec![AccessExclusive]),
            (ShareUpdateExclusive, ALL[1..].to_vec()),
            (Share, vec![ShareUpdateExclusive, ShareRowExclusive, AccessExclusive]),
            (ShareRowExclusive, ALL[1..].to_vec()),
            (AccessExclusive, ALL.to_vec()),
        ] {
            for other in ALL {
                assert_eq!(one.conflicts(other), with.contains(&other), "{one:?} {other:?}");
            }
        }
    }
}

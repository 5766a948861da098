//! What a load has to do, piece by piece: what each piece waits for, what it locks, and how urgent it is.

use std::collections::{HashMap, HashSet};

use super::lock_mode::{Lock, LockMode, locks};
use super::urgency;
use crate::archive::toc::{DumpId, Entry, Section};

/// What one connection can do. Entries are known by their index in the table of contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Restore the entry.
    Entry(usize),
    /// Gather the statistics of the table whose rows the entry is.
    Analyse(usize),
    /// Read rows of the entry back, which are in the table: those in so many pages, or all.
    ReadBack(usize, Pages),
}

impl Task {
    /// The entry that is restored.
    #[must_use]
    pub fn entry(&self) -> Option<usize> {
        match self {
            Task::Entry(at) => Some(*at),
            Task::Analyse(_) | Task::ReadBack(..) => None,
        }
    }
}

/// A range of a table's pages, whose end may be open; `None` is all of them.
pub type Pages = Option<(u64, Option<u64>)>;

#[derive(Debug)]
pub(super) struct Item {
    pub(super) task: Task,
    /// The entry that is restored then; nothing waits for what restores none.
    pub(super) id: Option<DumpId>,
    pub(super) waits_for: HashSet<DumpId>,
    /// It is rows, large objects, or the value of a sequence.
    pub(super) is_data: bool,
    /// What it does may be for the rows of any table.
    pub(super) after_all_rows: bool,
    pub(super) locks: Vec<Lock>,
    /// Bytes of work, its own and that of the longest line of what waits for it.
    pub(super) urgency: u64,
}

/// Whether two of them cannot run together.
pub(super) fn conflict(one: &Item, other: &Item) -> bool {
    let pairs = one.locks.iter().flat_map(|a| other.locks.iter().map(move |b| (a, b)));
    pairs.into_iter().any(|(a, b)| a.0 == b.0 && a.1.conflicts(b.1))
}

/// The items of the entries at `wanted`, and of the statistics of the tables whose rows are at `analysed`.
pub(super) fn items(
    entries: &[Entry],
    wanted: &[usize],
    analysed: &[usize],
    weight: &impl Fn(usize) -> u64,
) -> Vec<Item> {
    let tables: HashSet<DumpId> = entries
        .iter()
        .filter(|entry| matches!(entry.desc.as_str(), "TABLE" | "MATERIALIZED VIEW"))
        .map(|entry| entry.dump_id)
        .collect();
    let tables_of = |entry: &Entry| -> Vec<DumpId> {
        let dependencies = entry.dependencies.iter().copied();
        dependencies.filter(|id| tables.contains(id)).collect()
    };
    // The rows of each table, and their weight.
    let mut rows: HashMap<DumpId, (DumpId, u64)> = HashMap::new();
    for at in wanted.iter().copied().filter(|at| entries[*at].desc == "TABLE DATA") {
        for table in tables_of(&entries[at]) {
            rows.insert(table, (entries[at].dump_id, weight(at)));
        }
    }
    let present: HashSet<DumpId> = wanted.iter().map(|at| entries[*at].dump_id).collect();
    let item = |at: &usize| {
        let entry = &entries[*at];
        let on = tables_of(entry);
        let weights = on.iter().filter_map(|table| rows.get(table)).map(|(_, weight)| *weight);
        Item {
            task: Task::Entry(*at),
            id: Some(entry.dump_id),
            is_data: entry.section == Section::Data,
            // A constraint of a domain, which no dependency ties to the tables that use it.
            after_all_rows: entry.section == Section::PostData && on.is_empty(),
            waits_for: waits_for(entry, &rows, &present),
            urgency: urgency::own(entry, weight(*at).max(weights.max().unwrap_or(0))),
            locks: locks(entry, on),
        }
    };
    let mut items: Vec<_> = wanted.iter().map(item).collect();
    // What the statistics are gathered of: also expressions of indexes, and what extended ones name.
    let mut built: HashMap<DumpId, Vec<DumpId>> = HashMap::new();
    let of_statistics = |at: &&usize| matches!(entries[**at].desc.as_str(), "INDEX" | "CONSTRAINT" | "STATISTICS");
    for entry in wanted.iter().filter(of_statistics).map(|at| &entries[*at]) {
        for table in tables_of(entry) {
            built.entry(table).or_default().push(entry.dump_id);
        }
    }
    items.extend(analysed.iter().map(|at| {
        let on = tables_of(&entries[*at]);
        let built = on.iter().filter_map(|table| built.get(table)).flatten().copied();
        Item {
            task: Task::Analyse(*at),
            id: None,
            is_data: false,
            after_all_rows: false,
            waits_for: built.chain([entries[*at].dump_id]).collect(),
            locks: on
                .into_iter()
                .map(|table| Lock(table, LockMode::ShareUpdateExclusive))
                .collect(),
            urgency: 0,
        }
    }));
    items
}

/// What must be done before `entry`: its dependencies, and for what comes after the rows of a table those rows
/// instead of the table's definition.
fn waits_for(entry: &Entry, rows: &HashMap<DumpId, (DumpId, u64)>, present: &HashSet<DumpId>) -> HashSet<DumpId> {
    let after_rows = entry.section == Section::PostData;
    entry
        .dependencies
        .iter()
        .map(|id| match rows.get(id) {
            Some((data, _)) if after_rows => *data,
            _ => *id,
        })
        .filter(|id| present.contains(id) && *id != entry.dump_id)
        .collect()
}

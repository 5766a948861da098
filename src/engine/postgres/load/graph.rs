//! Which entry of an archive can be restored next, while others are being restored at the same time.
//!
//! Rows come before what is built on them, dependencies are obeyed, and two statements that would lock the
//! same table against each other do not run together. Of all that is ready the heaviest goes first, so that
//! no big table is left for the end.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::archive::toc::{DumpId, Entry, Section};

/// Entries that wait, run or are done. They are known by their index in the table of contents.
#[derive(Debug)]
pub struct Graph {
    items: Vec<Item>,
    /// What waits for an entry, by its number.
    dependents: HashMap<DumpId, Vec<usize>>,
    /// What waits for nothing but its locks, the heaviest first, of equals the first in the archive's order.
    ready: BTreeSet<(Reverse<u64>, usize)>,
    running: Vec<usize>,
    /// What was tried and did not go yet, with how much was left then; it counts as running.
    postponed: VecDeque<usize>,
    tried: HashMap<usize, usize>,
    left: usize,
}

#[derive(Debug)]
struct Item {
    at: usize,
    id: DumpId,
    waits_for: HashSet<DumpId>,
    locks: Vec<Lock>,
    weight: u64,
}

#[derive(Debug)]
struct Lock {
    table: DumpId,
    exclusive: bool,
}

impl Graph {
    /// A graph of the entries at `wanted`; every other one counts as done. `earlier` names the rows that those of an
    /// entry need besides what it says itself, `weight` how much work an entry's rows are.
    #[must_use]
    pub fn new(
        entries: &[Entry],
        wanted: &[usize],
        earlier: &HashMap<DumpId, Vec<DumpId>>,
        weight: impl Fn(usize) -> u64,
    ) -> Self {
        let mut items = items(entries, wanted, weight);
        for item in &mut items {
            item.waits_for.extend(earlier.get(&item.id).into_iter().flatten());
        }
        let mut dependents: HashMap<DumpId, Vec<usize>> = HashMap::new();
        let mut ready = BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            for id in &item.waits_for {
                dependents.entry(*id).or_default().push(i);
            }
            if item.waits_for.is_empty() {
                ready.insert((Reverse(item.weight), i));
            }
        }
        Graph {
            left: items.len(),
            items,
            dependents,
            ready,
            running: Vec::new(),
            postponed: VecDeque::new(),
            tried: HashMap::new(),
        }
    }

    /// Takes the heaviest entry that can be restored now.
    pub fn take(&mut self) -> Option<usize> {
        let best = *self.ready.iter().find(|(_, i)| !self.is_locked(&self.items[*i]))?;
        self.ready.remove(&best);
        self.running.push(best.1);
        Some(self.items[best.1].at)
    }

    /// Keeps the entry at `at`, which was taken and failed, until others are restored that it may need without saying so.
    /// There is no hope when nothing was restored since it failed the last time, or nothing else is left.
    pub fn postpone(&mut self, at: usize) -> bool {
        if self.left == 1 || self.tried.insert(at, self.left) == Some(self.left) {
            return false;
        }
        self.postponed.push_back(at);
        true
    }

    /// Takes what was postponed, when nothing else can be done.
    pub fn take_postponed(&mut self) -> Option<usize> {
        match self.running.len() == self.postponed.len() {
            true => self.postponed.pop_front(),
            false => None,
        }
    }

    /// Says that the entry at `at`, which was taken, is restored.
    pub fn done(&mut self, at: usize) {
        let Some(position) = self.running.iter().position(|i| self.items[*i].at == at) else {
            return;
        };
        let done = self.running.swap_remove(position);
        self.left -= 1;
        let id = self.items[done].id;
        for i in self.dependents.remove(&id).unwrap_or_default() {
            let item = &mut self.items[i];
            item.waits_for.remove(&id);
            if item.waits_for.is_empty() {
                self.ready.insert((Reverse(item.weight), i));
            }
        }
    }

    /// Whether all is done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.left == 0
    }

    /// Whether nothing runs that could make something else ready: then the rest depends on itself.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    fn is_locked(&self, item: &Item) -> bool {
        let held = || self.running.iter().flat_map(|i| &self.items[*i].locks);
        item.locks
            .iter()
            .any(|want| held().any(|held| held.table == want.table && (held.exclusive || want.exclusive)))
    }
}

fn items(entries: &[Entry], wanted: &[usize], weight: impl Fn(usize) -> u64) -> Vec<Item> {
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
            at: *at,
            id: entry.dump_id,
            waits_for: waits_for(entry, &rows, &present),
            weight: weight(*at).max(weights.max().unwrap_or(0)),
            locks: locks(entry, on),
        }
    };
    wanted.iter().map(item).collect()
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

/// What a statement locks of the tables that it is `on`: building an index only keeps writers away.
fn locks(entry: &Entry, on: Vec<DumpId>) -> Vec<Lock> {
    if entry.section != Section::PostData {
        return Vec::new();
    }
    let exclusive = entry.desc != "INDEX";
    on.into_iter().map(|table| Lock { table, exclusive }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: DumpId, desc: &str, section: Section, dependencies: &[DumpId]) -> Entry {
        let mut entry = Entry::new(id, desc, format!("e{id}"), section);
        entry.dependencies = dependencies.to_vec();
        entry
    }

    fn entries() -> Vec<Entry> {
        vec![
            entry(1, "TABLE", Section::PreData, &[]),
            entry(2, "TABLE", Section::PreData, &[]),
            entry(3, "TABLE DATA", Section::Data, &[1]),
            entry(4, "TABLE DATA", Section::Data, &[2]),
            entry(5, "CONSTRAINT", Section::PostData, &[1]),
            entry(6, "INDEX", Section::PostData, &[1]),
            entry(7, "INDEX", Section::PostData, &[1]),
            entry(8, "FK CONSTRAINT", Section::PostData, &[2, 5, 1]),
        ]
    }

    #[test]
    fn rows_come_first_heavy_ones_before_light_ones() {
        let entries = entries();
        let mut graph = Graph::new(&entries, &[2, 3, 4, 5, 6, 7], &HashMap::new(), |at| {
            if at == 3 { 10 } else { 5 }
        });
        assert_eq!(graph.take(), Some(3));
        assert_eq!(graph.take(), Some(2));
        assert_eq!(graph.take(), None);
        graph.done(2);
        // The constraint locks the table against the indexes, whichever is first.
        assert_eq!(graph.take(), Some(4));
        assert_eq!(graph.take(), None);
        graph.done(4);
        // Two indexes of a table can be built together; the foreign key waits for the other table's rows.
        assert_eq!(graph.take(), Some(5));
        assert_eq!(graph.take(), Some(6));
        assert_eq!(graph.take(), None);
        graph.done(3);
        assert_eq!(graph.take(), None);
        graph.done(5);
        graph.done(6);
        assert_eq!(graph.take(), Some(7));
        assert!(!graph.is_finished());
        graph.done(7);
        assert!(graph.is_finished() && graph.is_idle());
    }

    #[test]
    fn rows_wait_for_those_that_a_foreign_key_names() {
        let entries = entries();
        let earlier = HashMap::from([(3, vec![4])]);
        let mut graph = Graph::new(&entries, &[2, 3], &earlier, |at| if at == 2 { 10 } else { 5 });
        assert_eq!(graph.take(), Some(3));
        assert_eq!(graph.take(), None);
        graph.done(3);
        assert_eq!(graph.take(), Some(2));
    }

    #[test]
    fn what_depends_on_itself_is_seen() {
        let entries = [
            entry(1, "INDEX", Section::PostData, &[2]),
            entry(2, "INDEX", Section::PostData, &[1]),
        ];
        let mut graph = Graph::new(&entries, &[0, 1], &HashMap::new(), |_| 0);
        assert_eq!(graph.take(), None);
        assert!(graph.is_idle() && !graph.is_finished());
    }
}

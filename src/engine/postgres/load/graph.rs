//! What of a load can be done next, while other parts of it are under way.
//!
//! Rows come before what is built on them, dependencies are obeyed, and two statements that would lock the
//! same table against each other do not run together. Of all that is ready, that goes first on which the most work waits,
//! its own among it, so that no big table and no slow index is left for the end. Where nothing else can be done, rows that
//! are in are read back for the proof.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::items::{Item, Pages, Task, conflict, items};
use super::lock_mode::{Lock, LockMode};
use super::urgency;
use crate::archive::toc::{DumpId, Entry};

/// How many of what is ready are looked at for one that no lock keeps waiting: many thousands may wait for the same one.
const LOOKED_AT: usize = 1000;

/// Statements about fewer bytes of rows than this are sent several at a time.
const SMALL: u64 = 1 << 20;

/// Tasks that wait, run or are done.
#[derive(Debug)]
pub struct Graph {
    items: Vec<Item>,
    /// What waits for an entry, by its number.
    dependents: HashMap<DumpId, Vec<usize>>,
    /// What waits for nothing but its locks, the most urgent first, of equals the first in the archive's order.
    ready: BTreeSet<(Reverse<u64>, usize)>,
    running: Vec<usize>,
    /// What waits for the rows of all tables, and how many of these are not in yet.
    held: Vec<usize>,
    rows_left: usize,
    /// Rows that can be read back when there is nothing else to do.
    to_read: VecDeque<usize>,
    /// What was tried and did not go yet, with how much was left then; it counts as running.
    postponed: VecDeque<usize>,
    tried: HashMap<usize, usize>,
    left: usize,
}

impl Graph {
    /// A graph of the entries at `wanted`, and of the statistics of the tables whose rows are at `analysed`; every other entry
    /// counts as done. `earlier` names the rows that those of an entry need besides what it says itself, `weight` how many
    /// bytes an entry's rows are.
    #[must_use]
    pub fn new(
        entries: &[Entry],
        wanted: &[usize],
        analysed: &[usize],
        earlier: &HashMap<DumpId, Vec<DumpId>>,
        weight: impl Fn(usize) -> u64,
    ) -> Self {
        let mut items = items(entries, wanted, analysed, &weight);
        for item in &mut items {
            let earlier = item.id.and_then(|id| earlier.get(&id));
            item.waits_for.extend(earlier.into_iter().flatten());
        }
        let mut dependents: HashMap<DumpId, Vec<usize>> = HashMap::new();
        for (i, item) in items.iter().enumerate() {
            for id in &item.waits_for {
                dependents.entry(*id).or_default().push(i);
            }
        }
        urgency::add_what_waits(&mut items, &dependents);
        let rows_left = items.iter().filter(|item| item.is_data).count();
        let free: Vec<usize> = (0..items.len()).filter(|i| items[*i].waits_for.is_empty()).collect();
        let mut graph = Graph {
            left: items.len(),
            items,
            dependents,
            ready: BTreeSet::new(),
            running: Vec::new(),
            held: Vec::new(),
            rows_left,
            to_read: VecDeque::new(),
            postponed: VecDeque::new(),
            tried: HashMap::new(),
        };
        free.into_iter().for_each(|i| graph.free(i));
        graph
    }

    /// The item waits for no other any more.
    fn free(&mut self, i: usize) {
        let item = &self.items[i];
        match item.after_all_rows && self.rows_left > 0 {
            true => self.held.push(i),
            false => drop(self.ready.insert((Reverse(item.urgency), i))),
        }
    }

    /// Takes the most urgent of what can be done now; reading back is left for [`Graph::take_read`].
    pub fn take(&mut self) -> Option<Task> {
        let mut urgent = self.ready.iter().take(LOOKED_AT);
        let best = *urgent.find(|(_, i)| !self.is_locked(&self.items[*i], |_| true))?;
        self.ready.remove(&best);
        Some(self.run(best.1))
    }

    /// Takes more that can be sent together with `task`, which was taken last: what little is of the same `kind`, the `most` that
    /// go together of it, and of which none needs another.
    pub fn take_together<K: PartialEq + Copy>(
        &mut self,
        task: Task,
        kind: impl Fn(usize) -> Option<K>,
        most: impl Fn(K) -> usize,
    ) -> (Option<K>, Vec<Task>) {
        let kind = |item: &Item| kind(item.task.entry().filter(|_| item.urgency < SMALL)?);
        let mut together = vec![task];
        let Some(wanted) = self.running.last().and_then(|i| kind(&self.items[*i])) else {
            return (None, together);
        };
        let mut also = Vec::new();
        for waiting in self.ready.iter().take(LOOKED_AT) {
            let item = &self.items[waiting.1];
            let goes = kind(item) == Some(wanted)
                && !self.is_locked(item, |_| true)
                && !also.iter().any(|(_, i): &(_, usize)| conflict(&self.items[*i], item));
            if goes {
                also.push(*waiting);
            }
            if also.len() + 1 == most(wanted) {
                break;
            }
        }
        for waiting in also {
            self.ready.remove(&waiting);
            together.push(self.run(waiting.1));
        }
        (Some(wanted), together)
    }

    /// Takes rows to read back, of a table for which nothing waits but the end of other such reading.
    pub fn take_read(&mut self) -> Option<Task> {
        let position = self.to_read.iter().position(|i| {
            let read = &self.items[*i];
            !self.is_locked(read, |_| true) && !self.keeps_waiting(read)
        })?;
        let i = self.to_read.remove(position)?;
        Some(self.run(i))
    }

    fn run(&mut self, i: usize) -> Task {
        self.running.push(i);
        self.items[i].task
    }

    /// Has the rows of `entry`, the one at `at`, read back in parts.
    pub fn read_back(&mut self, entry: &Entry, at: usize, parts: Vec<Pages>) {
        let table = entry.dependencies.iter().copied();
        let locks: Vec<_> = table.map(|table| Lock(table, LockMode::AccessShare)).collect();
        for pages in parts {
            self.to_read.push_back(self.items.len());
            self.left += 1;
            self.items.push(Item {
                task: Task::ReadBack(at, pages),
                id: None,
                is_data: false,
                after_all_rows: false,
                waits_for: HashSet::new(),
                locks: locks.clone(),
                urgency: 0,
            });
        }
    }

    /// Keeps the entry at `at`, which was taken and failed, until others are restored that it may need without saying so.
    /// There is no hope when nothing was restored since it failed the last time, or nothing else is left.
    pub fn postpone(&mut self, at: usize) -> bool {
        let Some(i) = self.running_entry(at).map(|position| self.running[position]) else {
            return false;
        };
        let left = self.left - self.to_read.len();
        if left == 1 || self.tried.insert(i, left) == Some(left) {
            return false;
        }
        self.postponed.push_back(i);
        true
    }

    /// Takes what was postponed, when nothing else can be done.
    pub fn take_postponed(&mut self) -> Option<Task> {
        match self.running.len() == self.postponed.len() {
            true => self.postponed.pop_front().map(|i| self.items[i].task),
            false => None,
        }
    }

    fn running_entry(&self, at: usize) -> Option<usize> {
        self.running.iter().position(|i| self.items[*i].task == Task::Entry(at))
    }

    /// Says that `task`, which was taken, is done.
    pub fn done(&mut self, task: Task) {
        let Some(position) = self.running.iter().position(|i| self.items[*i].task == task) else {
            return;
        };
        let done = self.running.swap_remove(position);
        self.left -= 1;
        let Some(id) = self.items[done].id else { return };
        for i in self.dependents.remove(&id).unwrap_or_default() {
            self.items[i].waits_for.remove(&id);
            if self.items[i].waits_for.is_empty() {
                self.free(i);
            }
        }
        if self.items[done].is_data {
            self.rows_left -= 1;
            if self.rows_left == 0 {
                std::mem::take(&mut self.held).into_iter().for_each(|i| self.free(i));
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

    /// Whether something runs that locks `item` out, of what `counts`.
    fn is_locked(&self, item: &Item, counts: impl Fn(&Item) -> bool) -> bool {
        let running = self.running.iter().map(|i| &self.items[*i]);
        running
            .filter(|running| counts(running))
            .any(|running| conflict(running, item))
    }

    /// Whether `read` would go on keeping something from its lock that nothing else keeps from it.
    fn keeps_waiting(&self, read: &Item) -> bool {
        let no_read = |item: &Item| !matches!(item.task, Task::ReadBack(..));
        let mut ready = self.ready.iter().map(|(_, i)| &self.items[*i]);
        ready.any(|waiting| conflict(waiting, read) && !self.is_locked(waiting, no_read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

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

    fn graph(entries: &[Entry], wanted: &[usize], weight: impl Fn(usize) -> u64) -> Graph {
        Graph::new(entries, wanted, &[], &HashMap::new(), weight)
    }

    fn take(graph: &mut Graph) -> Option<usize> {
        match graph.take() {
            Some(Task::Entry(at)) => Some(at),
            _ => None,
        }
    }

    #[test]
    fn rows_come_first_heavy_ones_before_light_ones() {
        let entries = entries();
        let mut graph = graph(&entries, &[2, 3, 4, 5, 6, 7], |at| if at == 3 { 20 } else { 5 });
        assert_eq!(take(&mut graph), Some(3));
        assert_eq!(take(&mut graph), Some(2));
        assert_eq!(take(&mut graph), None);
        graph.done(Task::Entry(2));
        // The constraint locks the table against the indexes; a foreign key waits for it.
        assert_eq!(take(&mut graph), Some(4));
        assert_eq!(take(&mut graph), None);
        graph.done(Task::Entry(4));
        // Two indexes of a table can be built together; the foreign key waits for the other table's rows.
        assert_eq!(take(&mut graph), Some(5));
        assert_eq!(take(&mut graph), Some(6));
        assert_eq!(take(&mut graph), None);
        graph.done(Task::Entry(3));
        assert_eq!(take(&mut graph), None);
        graph.done(Task::Entry(5));
        graph.done(Task::Entry(6));
        assert_eq!(take(&mut graph), Some(7));
        assert!(!graph.is_finished());
        graph.done(Task::Entry(7));
        assert!(graph.is_finished() && graph.is_idle());
    }

    #[test]
    fn the_table_with_the_slow_index_comes_before_a_larger_one() {
        let mut entries = entries();
        entries[5].defn = "CREATE INDEX e6 ON public.e1 USING gin (a);\n".to_owned();
        let mut graph = graph(&entries, &[2, 3, 5, 6], |at| if at == 3 { 20 } else { 5 });
        assert_eq!(take(&mut graph), Some(2));
        graph.done(Task::Entry(2));
        assert_eq!(take(&mut graph), Some(5));
        assert_eq!(take(&mut graph), Some(3));
        assert_eq!(take(&mut graph), Some(6));
    }

    #[test]
    fn what_belongs_to_no_table_waits_for_the_rows_of_all() {
        let mut entries = entries();
        entries.push(entry(9, "CHECK CONSTRAINT", Section::PostData, &[90]));
        let mut graph = graph(&entries, &[8, 2, 3], |_| 0);
        assert_eq!((take(&mut graph), take(&mut graph)), (Some(2), Some(3)));
        graph.done(Task::Entry(2));
        assert_eq!(take(&mut graph), None);
        graph.done(Task::Entry(3));
        assert_eq!(take(&mut graph), Some(8));
    }

    #[test]
    fn rows_wait_for_those_that_a_foreign_key_names() {
        let entries = entries();
        let earlier = HashMap::from([(3, vec![4])]);
        let mut graph = Graph::new(&entries, &[2, 3], &[], &earlier, |at| if at == 2 { 10 } else { 5 });
        assert_eq!(take(&mut graph), Some(3));
        assert_eq!(take(&mut graph), None);
        graph.done(Task::Entry(3));
        assert_eq!(take(&mut graph), Some(2));
    }

    #[test]
    fn rows_are_read_back_beside_indexes_but_keep_no_constraint_waiting() {
        let entries = entries();
        let mut graph = graph(&entries, &[2, 4, 5], |_| 5);
        assert_eq!(take(&mut graph), Some(2));
        graph.read_back(
            &entries[2],
            2,
            vec![Some((0, Some(1))), Some((1, Some(2))), Some((2, None))],
        );
        graph.done(Task::Entry(2));
        // The constraint is ready.
        assert_eq!(graph.take_read(), None);
        assert_eq!(take(&mut graph), Some(4));
        assert_eq!(graph.take_read(), None);
        graph.done(Task::Entry(4));
        assert_eq!(take(&mut graph), Some(5));
        let first = graph.take_read();
        assert_eq!(first, Some(Task::ReadBack(2, Some((0, Some(1))))));
        assert_eq!(graph.take_read(), Some(Task::ReadBack(2, Some((1, Some(2))))));
        graph.done(Task::Entry(5));
        assert!(!graph.is_finished());
    }

    #[test]
    fn a_constraint_gets_its_lock_though_more_could_be_read() {
        let entries = entries();
        let mut graph = graph(&entries, &[2, 4, 5], |_| 5);
        assert_eq!(take(&mut graph), Some(2));
        graph.read_back(&entries[2], 2, vec![Some((0, Some(1))), Some((1, None))]);
        graph.done(Task::Entry(2));
        // The index is built first, so that the constraint has to wait anyway.
        graph.ready.retain(|(_, i)| graph.items[*i].task != Task::Entry(4));
        assert_eq!(take(&mut graph), Some(5));
        graph.ready.insert((Reverse(5), 1));
        let read = graph.take_read().unwrap();
        graph.done(Task::Entry(5));
        // Only what is being read keeps it waiting now.
        assert_eq!((take(&mut graph), graph.take_read()), (None, None));
        graph.done(read);
        assert_eq!(take(&mut graph), Some(4));
    }

    #[test]
    fn statistics_are_gathered_when_indexes_are_built() {
        let entries = entries();
        let mut graph = Graph::new(&entries, &[2, 5], &[2], &HashMap::new(), |_| 5);
        assert_eq!(take(&mut graph), Some(2));
        graph.done(Task::Entry(2));
        assert_eq!(take(&mut graph), Some(5));
        assert_eq!(graph.take(), None);
        graph.done(Task::Entry(5));
        assert_eq!(graph.take(), Some(Task::Analyse(2)));
    }

    #[test]
    fn what_depends_on_itself_is_seen() {
        let entries = [
            entry(1, "INDEX", Section::PostData, &[2]),
            entry(2, "INDEX", Section::PostData, &[1]),
        ];
        let mut graph = graph(&entries, &[0, 1], |_| 0);
        assert_eq!(graph.take(), None);
        assert!(graph.is_idle() && !graph.is_finished());
    }
}

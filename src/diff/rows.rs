//! In which rows two tables differ: each row becomes two hashes, that of its key and its own, and both sides are sorted by them
//! and merged. So memory is bounded whatever the tables have. Rows that are shown are read in a second pass.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::Xxh3;

use super::report::{Change, RowChange, RowsDiff};
use super::run::Opened;
use super::side::TableName;
use super::sorted::{Record, Sorted, Sorter};
use crate::error::Result;

/// How rows of one table are compared.
pub struct Compared<'a> {
    /// The table.
    pub name: &'a TableName,
    /// The columns that both sides have.
    pub columns: Vec<String>,
    /// Those of them by which rows are the same one; none where any copy of a row is as good as another.
    pub key: Vec<String>,
    /// How many rows are shown.
    pub show: usize,
}

impl Compared<'_> {
    /// Compares them.
    ///
    /// # Errors
    /// One of the sides cannot be read, or there is no room for temporary files.
    pub async fn compare(&self, before: &Opened, after: &Opened) -> Result<RowsDiff> {
        let mut old = self.sorted(before).await?;
        let mut new = self.sorted(after).await?;
        let mut found = Found {
            keyed: !self.key.is_empty(),
            show: self.show,
            ..Found::default()
        };
        merge(&mut old, &mut new, &mut found)?;
        let mut diff = RowsDiff {
            key: self.key.clone(),
            added: found.added,
            removed: found.removed,
            changed: found.changed,
            columns: Vec::new(),
            shown: Vec::new(),
        };
        if self.show > 0 {
            let old = self.collect(before, found.wanted_before).await?;
            let new = self.collect(after, found.wanted_after).await?;
            diff.columns.clone_from(&self.columns);
            diff.shown = pair(old, new, !self.key.is_empty());
        }
        Ok(diff)
    }

    fn positions(&self) -> Vec<usize> {
        let position = |key: &String| self.columns.iter().position(|column| column == key);
        self.key.iter().filter_map(position).collect()
    }

    async fn sorted(&self, side: &Opened) -> Result<Sorted> {
        let (mut sorter, key) = (Sorter::default(), self.positions());
        let mut hasher = Xxh3::new();
        let mut each = |values: &[&[u8]]| {
            sorter.push(record(&mut hasher, values, &key))?;
            Ok(true)
        };
        side.rows(self.name, &self.columns, &mut each).await?;
        sorter.sorted()
    }

    /// The rows that are wanted, with the hashes of their keys, in the order of the table.
    async fn collect(&self, side: &Opened, mut wanted: BTreeMap<Record, u64>) -> Result<Vec<(u128, Shown)>> {
        let (mut rows, key) = (Vec::new(), self.positions());
        let mut left: u64 = wanted.values().sum();
        if left == 0 {
            return Ok(rows);
        }
        let mut hasher = Xxh3::new();
        let mut each = |values: &[&[u8]]| {
            let record = record(&mut hasher, values, &key);
            if let Some(count) = wanted.get_mut(&record).filter(|count| **count > 0) {
                *count -= 1;
                left -= 1;
                rows.push((record.0, values.iter().map(|value| side.plain(value)).collect()));
            }
            Ok(left > 0)
        };
        side.rows(self.name, &self.columns, &mut each).await?;
        Ok(rows)
    }
}

/// The values of a row.
type Shown = Vec<Option<String>>;

fn record(hasher: &mut Xxh3, values: &[&[u8]], key: &[usize]) -> Record {
    let row = hash(hasher, values.iter().copied());
    match key {
        [] => (row, row),
        key => (hash(hasher, key.iter().filter_map(|at| values.get(*at).copied())), row),
    }
}

fn hash<'a>(hasher: &mut Xxh3, values: impl Iterator<Item = &'a [u8]>) -> u128 {
    hasher.reset();
    for value in values {
        hasher.update(&(value.len() as u64).to_le_bytes());
        hasher.update(value);
    }
    hasher.digest128()
}

/// What a merge finds.
#[derive(Default)]
struct Found {
    keyed: bool,
    show: usize,
    added: u64,
    removed: u64,
    changed: u64,
    wanted_before: BTreeMap<Record, u64>,
    wanted_after: BTreeMap<Record, u64>,
    shown: usize,
}

/// One row after the other of a side, equal ones together.
struct Counted<'a> {
    sorted: &'a mut Sorted,
    next: Option<Record>,
}

impl Counted<'_> {
    fn next(&mut self) -> Result<Option<(Record, u64)>> {
        let Some(record) = self.next else {
            return Ok(None);
        };
        let mut count = 0;
        while self.next == Some(record) {
            count += 1;
            self.next = self.sorted.next()?;
        }
        Ok(Some((record, count)))
    }
}

/// What is left of the rows of one key once equal ones are gone.
#[derive(Default)]
struct Left {
    before: Vec<(Record, u64)>,
    after: Vec<(Record, u64)>,
}

fn merge(old: &mut Sorted, new: &mut Sorted, found: &mut Found) -> Result<()> {
    let (next_old, next_new) = (old.next()?, new.next()?);
    let (mut old, mut new) = (
        Counted {
            sorted: old,
            next: next_old,
        },
        Counted {
            sorted: new,
            next: next_new,
        },
    );
    let (mut left, mut key) = (Left::default(), None);
    let (mut one, mut other) = (old.next()?, new.next()?);
    loop {
        let lowest = [one, other].into_iter().flatten().map(|(record, _)| record).min();
        let Some(record) = lowest else { break };
        if key != Some(record.0) {
            found.take(std::mem::take(&mut left));
            key = Some(record.0);
        }
        let (mut before, mut after) = (0, 0);
        if let Some((_, count)) = one.filter(|(it, _)| *it == record) {
            before = count;
            one = old.next()?;
        }
        if let Some((_, count)) = other.filter(|(it, _)| *it == record) {
            after = count;
            other = new.next()?;
        }
        let same = before.min(after);
        if before > same {
            left.before.push((record, before - same));
        }
        if after > same {
            left.after.push((record, after - same));
        }
    }
    found.take(left);
    Ok(())
}

impl Found {
    fn take(&mut self, left: Left) {
        let sum = |records: &[(Record, u64)]| records.iter().map(|(_, count)| count).sum::<u64>();
        let (before, after) = (sum(&left.before), sum(&left.after));
        let changed = if self.keyed { before.min(after) } else { 0 };
        self.changed += changed;
        self.removed += before - changed;
        self.added += after - changed;
        let room = self.show.saturating_sub(self.shown) as u64;
        if room == 0 || before + after == 0 {
            return;
        }
        // A row that changed is shown with both of its states, and counts once.
        let take = |records: Vec<(Record, u64)>, into: &mut BTreeMap<Record, u64>| {
            let mut taken = 0;
            for (record, count) in records {
                let count = count.min(room - taken);
                if count > 0 {
                    *into.entry(record).or_default() += count;
                    taken += count;
                }
            }
            taken
        };
        let before = take(left.before, &mut self.wanted_before);
        let after = take(left.after, &mut self.wanted_after);
        self.shown += usize::try_from(before.max(after)).unwrap_or(usize::MAX);
    }
}

/// Rows of the same key are one that changed.
fn pair(old: Vec<(u128, Shown)>, new: Vec<(u128, Shown)>, keyed: bool) -> Vec<RowChange> {
    let mut later: BTreeMap<u128, Vec<Shown>> = BTreeMap::new();
    let order: Vec<u128> = new.iter().map(|(key, _)| *key).collect();
    for (key, row) in new.into_iter().rev() {
        later.entry(key).or_default().push(row);
    }
    let mut changes = Vec::new();
    for (key, before) in old {
        let after = later.get_mut(&key).filter(|_| keyed).and_then(Vec::pop);
        changes.push(RowChange {
            change: if after.is_some() {
                Change::Changed
            } else {
                Change::Removed
            },
            before: Some(before),
            after,
        });
    }
    for key in order {
        if let Some(after) = later.get_mut(&key).and_then(Vec::pop) {
            changes.push(RowChange {
                change: Change::Added,
                before: None,
                after: Some(after),
            });
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(old: &[Record], new: &[Record], keyed: bool) -> [u64; 3] {
        let sorted = |records: &[Record]| {
            let mut sorter = Sorter::default();
            records.iter().for_each(|record| sorter.push(*record).unwrap());
            sorter.sorted().unwrap()
        };
        let mut found = Found {
            keyed,
            ..Found::default()
        };
        merge(&mut sorted(old), &mut sorted(new), &mut found).unwrap();
        [found.added, found.removed, found.changed]
    }

    #[test]
    fn rows_are_the_same_by_key_or_by_all_that_they_are() {
        let (old, new) = ([(1, 10), (2, 20), (3, 30)], [(3, 31), (2, 20), (4, 40), (5, 50)]);
        assert_eq!(found(&old, &new, true), [2, 1, 1]);
        let copies = [(7, 7), (7, 7), (7, 7), (8, 8)];
        assert_eq!(found(&copies, &[(7, 7), (9, 9), (9, 9)], false), [2, 3, 0]);
        assert_eq!(found(&copies, &copies, false), [0, 0, 0]);
        assert_eq!(found(&[], &copies, false), [4, 0, 0]);
    }
}

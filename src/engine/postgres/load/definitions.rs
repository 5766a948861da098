//! The definitions that stand before all rows, over several connections: what depends on each other goes to one of them, in the
//! archive's order.
//!
//! Only kinds of objects take part whose creation locks nothing but themselves and what the archive says that they depend on.
//! All others, such as schemas, extensions and types, are made one after the other, where they stand.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::session::{BATCH, Loader};
use crate::archive::toc::{DumpId, Entry};
use crate::error::Result;

/// Fewer entries than this are made before a second connection is there.
const WORTH_SHARING: usize = 200;

/// A part of the definitions, all of which is done before the next begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stretch {
    /// One entry after the other.
    InOrder(Vec<usize>),
    /// Over several connections.
    Beside(Vec<usize>),
}

/// Cuts the entries at `wanted` into stretches.
pub(super) fn stretches(entries: &[Entry], wanted: &[usize]) -> Vec<Stretch> {
    let runs = wanted.chunk_by(|a, b| goes_beside(&entries[*a]) == goes_beside(&entries[*b]));
    let mut stretches = Vec::new();
    for run in runs {
        let beside = run.len() >= WORTH_SHARING && run.first().is_some_and(|at| goes_beside(&entries[*at]));
        match (beside, stretches.last_mut()) {
            (true, _) => stretches.push(Stretch::Beside(run.to_vec())),
            (false, Some(Stretch::InOrder(last))) => last.extend(run),
            (false, _) => stretches.push(Stretch::InOrder(run.to_vec())),
        }
    }
    stretches
}

fn goes_beside(entry: &Entry) -> bool {
    match entry.desc.as_str() {
        // Of a schema or an extension they have nothing to wait for in their own group.
        "COMMENT" => !entry.dependencies.is_empty(),
        "BLOB" | "BLOB METADATA" | "DEFAULT" | "FOREIGN TABLE" | "FUNCTION" | "MATERIALIZED VIEW" | "PROCEDURE"
        | "SEQUENCE" | "SEQUENCE OWNED BY" | "TABLE" | "TABLE ATTACH" | "VIEW" => true,
        _ => false,
    }
}

/// The entries of `run` by what depends on each other, each group where its first one stands.
fn groups(entries: &[Entry], run: &[usize]) -> Vec<Vec<usize>> {
    let places: HashMap<DumpId, usize> = run
        .iter()
        .enumerate()
        .map(|(i, at)| (entries[*at].dump_id, i))
        .collect();
    // Each place names an earlier one of its group, the first one itself.
    let mut earlier: Vec<usize> = (0..run.len()).collect();
    let first_of = |earlier: &mut Vec<usize>, mut i: usize| {
        while earlier[i] != i {
            earlier[i] = earlier[earlier[i]];
            i = earlier[i];
        }
        i
    };
    for (i, at) in run.iter().enumerate() {
        for other in entries[*at].dependencies.iter().filter_map(|id| places.get(id)) {
            let (a, b) = (first_of(&mut earlier, i), first_of(&mut earlier, *other));
            earlier[a.max(b)] = a.min(b);
        }
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of = HashMap::new();
    for (i, at) in run.iter().enumerate() {
        let group = *group_of.entry(first_of(&mut earlier, i)).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(group) => group.push(*at),
            None => groups.push(vec![*at]),
        }
    }
    groups
}

/// Makes the entries of `run` over as many connections as the load may have. What fails then may have failed for what another
/// connection had not made yet: it is made again at the end, in the archive's order, and must not fail then.
pub(super) async fn run_beside(loader: &mut Loader, others: &mut Vec<Loader>, run: &[usize]) -> Result<()> {
    let groups = groups(loader.archive.reader.entries(), run);
    let jobs = loader.archive.jobs.min(groups.len());
    while others.len() + 1 < jobs {
        others.push(Loader::open(&loader.archive).await?);
    }
    let work = Mutex::new(Batches(groups.into()));
    let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
    let all = others.iter_mut().chain([&mut *loader]);
    let runs = all.map(|loader| async {
        let mut failed = Vec::new();
        while let Some(batch) = next() {
            failed.extend(loader.run_what_goes(&batch).await?);
        }
        Ok::<_, anyhow::Error>(failed)
    });
    let failed = futures_util::future::try_join_all(runs).await?;
    let failed: HashSet<usize> = failed.into_iter().flatten().collect();
    let failed: Vec<usize> = run.iter().copied().filter(|at| failed.contains(at)).collect();
    loader.run_all(&failed).await
}

/// Groups that wait for a connection.
struct Batches(VecDeque<Vec<usize>>);

impl Iterator for Batches {
    type Item = Vec<usize>;

    /// Whole groups: as many as are sent together, or one that is larger.
    fn next(&mut self) -> Option<Vec<usize>> {
        let mut batch = self.0.pop_front()?;
        while self.0.front().is_some_and(|group| batch.len() + group.len() <= BATCH) {
            batch.extend(self.0.pop_front().into_iter().flatten());
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

    fn entry(id: DumpId, desc: &str, dependencies: &[DumpId]) -> Entry {
        let mut entry = Entry::new(id, desc, format!("e{id}"), Section::PreData);
        entry.dependencies = dependencies.to_vec();
        entry
    }

    #[test]
    fn what_depends_on_each_other_stays_together_in_its_order() {
        let entries = [
            entry(1, "TABLE", &[]),
            entry(2, "TABLE", &[90]),
            entry(3, "SEQUENCE", &[1]),
            entry(4, "TABLE", &[90]),
            entry(5, "VIEW", &[4, 2]),
            entry(6, "DEFAULT", &[1, 3]),
        ];
        let run = [0, 1, 2, 3, 4, 5];
        assert_eq!(groups(&entries, &run), [vec![0, 2, 5], vec![1, 3, 4]]);
        let mut batches = Batches(vec![vec![0; 60], vec![1; 40], vec![2], vec![3; 150], vec![4]].into());
        let sizes: Vec<usize> = batches.by_ref().map(|batch| batch.len()).collect();
        assert_eq!(sizes, [100, 1, 150, 1]);
    }

    #[test]
    fn only_long_runs_of_plain_objects_are_shared() {
        let mut entries = vec![entry(1, "SCHEMA", &[]), entry(2, "TABLE", &[1])];
        entries.push(entry(3, "TYPE", &[]));
        entries.extend((4..300).map(|id| entry(id, "TABLE", &[])));
        entries.push(entry(300, "COMMENT", &[]));
        let wanted: Vec<usize> = (0..entries.len()).collect();
        let cut = stretches(&entries, &wanted);
        assert_eq!(
            cut,
            [
                Stretch::InOrder(vec![0, 1, 2]),
                Stretch::Beside((3..299).collect()),
                Stretch::InOrder(vec![299]),
            ]
        );
    }
}

//! What the connections of a load have to do, and who does it: the next entry, a part of a table that is too big for one
//! of them, or what can be done with a table as soon as its rows are in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::bail;
use tokio::sync::Notify;

use super::Archive;
use super::early::Early;
use super::graph::Graph;
use super::items::Task;
use super::partitions::Partitions;
use super::session::Loader;
use super::stream::Stream;
use crate::archive::toc::DumpId;
use crate::error::Result;

/// A smaller table is loaded before a second connection would be of use.
const WORTH_SHARING: u64 = 32 << 20;

/// Bytes of the rows of a table that are sent together with those of others.
const FEW: u64 = 64 << 10;

/// How the rows of a load are spread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    /// Connections.
    pub(super) jobs: u64,
    /// Bytes of all rows.
    pub(super) total: u64,
    /// The server logs nothing of a table that is emptied and filled in one transaction.
    pub(super) minimal_wal: bool,
    /// Entries of large objects: 17 and newer write one for each thousand of them.
    pub(super) objects: u64,
    /// Each table is loaded by one connection.
    pub(super) whole: bool,
}

impl Spread {
    /// Whether the rows of a table, `weight` bytes, are for several connections. Those of one connection can be
    /// frozen and need no log under `wal_level = minimal`, so only a table that would keep one connection busy
    /// while others have nothing to do is shared.
    fn shares(self, weight: u64) -> bool {
        let portions = if self.minimal_wal { 1 } else { 4 };
        !self.whole
            && self.jobs > 1
            && weight >= WORTH_SHARING
            && weight.saturating_mul(self.jobs * portions) > self.total * 2
    }

    /// Whether large objects of one entry are for several connections.
    fn shares_objects(self) -> bool {
        !self.whole && (1..self.jobs).contains(&self.objects)
    }
}

/// What the connections share.
pub(super) struct Work {
    state: Mutex<State>,
    changed: Notify,
    spread: Spread,
    weights: Arc<HashMap<DumpId, u64>>,
    pub(super) early: Early,
    partitions: Partitions,
}

struct State {
    graph: Graph,
    /// Tables that several connections load.
    open: Vec<Open>,
}

struct Open {
    at: usize,
    rows: Arc<Stream>,
    /// Connections that load it.
    loading: usize,
    /// Somebody saw its end.
    ended: bool,
}

/// What one connection does next.
enum Next {
    Task(Task),
    /// Small ones of one kind.
    Together(Kind, Vec<Task>),
    Share(usize, Arc<Stream>),
}

/// Tables whose few rows are sent together, at most.
const TABLES: usize = 50;
/// Other entries, of each of which all others would wait for the locks.
const OTHERS: usize = 20;

/// What small entries need to be sent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One batch of statements.
    Definitions,
    /// A COPY each, sent without waiting for the one before it, in one transaction.
    Rows,
}

impl Kind {
    /// How many go together, at most.
    fn most(self) -> usize {
        match self {
            Kind::Definitions => OTHERS,
            Kind::Rows => TABLES,
        }
    }

    /// What the entry at `at` needs, where what it locks is known, and nothing else fails or waits long for it. Indexes that
    /// are attached would: the server looks through all that are, which takes longer within one transaction.
    fn of(archive: &Archive, weights: &HashMap<DumpId, u64>, at: usize) -> Option<Kind> {
        let entry = &archive.reader.entries()[at];
        match entry.desc.as_str() {
            "CHECK CONSTRAINT" | "CONSTRAINT" | "FK CONSTRAINT" | "INDEX" | "SEQUENCE SET" => Some(Kind::Definitions),
            "TABLE DATA" => {
                let few = weights.get(&entry.dump_id).is_some_and(|weight| *weight <= FEW);
                let plain = archive.keys.switch(entry).off.is_empty() && !archive.tolerance.keep_going;
                let copied = !entry.copy_stmt.is_empty() && archive.required[at].data;
                (few && plain && copied).then_some(Kind::Rows)
            }
            _ => None,
        }
    }
}

impl Work {
    pub(super) fn new(
        (graph, partitions): (Graph, Partitions),
        spread: Spread,
        weights: Arc<HashMap<DumpId, u64>>,
        early: Early,
    ) -> Self {
        Work {
            state: Mutex::new(State {
                graph,
                open: Vec::new(),
            }),
            changed: Notify::new(),
            spread,
            weights,
            early,
            partitions,
        }
    }

    /// How many connections find something to do, where there are `entries` of them.
    pub(super) fn connections(&self, entries: usize) -> usize {
        let jobs = usize::try_from(self.spread.jobs).unwrap_or(usize::MAX);
        let shares = self.spread.shares_objects() || self.weights.values().any(|weight| self.spread.shares(*weight));
        if shares { jobs } else { jobs.min(entries) }
    }

    /// Works on one connection until all is done.
    pub(super) async fn run(&self, archive: &Archive) -> Result<()> {
        let mut loader = Loader::open(archive).await?;
        while let Some(next) = self.take(archive).await? {
            match next {
                Next::Together(kind, all) => self.together(&mut loader, kind, all).await?,
                Next::Task(Task::Entry(at)) => self.entry(&mut loader, at).await?,
                Next::Task(task) => {
                    self.early.run(&loader, task).await?;
                    self.done([task]);
                }
                Next::Share(at, rows) => {
                    loader.share(at, &rows).await?;
                    self.leave(&loader, at).await?;
                }
            }
        }
        Ok(())
    }

    async fn together(&self, loader: &mut Loader, kind: Kind, all: Vec<Task>) -> Result<()> {
        let entries: Vec<usize> = all.iter().filter_map(Task::entry).collect();
        match kind {
            Kind::Definitions => {
                loader.run_all(&entries).await?;
                self.done(all);
            }
            Kind::Rows => match loader.copy_few(&entries).await {
                Ok(()) => {
                    self.early.read_few(loader, &entries).await?;
                    for at in entries {
                        loader.archive.progress.loaded(self.weight(at, loader));
                        self.loaded(loader, at).await?;
                    }
                }
                // Alone each of them may go, or tells why not.
                Err(error) => {
                    tracing::debug!("rows of small tables are loaded one after the other: {error:#}");
                    *loader = Loader::open(&loader.archive).await?;
                    for at in entries {
                        self.entry(loader, at).await?;
                    }
                }
            },
        }
        Ok(())
    }

    async fn entry(&self, loader: &mut Loader, at: usize) -> Result<()> {
        let reader = Arc::clone(&loader.archive.reader);
        let entry = &reader.entries()[at];
        if let Some(parent) = self.partitions.parent_of(at) {
            loader.partition(at, parent).await?;
            self.done([Task::Entry(at)]);
            return Ok(());
        }
        if !loader.archive.required[at].data || !entry.has_data {
            loader.run_all(&[at]).await?;
            self.done([Task::Entry(at)]);
            return Ok(());
        }
        let weight = self.weight(at, loader);
        let (reader, id) = (Arc::clone(&loader.archive.reader), entry.dump_id);
        let shared = match entry.is_large_objects() {
            true => self.spread.shares_objects().then(|| Stream::of_objects(reader, id)),
            false => {
                (!entry.copy_stmt.is_empty() && self.spread.shares(weight) && !loader.archive.keys.of_itself(entry))
                    .then(|| Stream::of_rows(reader, id))
            }
        };
        if let Some(rows) = shared {
            let rows = Arc::new(rows);
            self.open(at, Arc::clone(&rows));
            loader.share(at, &rows).await?;
            return self.leave(loader, at).await;
        }
        match loader.load(at, weight).await {
            Ok(()) => self.loaded(loader, at).await?,
            Err(error) if loader.may_go_later(entry, &error) && self.state().graph.postpone(at) => {
                self.changed.notify_waiters();
            }
            Err(error) => {
                loader.go_without_rows(at, error)?;
                self.done([Task::Entry(at)]);
            }
        }
        Ok(())
    }

    /// Takes the next task, waiting for one; `None` when all is done.
    async fn take(&self, archive: &Archive) -> Result<Option<Next>> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed, also one that comes before the wait.
            changed.as_mut().enable();
            if let Some(next) = self.state().next(|at| Kind::of(archive, &self.weights, at))? {
                return Ok(next);
            }
            changed.await;
        }
    }

    fn open(&self, at: usize, rows: Arc<Stream>) {
        self.state().open.push(Open {
            at,
            rows,
            loading: 1,
            ended: false,
        });
        self.changed.notify_waiters();
    }

    /// Says that this connection has loaded its part of a shared table, whose rows are all taken. It is done when the last
    /// of its connections is: only then all its rows are committed.
    async fn leave(&self, loader: &Loader, at: usize) -> Result<()> {
        let last = self.state().leave(at);
        match last {
            true => self.loaded(loader, at).await,
            false => Ok(()),
        }
    }

    /// Says that the rows of the entry at `at` are in; they may be read back now.
    async fn loaded(&self, loader: &Loader, at: usize) -> Result<()> {
        let parts = self.early.parts(loader, at).await?;
        {
            let mut state = self.state();
            state.graph.read_back(&loader.archive.reader.entries()[at], at, parts);
            state.graph.done(Task::Entry(at));
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// Bytes of the rows of the entry at `at`.
    fn weight(&self, at: usize, loader: &Loader) -> u64 {
        let id = loader.archive.reader.entries()[at].dump_id;
        self.weights.get(&id).copied().unwrap_or(0)
    }

    fn done(&self, tasks: impl IntoIterator<Item = Task>) {
        {
            let mut state = self.state();
            for task in tasks {
                state.graph.done(task);
            }
        }
        self.changed.notify_waiters();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// `Some(None)` when all is done, `None` when there is nothing to do but wait.
    fn next(&mut self, kind: impl Fn(usize) -> Option<Kind>) -> Result<Option<Option<Next>>> {
        if let Some(task) = self.graph.take() {
            let next = match self.graph.take_together(task, kind, Kind::most) {
                (Some(kind), together) if together.len() > 1 => Next::Together(kind, together),
                _ => Next::Task(task),
            };
            return Ok(Some(Some(next)));
        }
        let open = self.open.iter_mut().filter(|open| !open.ended);
        if let Some(open) = open.min_by_key(|open| open.loading) {
            open.loading += 1;
            return Ok(Some(Some(Next::Share(open.at, Arc::clone(&open.rows)))));
        }
        if let Some(task) = self.graph.take_postponed().or_else(|| self.graph.take_read()) {
            return Ok(Some(Some(Next::Task(task))));
        }
        if self.graph.is_finished() {
            return Ok(Some(None));
        }
        if self.graph.is_idle() {
            bail!("the archive is damaged: what is left of it depends on itself");
        }
        Ok(None)
    }

    /// One connection has no more to load of a shared table; says whether it was the last one.
    fn leave(&mut self, at: usize) -> bool {
        let Some(position) = self.open.iter().position(|open| open.at == at) else {
            return false;
        };
        let open = &mut self.open[position];
        open.ended = true;
        open.loading -= 1;
        let last = open.loading == 0;
        if last {
            self.open.swap_remove(position);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn only_what_would_keep_others_idle_is_shared() {
        let spread = |jobs, minimal_wal| Spread {
            jobs,
            total: 1000 * MIB,
            minimal_wal,
            objects: 0,
            whole: false,
        };
        assert!(spread(2, false).shares(300 * MIB));
        assert!(!spread(2, false).shares(200 * MIB));
        assert!(spread(8, false).shares(100 * MIB));
        assert!(!spread(1, false).shares(1000 * MIB));
        // One connection that logs nothing is as good as two that do.
        assert!(!spread(2, true).shares(1000 * MIB));
        assert!(spread(4, true).shares(600 * MIB));
        let small = Spread {
            total: 10 * MIB,
            ..spread(4, false)
        };
        assert!(!small.shares(10 * MIB));
    }
}

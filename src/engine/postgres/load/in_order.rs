//! A load over one session, inside the transaction that it is in: one entry after the other, in the archive's order.
//!
//! What fails must not take along what came before it, for some of it is tried again, or tolerated. But the server goes through all
//! files that the transaction has made or dropped so far at the end of each savepoint, so that one for each of some thousand
//! tables would take most of a restore. Many entries share one, and only what fails is tried again one by one.

use std::sync::Arc;

use anyhow::Context as _;

use super::missing::Failed;
use super::session::Loader;
use super::stream::Stream;
use super::{Load, name_of, search_path};
use crate::archive::toc::{Entry, Section};
use crate::error::Result;

/// Bytes of the rows of a table that share a savepoint with those of others.
const FEW: u64 = 1 << 20;
/// Tables whose rows share one, at most.
const TABLES: usize = 100;

/// The next of what is done together: so many entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Rows of small tables.
    Few(usize),
    /// Rows, or large objects.
    Rows,
    /// Statements: of the data section, or what needs rows.
    Statements(usize, bool),
}

impl Load {
    /// Loads rows and what is built on them.
    pub(super) async fn rows_in_order(&self, mut loader: Loader) -> Result<()> {
        let (mut late, entries) = (Vec::new(), Arc::clone(self.archive.reader.entries()));
        let order = loader.archive.keys.in_order(&entries, &self.parallel);
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let next = self.next(&loader, rest);
            let (now, after) = rest.split_at(next.count());
            rest = after;
            match next {
                Next::Few(_) => {
                    if !loader.load_few(now).await? {
                        self.one_by_one(&mut loader, now, &mut late).await?;
                    }
                }
                Next::Rows => self.one_by_one(&mut loader, now, &mut late).await?,
                Next::Statements(_, after_rows) => {
                    if after_rows {
                        self.late_rows(&mut loader, &mut late).await?;
                    }
                    loader.run_all(now).await?;
                }
            }
        }
        self.late_rows(&mut loader, &mut late).await
    }

    /// What comes next of `rest`, of which there is some.
    fn next(&self, loader: &Loader, rest: &[usize]) -> Next {
        let entries = self.archive.reader.entries();
        let is_data = |at: usize| self.archive.required[at].data && entries[at].has_data;
        let is_few = |at: usize| is_data(at) && self.is_few(loader, &entries[at]);
        let after_rows = |at: usize| entries[at].section == Section::PostData;
        let while_true = |is: &dyn Fn(usize) -> bool| rest.iter().take_while(|at| is(**at)).count();
        let first = rest[0];
        if !is_data(first) {
            let alike = |at: usize| !is_data(at) && after_rows(at) == after_rows(first);
            return Next::Statements(while_true(&alike), after_rows(first));
        }
        match while_true(&is_few).min(TABLES) {
            0 | 1 => Next::Rows,
            few => Next::Few(few),
        }
    }

    fn is_few(&self, loader: &Loader, entry: &Entry) -> bool {
        let weight = self.archive.weights.get(&entry.dump_id);
        weight.is_some_and(|weight| *weight <= FEW)
            && !entry.copy_stmt.is_empty()
            && !self.archive.tolerance.keep_going
            && loader.archive.keys.switch(entry).off.is_empty()
    }

    async fn one_by_one(&self, loader: &mut Loader, all: &[usize], late: &mut Vec<usize>) -> Result<()> {
        for at in all {
            let entry = &self.archive.reader.entries()[*at];
            match loader.load(*at, self.weight(entry)).await {
                Err(error) if loader.may_go_later(entry, &error) => late.push(*at),
                Err(error) => loader.go_without_rows(*at, error)?,
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Loads rows that may need those of other tables, for as long as some go.
    async fn late_rows(&self, loader: &mut Loader, late: &mut Vec<usize>) -> Result<()> {
        while !late.is_empty() {
            let mut still = Vec::new();
            for at in late.iter().copied() {
                let entry = &self.archive.reader.entries()[at];
                match loader.load(at, self.weight(entry)).await {
                    Err(error) if loader.may_go_later(entry, &error) => still.push((at, error)),
                    Err(error) => loader.go_without_rows(at, error)?,
                    Ok(()) => {}
                }
            }
            let hopeless = still.len() == late.len();
            late.clear();
            for (at, error) in still {
                match hopeless {
                    true => loader.go_without_rows(at, error)?,
                    false => late.push(at),
                }
            }
        }
        Ok(())
    }
}

impl Next {
    fn count(self) -> usize {
        match self {
            Next::Few(count) | Next::Statements(count, _) => count,
            Next::Rows => 1,
        }
    }
}

impl Loader {
    /// Loads the rows of the entries at `all` within one savepoint. Where one of them fails so that it may go in another way, none
    /// are loaded.
    async fn load_few(&mut self, all: &[usize]) -> Result<bool> {
        let entries = Arc::clone(self.archive.reader.entries());
        self.client().batch_execute("SAVEPOINT few").await?;
        for at in all {
            let entry = &entries[*at];
            let rows = Stream::of_rows(Arc::clone(&self.archive.reader), entry.dump_id);
            let Err(error) = self.copy(entry, false, None, &rows).await else {
                continue;
            };
            if self.client().is_closed() || !(search_path::is_lost(&error) || self.may_go_later(entry, &error)) {
                return Err(error).with_context(|| Failed(format!("restoring {}", name_of(entry))));
            }
            self.client()
                .batch_execute("ROLLBACK TO SAVEPOINT few; RELEASE SAVEPOINT few")
                .await?;
            return Ok(false);
        }
        self.client().batch_execute("RELEASE SAVEPOINT few").await?;
        Ok(true)
    }
}

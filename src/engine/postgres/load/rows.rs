//! Rows and large objects on their way to the server.

use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Column, CopyInSink};

use super::binary::Columns;
use super::missing::{Failed, Missing, is_refused, why};
use super::name_of;
use super::search_path;
use super::session::Loader;
use super::stream::{self, Block, Stream};
use crate::archive::reader::Reader;
use crate::archive::required::LOAD_VIA_ROOT;
use crate::archive::toc::{DumpId, Entry};
use crate::error::Result;

/// Tables with less than this many bytes of rows are not worth the statements that prepare for them.
const WORTH_PREPARING: u64 = 1 << 20;

impl Loader {
    /// Loads the rows or large objects of the entry at `at`, which are about `weight` bytes, all by itself.
    pub(super) async fn load(&mut self, at: usize, weight: u64) -> Result<()> {
        let entries = Arc::clone(self.archive.reader.entries());
        let entry = &entries[at];
        let loaded = match self.archive.tolerance.keep_going {
            true => self.all_or_nothing(&entries, entry, weight).await,
            false => self.load_rows(&entries, entry, weight).await,
        };
        loaded.with_context(|| Failed(format!("restoring {}", name_of(entry))))
    }

    async fn load_rows(&mut self, entries: &[Entry], entry: &Entry, weight: u64) -> Result<()> {
        if entry.is_large_objects() {
            self.large_objects(&Stream::of_objects(Arc::clone(&self.archive.reader), entry.dump_id))
                .await
        } else if entry.copy_stmt.is_empty() {
            self.inserts(entries, entry).await
        } else {
            self.table(entry, weight).await
        }
    }

    /// The same so that a failure leaves no rows, and the session able to go on.
    async fn all_or_nothing(&mut self, entries: &[Entry], entry: &Entry, weight: u64) -> Result<()> {
        let (begin, end, back) = match (&self.archive.within, entry.copy_stmt.is_empty()) {
            (Some(_), _) => (
                "SAVEPOINT entry",
                "RELEASE SAVEPOINT entry",
                "ROLLBACK TO SAVEPOINT entry; RELEASE SAVEPOINT entry",
            ),
            (None, true) if !entry.is_large_objects() => ("BEGIN", "COMMIT", "ROLLBACK"),
            // They have a transaction of their own.
            (None, _) => ("", "", "ROLLBACK"),
        };
        if !begin.is_empty() {
            self.client().batch_execute(begin).await?;
        }
        let tried = async {
            if let Some(probe) = probe(&entry.copy_stmt) {
                self.client().batch_execute(&probe).await?;
            }
            Ok(())
        };
        let loaded = match tried.await {
            Ok(()) => self.load_rows(entries, entry, weight).await,
            Err(error) => Err(error),
        };
        match &loaded {
            Ok(()) if end.is_empty() => {}
            Ok(()) => self.client().batch_execute(end).await?,
            Err(_) if self.client().is_closed() => {}
            Err(_) => self.client().batch_execute(back).await?,
        }
        loaded
    }

    /// Loads the few rows of each of the entries at `all` in one transaction, without waiting for one COPY before the next is sent.
    /// Where one fails, no rows are left, and the session is of no use any more: a COPY that the server refuses at once leaves the
    /// driver out of step with it, and takes the answer of the next one.
    pub(super) async fn copy_few(&self, all: &[usize]) -> Result<()> {
        let entries = self.archive.reader.entries();
        let copies = all.iter().map(|at| async {
            let entry = &entries[*at];
            let blocks = stream::few(&self.archive.reader, entry.dump_id).await?;
            if blocks.is_empty() {
                return Ok(());
            }
            let mut sink = self.copy_in(entry, false, false).await?;
            for block in blocks {
                sink.send(block).await?;
            }
            sink.as_mut().finish().await?;
            Ok::<_, anyhow::Error>(())
        });
        self.client().batch_execute("BEGIN").await?;
        futures_util::future::try_join_all(copies).await?;
        self.client().batch_execute("COMMIT").await?;
        Ok(())
    }

    /// Goes on without the rows of the entry at `at`, which failed with `error`, where that is allowed.
    pub(super) fn go_without_rows(&self, at: usize, error: anyhow::Error) -> Result<()> {
        if !self.archive.tolerance.keep_going || self.client().is_closed() || !is_refused(&error) {
            return Err(error);
        }
        let entry = &self.archive.reader.entries()[at];
        self.archive.missing.add(Missing::rows(entry, why(&error)));
        Ok(())
    }

    async fn table(&mut self, entry: &Entry, weight: u64) -> Result<()> {
        // Rows of a table that refer to each other must come as one statement: binary and then text would be two.
        let worth = weight >= WORTH_PREPARING && !self.archive.keys.of_itself(entry);
        let columns = if worth { self.columns(entry).await? } else { None };
        let own = match worth && self.archive.within.is_none() {
            true => own_table(&self.archive.reader, entry).filter(|_| !self.archive.keys.concern(entry)),
            false => None,
        };
        let switch = self.archive.keys.switch(entry);
        let (begin, end, back) = match (&own, &self.archive.within) {
            // Emptied in the same transaction, the table takes rows that are frozen from the start: nothing
            // has to go over them again, and with wal_level = minimal they are not even logged.
            (Some(table), _) => (format!("BEGIN; TRUNCATE TABLE ONLY {table}"), "COMMIT", "ROLLBACK"),
            (None, Some(_)) => (
                "SAVEPOINT rows".to_owned(),
                "RELEASE SAVEPOINT rows",
                "ROLLBACK TO SAVEPOINT rows; RELEASE SAVEPOINT rows",
            ),
            // One statement is a transaction already.
            (None, None) if columns.is_none() && switch.off.is_empty() => (String::new(), "", ""),
            (None, None) => ("BEGIN".to_owned(), "COMMIT", "ROLLBACK"),
        };
        let (begin, end) = match switch.off.is_empty() {
            true => (begin, end.to_owned()),
            false => (format!("{begin}; {}", switch.off), format!("{} {end}", switch.on)),
        };
        let end = end.as_str();
        let copied = self
            .copy_between(entry, own.is_some(), columns.clone(), (&begin, end))
            .await;
        let Err(error) = copied else { return Ok(()) };
        if self.client().is_closed() {
            return Err(error);
        }
        if !search_path::is_lost(&error) {
            // Where this fails too, the first error says more.
            let _ = self.client().batch_execute(back).await;
            return Err(error);
        }
        self.client()
            .batch_execute(&format!("{back}; {}", search_path::OF_DATABASE))
            .await?;
        let again = self.copy_between(entry, own.is_some(), columns, (&begin, end)).await;
        if again.is_err() {
            let back = format!("{back}; {}", search_path::NONE);
            let _ = self.client().batch_execute(&back).await;
            return Err(error);
        }
        self.client().batch_execute(search_path::NONE).await?;
        self.tell_search_path(entry, &error);
        Ok(())
    }

    /// Whether the rows of `entry`, none of which were taken, may be taken when those of other tables are there: a check or
    /// a generated column calls a function, of which no dependency tells what it reads.
    pub(super) fn may_go_later(&self, entry: &Entry, error: &anyhow::Error) -> bool {
        let mut causes = error.chain();
        let server = causes.find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>()?.as_db_error());
        !entry.copy_stmt.is_empty()
            && !self.client().is_closed()
            && server.is_some_and(|it| {
                matches!(*it.code(), SqlState::CHECK_VIOLATION | SqlState::FOREIGN_KEY_VIOLATION)
                    || it.where_().is_some_and(|at| at.contains("function "))
            })
    }

    /// Loads all rows of a table between two statements; either may be empty.
    async fn copy_between(
        &self,
        entry: &Entry,
        freeze: bool,
        columns: Option<Columns>,
        (begin, end): (&str, &str),
    ) -> Result<()> {
        if !begin.is_empty() {
            self.client().batch_execute(begin).await?;
        }
        let rows = Stream::of_rows(Arc::clone(&self.archive.reader), entry.dump_id);
        self.copy(entry, freeze, columns, &rows).await?;
        if !end.is_empty() {
            self.client().batch_execute(end).await?;
        }
        Ok(())
    }

    /// Loads rows or large objects of the entry at `at` for as long as `rows` has some; others may do the same at the same time.
    pub(super) async fn share(&mut self, at: usize, rows: &Stream) -> Result<()> {
        let entries = Arc::clone(self.archive.reader.entries());
        let entry = &entries[at];
        let shared = async {
            if entry.is_large_objects() {
                return self.large_objects(rows).await;
            }
            let columns = self.columns(entry).await?;
            self.copy(entry, false, columns, rows).await
        };
        shared
            .await
            .with_context(|| Failed(format!("restoring {}", name_of(entry))))
    }

    /// What the rows of `entry` are made of, if they can be sent in binary. The driver knows columns by UTF-8 only.
    async fn columns(&self, entry: &Entry) -> Result<Option<Columns>> {
        if !self.all_utf8 {
            return Ok(None);
        }
        let Some((table, columns)) = target(entry) else {
            return Ok(None);
        };
        let statement = self.client().prepare(&format!("SELECT {columns} FROM {table}")).await?;
        Ok(Columns::of(statement.columns().iter().map(Column::type_)))
    }

    async fn copy_in(&self, entry: &Entry, freeze: bool, binary: bool) -> Result<Pin<Box<CopyInSink<Bytes>>>> {
        let copy = entry.copy_stmt.trim_end();
        let copy = copy.strip_suffix(';').context("its COPY is no whole statement")?;
        let mut options = Vec::new();
        if freeze {
            options.push("FREEZE");
        }
        if binary {
            options.push("FORMAT binary");
        }
        let statement = match options.as_slice() {
            [] => copy.to_owned(),
            options => format!("{copy} WITH ({})", options.join(", ")),
        };
        Ok(Box::pin(self.client().copy_in(&statement).await?))
    }

    /// Sends rows for as long as there are some: in binary where their `columns` are known, but as text from the
    /// first block on that is a long row, or has a value which only the server can read.
    pub(super) async fn copy(
        &self,
        entry: &Entry,
        freeze: bool,
        columns: Option<Columns>,
        rows: &Stream,
    ) -> Result<()> {
        let mut next = rows.next().await?;
        if let (Some(Block::Rows(_)), Some(columns)) = (&next, columns) {
            let mut sink = self.copy_in(entry, freeze, true).await?;
            sink.send(Columns::header()).await?;
            while let Some(Block::Rows(block)) = &next
                && let Some(translated) = columns.translate(block)
            {
                self.archive.progress.loaded(block.len() as u64);
                sink.send(translated).await?;
                next = rows.next().await?;
            }
            sink.send(Columns::trailer()).await?;
            sink.as_mut().finish().await?;
        }
        // Where it goes on without tables that are not there, an empty one must show that too.
        if next.is_none() && !self.archive.tolerance.keep_going {
            return Ok(());
        }
        let mut sink = self.copy_in(entry, freeze, false).await?;
        while let Some(block) = next {
            match block {
                Block::Rows(rows) => self.send_rows(&mut sink, rows).await?,
                Block::LongRow(mut pieces) => {
                    while let Some(piece) = pieces.recv().await {
                        self.send_rows(&mut sink, piece?).await?;
                    }
                }
                Block::Objects(_) | Block::LongObject(..) => bail!("large objects came instead of rows"),
            }
            next = rows.next().await?;
        }
        sink.as_mut().finish().await?;
        Ok(())
    }

    async fn send_rows(&self, sink: &mut Pin<Box<CopyInSink<Bytes>>>, rows: Bytes) -> Result<()> {
        self.archive.progress.loaded(rows.len() as u64);
        Ok(sink.send(rows).await?)
    }
}

/// The table whose rows `entry` are, quoted, when this very archive created it: only then it may be emptied.
/// Rows that go through the root of a partition tree do not belong to one table alone.
pub(super) fn own_table(reader: &Reader, entry: &Entry) -> Option<String> {
    own_table_among(|id| reader.entry(id), entry)
}

fn own_table_among<'a>(find: impl Fn(DumpId) -> Option<&'a Entry>, entry: &Entry) -> Option<String> {
    if entry.defn.starts_with(LOAD_VIA_ROOT) {
        return None;
    }
    let created = |id: &DumpId| find(*id).is_some_and(|table| table.desc == "TABLE" && table.tag == entry.tag);
    if !entry.dependencies.iter().any(created) {
        return None;
    }
    Some(target(entry)?.0.to_owned())
}

/// A query that fails where the COPY of a statement would fail at once, which leaves the driver out of step with the
/// server: it takes one answer too many for that of the next statement.
pub(super) fn probe(copy: &str) -> Option<String> {
    let name = copy.strip_prefix("COPY ")?;
    let (table, rest) = name.split_at(end_of_name(name)?);
    let columns = rest.strip_prefix(" (").and_then(|rest| rest.rsplit_once(") FROM "));
    Some(format!(
        "SELECT {} FROM {table} LIMIT 0",
        columns.map_or("", |(columns, _)| columns)
    ))
}

/// The table and the columns of an entry's COPY statement, quoted; a table without columns has none.
pub(super) fn target(entry: &Entry) -> Option<(&str, &str)> {
    let name = entry.copy_stmt.strip_prefix("COPY ")?;
    let (table, rest) = name.split_at(end_of_name(name)?);
    let columns = rest.strip_prefix(" (")?.trim_end().strip_suffix(") FROM stdin;")?;
    Some((table, columns))
}

/// Where a qualified name ends that a statement starts with: at the first space outside of quotes.
pub(super) fn end_of_name(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.find(|c| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

    #[test]
    fn what_a_copy_needs_is_asked_for_first() {
        for (copy, query) in [
            (
                "COPY s.\"a b\" (x, \"y)\") FROM stdin;\n",
                "SELECT x, \"y)\" FROM s.\"a b\" LIMIT 0",
            ),
            ("COPY s.t FROM stdin;\n", "SELECT  FROM s.t LIMIT 0"),
        ] {
            assert_eq!(probe(copy).as_deref(), Some(query));
        }
        assert_eq!(probe(""), None);
    }

    #[test]
    fn only_a_table_of_this_archive_may_be_emptied() {
        let table = Entry::new(1, "TABLE", "odd \"name", Section::PreData);
        let mut rows = Entry::new(2, "TABLE DATA", "odd \"name", Section::Data);
        rows.copy_stmt = "COPY public.\"odd \"\"name\" (a, b) FROM stdin;\n".to_owned();
        let own_table = |rows: &Entry| own_table_among(|id| (id == 1).then_some(&table), rows);
        assert_eq!(own_table(&rows), None);
        rows.dependencies = vec![1];
        assert_eq!(own_table(&rows).as_deref(), Some("public.\"odd \"\"name\""));
        rows.defn = format!("{LOAD_VIA_ROOT}public.root");
        assert_eq!(own_table(&rows), None);
    }
}

//! Rows and large objects on their way to the server.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::SinkExt as _;

use super::name_of;
use super::session::Loader;
use super::stream::Stream;
use crate::archive::raw;
use crate::archive::required::LOAD_VIA_ROOT;
use crate::archive::toc::{DumpId, Entry};
use crate::error::Result;

/// Tables with less than this many bytes of rows are not worth the statements that freeze them.
const WORTH_FREEZING: u64 = 1 << 20;

impl Loader {
    /// Loads the rows or large objects of the entry at `at`, which are about `weight` bytes, all by itself.
    pub(super) async fn load(&mut self, at: usize, weight: u64) -> Result<()> {
        let entries = Arc::clone(self.archive.reader.entries());
        let entry = &entries[at];
        let loaded = if entry.is_large_objects() {
            self.large_objects(entry.dump_id).await
        } else if entry.copy_stmt.is_empty() {
            self.inserts(&entries, entry).await
        } else {
            self.table(&entries, entry, weight).await
        };
        loaded.with_context(|| format!("restoring {}", name_of(entry)))
    }

    async fn table(&mut self, entries: &[Entry], entry: &Entry, weight: u64) -> Result<()> {
        let table = match weight >= WORTH_FREEZING && self.archive.within.is_none() {
            true => own_table(entries, entry),
            false => None,
        };
        let copy = self.copy_statement(entry, table.is_some()).await?;
        if let Some(table) = &table {
            // Emptied in the same transaction, the table takes rows that are frozen from the start: nothing
            // has to go over them again, and with wal_level = minimal they are not even logged.
            let table = self.text(&raw::encode(table)).await?;
            self.client()
                .batch_execute(&format!("BEGIN; TRUNCATE TABLE ONLY {table}"))
                .await?;
        }
        let rows = Stream::open(Arc::clone(&self.archive.reader), entry.dump_id);
        self.copy(&copy, &rows).await?;
        if table.is_some() {
            self.client().batch_execute("COMMIT").await?;
        }
        Ok(())
    }

    /// Loads rows of the entry at `at` for as long as `rows` has some; others may do the same at the same time.
    pub(super) async fn share(&mut self, at: usize, rows: &Stream) -> Result<()> {
        let entries = Arc::clone(self.archive.reader.entries());
        let entry = &entries[at];
        let shared = async {
            let copy = self.copy_statement(entry, false).await?;
            self.copy(&copy, rows).await
        };
        shared.await.with_context(|| format!("restoring {}", name_of(entry)))
    }

    async fn copy_statement(&self, entry: &Entry, freeze: bool) -> Result<String> {
        let copy = self.text(&raw::encode(&entry.copy_stmt)).await?;
        let Some(copy) = copy.trim_end().strip_suffix(';') else {
            bail!("its rows are INSERT statements, which only pg_restore loads");
        };
        let mut options = Vec::new();
        if self.encoding.name != "UTF8" {
            options.push(format!("ENCODING '{}'", self.encoding.name));
        }
        if freeze {
            options.push("FREEZE".to_owned());
        }
        Ok(match options.as_slice() {
            [] => copy.to_owned(),
            options => format!("{copy} WITH ({})", options.join(", ")),
        })
    }

    async fn copy(&self, statement: &str, rows: &Stream) -> Result<()> {
        let sink = self.client().copy_in::<_, Bytes>(statement).await?;
        tokio::pin!(sink);
        while let Some(block) = rows.next().await? {
            self.archive.progress.loaded(block.len() as u64);
            sink.send(block).await?;
        }
        sink.finish().await?;
        Ok(())
    }

    async fn large_objects(&mut self, id: DumpId) -> Result<()> {
        let mut objects = self.archive.reader.large_objects(id).await?;
        let own = self.archive.within.is_none();
        if own {
            self.client().batch_execute("BEGIN").await?;
        }
        let put = self.client().prepare("SELECT pg_catalog.lo_put($1, $2, $3)").await?;
        while let Some(oid) = objects.next_object().await? {
            let mut offset: i64 = 0;
            while let Some(piece) = objects.next().await? {
                self.client().query(&put, &[&oid, &offset, &piece.as_ref()]).await?;
                self.archive.progress.loaded(piece.len() as u64);
                offset += i64::try_from(piece.len())?;
            }
        }
        if own {
            self.client().batch_execute("COMMIT").await?;
        }
        Ok(())
    }
}

/// The table whose rows `entry` are, quoted, when this very archive created it: only then it may be emptied.
/// Rows that go through the root of a partition tree do not belong to one table alone.
fn own_table(entries: &[Entry], entry: &Entry) -> Option<String> {
    if entry.defn.starts_with(LOAD_VIA_ROOT) {
        return None;
    }
    let created = |id: &DumpId| {
        entries
            .iter()
            .any(|table| table.dump_id == *id && table.desc == "TABLE" && table.tag == entry.tag)
    };
    if !entry.dependencies.iter().any(created) {
        return None;
    }
    let name = entry.copy_stmt.strip_prefix("COPY ")?;
    end_of_name(name).map(|end| name[..end].to_owned())
}

/// Where a qualified name ends that a statement starts with: at the first space outside of quotes.
fn end_of_name(text: &str) -> Option<usize> {
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
    fn only_a_table_of_this_archive_may_be_emptied() {
        let table = Entry::new(1, "TABLE", "odd \"name", Section::PreData);
        let mut rows = Entry::new(2, "TABLE DATA", "odd \"name", Section::Data);
        rows.copy_stmt = "COPY public.\"odd \"\"name\" (a, b) FROM stdin;\n".to_owned();
        assert_eq!(own_table(std::slice::from_ref(&table), &rows), None);
        rows.dependencies = vec![1];
        assert_eq!(
            own_table(std::slice::from_ref(&table), &rows).as_deref(),
            Some("public.\"odd \"\"name\"")
        );
        rows.defn = format!("{LOAD_VIA_ROOT}public.root");
        assert_eq!(own_table(&[table], &rows), None);
    }
}

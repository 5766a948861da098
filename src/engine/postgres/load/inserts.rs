//! Rows that an archive has as INSERT statements, as `pg_dump --inserts` writes them.

use crate::archive::script::{Piece, Reading, of_insert};
use crate::archive::toc::Entry;
use crate::error::{Exit, Fail, Result};
use crate::raw_text;

use super::session::Loader;

/// Bytes of statements that are sent together, about: as one transaction, of which a failure loses all.
const BATCH_BYTES: usize = 256 << 10;

impl Loader {
    /// Runs the INSERT statements that are the rows of `entry`.
    pub(super) async fn inserts(&self, entries: &[Entry], entry: &Entry) -> Result<()> {
        let rows = self.archive.reader.rows(entry.dump_id).await?;
        let mut reading = Reading::of_entry(rows, entries);
        let mut batch = Vec::new();
        while let Some(piece) = reading.next().await? {
            let Piece::Statement(statement, kind) = piece else {
                continue;
            };
            if let Some(why) = of_insert(&statement, &kind) {
                let message = format!("line {} of the rows of {}: {why}", statement.line, entry.tag);
                return Err(Fail::new(Exit::Damaged, message).into());
            }
            if batch.len() + statement.text.len() > BATCH_BYTES {
                self.send(&batch).await?;
                batch.clear();
            }
            match statement.text.len() > BATCH_BYTES {
                // One that is large goes as it is.
                true => self.send(&statement.text).await?,
                false => batch.extend_from_slice(&statement.text),
            }
        }
        self.send(&batch).await
    }

    async fn send(&self, batch: &[u8]) -> Result<()> {
        let sql = raw_text::decode(batch);
        self.client().batch_execute(&sql).await?;
        self.archive.progress.loaded(batch.len() as u64);
        Ok(())
    }
}

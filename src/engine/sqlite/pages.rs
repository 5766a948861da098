//! The pages of a database on their way into an archive: read in order by one thread, compressed in segments by others, and
//! handed over in order. What is on its way at once is bounded, whatever the size of the database.

use bytes::Bytes;
use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::Result;
use crate::seal::{Chunks, Codec, SegmentCompressor, SegmentEnd};

/// How many bytes of pages are one segment, about.
const SEGMENT: usize = 1 << 20;

/// More threads than this compress no faster than one connection reads.
const MOST_THREADS: usize = 4;

/// A segment that is compressed just now: its bytes, and what joins it to the others.
pub type Coming = JoinHandle<Result<(Vec<Bytes>, SegmentEnd)>>;

/// Takes pages in and lets them be compressed.
pub struct Pages {
    codec: Codec,
    chunks: Chunks,
    runtime: Handle,
    to: mpsc::Sender<Coming>,
    segment: Vec<u8>,
}

/// Nobody takes the segments any more: the run was given up.
#[derive(Debug, thiserror::Error)]
#[error("the backup was given up")]
pub struct GivenUp;

impl Pages {
    /// A way for pages, and its other end, on which segments come in order.
    #[must_use]
    pub fn new(codec: Codec, runtime: Handle) -> (Self, mpsc::Receiver<Coming>) {
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MOST_THREADS);
        let (to, from) = mpsc::channel(threads);
        let pages = Pages {
            codec,
            chunks: Chunks::default(),
            runtime,
            to,
            segment: Vec::new(),
        };
        (pages, from)
    }

    /// Reads all pages within the transaction that `open` is in. Blocks: not for async tasks. Returns how many bytes there
    /// were; `read` hears of them as they come.
    ///
    /// # Errors
    /// SQLite's, or pages are missing, or the run was given up.
    pub fn read(mut self, open: &Connection, page_size: u32, count: u64, read: &dyn Fn(u64)) -> Result<u64> {
        let mut statement = open.prepare("SELECT pgno, data FROM sqlite_dbpage('main') ORDER BY pgno")?;
        let mut rows = statement.query([])?;
        let mut pages = 0u64;
        while let Some(row) = rows.next()? {
            let (number, data): (i64, _) = (row.get(0)?, row.get_ref(1)?.as_blob()?);
            pages += 1;
            anyhow::ensure!(
                u64::try_from(number).ok() == Some(pages) && data.len() == page_size as usize,
                "page {pages} of the database is missing or cut"
            );
            if self.segment.is_empty() {
                self.segment.reserve_exact(SEGMENT + data.len());
            }
            self.segment.extend_from_slice(data);
            if self.segment.len() >= SEGMENT {
                read(self.segment.len() as u64);
                self.send()?;
            }
        }
        anyhow::ensure!(
            pages == count,
            "only {pages} of the {count} pages of the database could be read"
        );
        if !self.segment.is_empty() {
            read(self.segment.len() as u64);
            self.send()?;
        }
        Ok(pages * u64::from(page_size))
    }

    fn send(&mut self) -> Result<(), GivenUp> {
        let segment = std::mem::take(&mut self.segment);
        let (codec, chunks) = (self.codec, self.chunks.clone());
        let coming = self
            .runtime
            .spawn_blocking(move || SegmentCompressor::whole(&segment, &codec, &chunks));
        self.to.blocking_send(coming).map_err(|_| GivenUp)
    }
}

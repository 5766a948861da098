//! Where the bytes of an archive are read from.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use bytes::{Buf as _, Bytes};

use crate::error::Result;

/// What a [`Source`] can read that is neither a file nor in memory.
#[async_trait]
pub trait Ranges: Send + Sync {
    /// Reads exactly `range`.
    async fn read(&self, range: Range<u64>) -> Result<Bytes>;
}

/// Bytes that can be read from anywhere, again and again; clones read the same.
#[derive(Clone)]
pub struct Source {
    from: From,
    len: u64,
}

#[derive(Clone)]
enum From {
    File(Arc<File>),
    Ranges(Arc<dyn Ranges>),
    Memory(Bytes),
}

impl Source {
    /// A local file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn file(path: &Path) -> Result<Self> {
        Source::opened(File::open(path).with_context(|| format!("opening {}", path.display()))?)
    }

    /// A file that is open.
    ///
    /// # Errors
    /// Its size cannot be asked for.
    pub fn opened(file: File) -> Result<Self> {
        let len = file.metadata()?.len();
        Ok(Source {
            from: From::File(Arc::new(file)),
            len,
        })
    }

    /// `len` bytes that are read by range.
    #[must_use]
    pub fn ranges(ranges: Arc<dyn Ranges>, len: u64) -> Self {
        Source {
            from: From::Ranges(ranges),
            len,
        }
    }

    /// Bytes in memory.
    #[must_use]
    pub fn memory(bytes: Bytes) -> Self {
        Source {
            len: bytes.len() as u64,
            from: From::Memory(bytes),
        }
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads `range`.
    ///
    /// # Errors
    /// The range goes beyond the end, or reading fails.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        ensure!(
            range.start <= range.end && range.end <= self.len,
            "the archive ends too early"
        );
        let len = usize::try_from(range.end - range.start)?;
        match &self.from {
            From::File(file) => {
                let file = Arc::clone(file);
                let read = move || -> Result<Bytes> {
                    let mut bytes = vec![0; len];
                    file.read_exact_at(&mut bytes, range.start)
                        .context("reading the archive")?;
                    Ok(bytes.into())
                };
                tokio::task::spawn_blocking(read).await?
            }
            From::Ranges(ranges) => ranges.read(range).await,
            From::Memory(bytes) => {
                let start = usize::try_from(range.start)?;
                Ok(bytes.slice(start..start + len))
            }
        }
    }
}

/// Reads a [`Source`] from some position on, in large steps.
pub struct Cursor {
    source: Source,
    /// Where the next step starts.
    next: u64,
    end: u64,
    step: u64,
    buffer: Bytes,
}

/// How much is read in one step at most.
const STEP: u64 = 1 << 20;
/// The first step is smaller, because many entries are; each following one is twice as large.
const FIRST_STEP: u64 = 64 << 10;

impl Cursor {
    /// Reads from `range.start` on, and nothing beyond `range.end` or the end of the source.
    #[must_use]
    pub fn new(source: Source, range: Range<u64>) -> Self {
        let end = range.end.min(source.len());
        Cursor {
            next: range.start.min(end),
            end,
            source,
            step: FIRST_STEP,
            buffer: Bytes::new(),
        }
    }

    /// Where the next byte comes from.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next - self.buffer.len() as u64
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.end - self.position()
    }

    /// Some bytes, at least one and at most `most`; none at the end.
    ///
    /// # Errors
    /// Reading fails.
    pub async fn some(&mut self, most: u64) -> Result<Bytes> {
        if self.buffer.is_empty() {
            self.fill(1).await?;
        }
        let len = usize::try_from(most)?.min(self.buffer.len());
        Ok(self.buffer.split_to(len))
    }

    /// Looks at what comes next: at least `least` bytes, unless the end is nearer.
    ///
    /// # Errors
    /// Reading fails.
    pub async fn peek(&mut self, least: usize) -> Result<&[u8]> {
        if self.buffer.len() < least {
            self.fill(least).await?;
        }
        Ok(&self.buffer)
    }

    /// Passes over `len` bytes.
    ///
    /// # Errors
    /// There are not so many.
    pub fn skip(&mut self, len: u64) -> Result<()> {
        ensure!(len <= self.remaining(), "the archive ends too early");
        match usize::try_from(len) {
            Ok(len) if len <= self.buffer.len() => self.buffer.advance(len),
            _ => {
                self.next = self.position() + len;
                self.buffer = Bytes::new();
            }
        }
        Ok(())
    }

    async fn fill(&mut self, least: usize) -> Result<()> {
        let want = self.step.max(least as u64).min(self.end - self.next);
        self.step = (self.step * 2).min(STEP);
        let more = self.source.read(self.next..self.next + want).await?;
        self.next += want;
        self.buffer = match self.buffer.is_empty() {
            true => more,
            false => [self.buffer.as_ref(), &more].concat().into(),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cursor_reads_every_byte_once() {
        let bytes: Bytes = (0..3_000_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
        let mut cursor = Cursor::new(Source::memory(bytes.clone()), 10..2_999_999);
        assert_eq!(cursor.peek(5).await.unwrap()[..5], bytes[10..15]);
        cursor.skip(1_000_000).unwrap();
        assert_eq!(cursor.position(), 1_000_010);
        let mut read = Vec::new();
        loop {
            let some = cursor.some(70_000).await.unwrap();
            if some.is_empty() {
                break;
            }
            read.extend_from_slice(&some);
        }
        assert!(read == bytes[1_000_010..2_999_999]);
        assert!(cursor.skip(1).is_err());
    }
}

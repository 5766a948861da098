//! The rows of one table on their way to several connections.
//!
//! One thread reads and decompresses, a little ahead of the server, and cuts what it gets into blocks of whole
//! rows; whoever is ready takes the next one. So the rows of a table lie in another order than they were
//! dumped in, as they do after any update: what proves them is the sum of their hashes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memchr::memrchr;
use tokio::sync::{Mutex, mpsc};

use crate::archive::reader::Reader;
use crate::archive::toc::DumpId;
use crate::error::Result;

/// Blocks that wait for the server, at most.
const AHEAD: usize = 4;
/// Bytes of a block, about; a row that is longer makes a longer one.
const BLOCK: usize = 256 << 10;

/// Blocks of whole rows, for as many connections as want some.
pub(super) struct Stream {
    blocks: Mutex<mpsc::Receiver<Result<Bytes>>>,
}

impl Stream {
    /// Starts to read the rows of the entry `id`.
    pub(super) fn open(reader: Arc<Reader>, id: DumpId) -> Self {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = runtime.block_on(pump(&reader, id, &sender)) {
                // Nobody listens any more when the load has failed already.
                let _ = runtime.block_on(sender.send(Err(error)));
            }
        });
        Stream {
            blocks: Mutex::new(receiver),
        }
    }

    /// The next block; `None` when all were taken.
    pub(super) async fn next(&self) -> Result<Option<Bytes>> {
        self.blocks.lock().await.recv().await.transpose()
    }
}

async fn pump(reader: &Reader, id: DumpId, sender: &mpsc::Sender<Result<Bytes>>) -> Result<()> {
    let mut rows = reader.rows(id).await?;
    let mut blocks = Blocks::default();
    while let Some(piece) = rows.next().await? {
        if let Some(block) = blocks.add(&piece)
            && sender.send(Ok(block)).await.is_err()
        {
            return Ok(());
        }
    }
    if let Some(rest) = blocks.end() {
        let _ = sender.send(Ok(rest)).await;
    }
    Ok(())
}

/// Cuts COPY text, whose only line feeds are the ends of rows, into blocks of whole rows. The line that ends the
/// rows is left out, with what follows it: only the connection that got it would know that they end.
#[derive(Default)]
struct Blocks {
    buffer: BytesMut,
    /// Where the last whole row of the buffer ends.
    whole: usize,
    ended: bool,
}

/// The line that ends rows.
const END: &[u8] = b"\\.\n";

impl Blocks {
    /// Takes in the next piece of text; returns a block when there is enough.
    fn add(&mut self, piece: &[u8]) -> Option<Bytes> {
        if let Some(at) = memrchr(b'\n', piece) {
            self.whole = self.buffer.len() + at + 1;
        }
        self.buffer.extend_from_slice(piece);
        if self.whole < BLOCK {
            return None;
        }
        let block = self.buffer.split_to(std::mem::take(&mut self.whole));
        self.buffer.reserve(BLOCK);
        self.rows_of(block)
    }

    /// What is left at the end.
    fn end(mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.buffer);
        self.rows_of(rest)
    }

    fn rows_of(&mut self, mut block: BytesMut) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        // Rows of one column may be empty lines, but none is the end.
        let lines = block.len() - block.iter().rev().take_while(|byte| **byte == b'\n').count();
        let text = &block[..block.len().min(lines + 1)];
        if text.ends_with(END) && (text.len() == END.len() || text[text.len() - END.len() - 1] == b'\n') {
            self.ended = true;
            block.truncate(text.len() - END.len());
        }
        (!block.is_empty()).then(|| block.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &[u8], step: usize) -> Vec<Bytes> {
        let mut blocks = Blocks::default();
        let mut cut: Vec<Bytes> = text.chunks(step).filter_map(|piece| blocks.add(piece)).collect();
        cut.extend(blocks.end());
        cut
    }

    #[test]
    fn blocks_are_whole_rows_and_all_of_them() {
        let rows: Vec<u8> = (0..200_000u32)
            .flat_map(|n| format!("{n}\t{}\n", "x".repeat(n as usize % 50)).into_bytes())
            .chain(std::iter::repeat_n(b'y', 3 * BLOCK))
            .chain(*b"\n")
            .collect();
        let text = [&rows, &b"\\.\n\n\n"[..]].concat();
        for step in [1_000, 65_536, text.len()] {
            let blocks = cut(&text, step);
            assert!(blocks.iter().all(|block| block.ends_with(b"\n")));
            assert!(blocks.len() > 1 || step == text.len());
            assert!(blocks.concat() == rows);
        }
    }

    #[test]
    fn nothing_comes_after_the_end_wherever_the_pieces_are_cut() {
        let rows = [&b"z".repeat(BLOCK)[..], b"\n\n\n"].concat();
        let text = [&rows, &b"\\.\n\n\n"[..]].concat();
        for at in text.len() - 8..text.len() {
            let mut blocks = Blocks::default();
            let mut cut: Vec<Bytes> = [&text[..at], &text[at..]]
                .iter()
                .filter_map(|piece| blocks.add(piece))
                .collect();
            cut.extend(blocks.end());
            assert!(cut.concat() == rows, "cut at {at}");
        }
        assert!(cut(b"\\.\n\n\n", 100).is_empty());
        assert_eq!(cut(b"a\\.\n", 100), [b"a\\.\n".as_slice()]);
    }
}

//! The rows of one table, or large objects, on their way to several connections.
//!
//! One thread reads and decompresses, a little ahead of the server, and cuts what it gets into blocks of whole
//! rows; whoever is ready takes the next one. A row of many megabytes is a block whose bytes follow one after the other. So the rows of a table lie in another order than they were
//! dumped in, as they do after any update: what proves them is the sum of their hashes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memrchr};
use tokio::sync::{Mutex, mpsc};

use super::objects::{self, Pieces};
use crate::archive::data::Rows;
use crate::archive::reader::Reader;
use crate::archive::toc::DumpId;
use crate::error::Result;

/// Blocks that wait for the server, at most.
pub(super) const AHEAD: usize = 4;
/// Bytes of a block of several rows, about.
const BLOCK: usize = 256 << 10;
/// A row with more bytes than this goes piece by piece: it may have hundreds of megabytes.
pub(super) const LONG_ROW: usize = 1 << 20;

/// Blocks of whole rows or large objects, for as many connections as want some.
pub(super) struct Stream {
    blocks: Mutex<mpsc::Receiver<Result<Block>>>,
}

/// What one connection takes.
#[derive(Debug)]
pub(super) enum Block {
    /// Whole rows.
    Rows(Bytes),
    /// One long row, whose pieces are still coming: whoever took its start takes all of them.
    LongRow(mpsc::Receiver<Result<Bytes>>),
    /// Whole large objects.
    Objects(Pieces),
    /// Some, and the start of a long one, whose other pieces are still coming.
    LongObject(Pieces, mpsc::Receiver<Result<Pieces>>),
}

impl Stream {
    /// Starts to read the large objects of the entry `id`.
    pub(super) fn of_objects(reader: Arc<Reader>, id: DumpId) -> Self {
        Stream::open(async move |sender| {
            if let Err(error) = objects::read(&reader, id, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        })
    }

    /// Starts to read the rows of the entry `id`.
    pub(super) fn of_rows(reader: Arc<Reader>, id: DumpId) -> Self {
        Stream::open(async move |sender| {
            let rows = reader.rows(id).await;
            let mut pump = Pump::new(sender);
            let pumped = match rows {
                Ok(rows) => pump.all(rows).await,
                Err(error) => Err(error),
            };
            if let Err(error) = pumped {
                pump.fail(error).await;
            }
        })
    }

    /// Has a thread read, which decompresses too.
    fn open(read: impl AsyncFnOnce(mpsc::Sender<Result<Block>>) + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || runtime.block_on(read(sender)));
        Stream {
            blocks: Mutex::new(receiver),
        }
    }

    /// The next block; `None` when all were taken.
    pub(super) async fn next(&self) -> Result<Option<Block>> {
        self.blocks.lock().await.recv().await.transpose()
    }
}

/// The rows of the entry `id`, which are few, in blocks of whole rows.
///
/// # Errors
/// The archive is damaged, or they are not few.
pub(super) async fn few(reader: &Reader, id: DumpId) -> Result<Vec<Bytes>> {
    let mut rows = reader.rows(id).await?;
    let (mut blocks, mut found) = (Blocks::default(), Vec::new());
    while let Some(piece) = rows.next().await? {
        found.extend(blocks.add(&piece));
        anyhow::ensure!(
            found.len() < AHEAD && blocks.long_row().is_none(),
            "the archive has more rows than its manifest"
        );
    }
    found.extend(blocks.end());
    Ok(found)
}

/// Hands blocks to the connections.
struct Pump {
    sender: mpsc::Sender<Result<Block>>,
    /// Takes the pieces of the long row that is under way.
    long: Option<mpsc::Sender<Result<Bytes>>>,
    blocks: Blocks,
}

/// Nobody listens any more: the load has failed already.
pub(super) struct Unheard;

impl Pump {
    fn new(sender: mpsc::Sender<Result<Block>>) -> Self {
        Pump {
            sender,
            long: None,
            blocks: Blocks::default(),
        }
    }

    async fn all(&mut self, mut rows: Rows) -> Result<()> {
        while let Some(piece) = rows.next().await? {
            if self.piece(piece).await.is_err() {
                return Ok(());
            }
        }
        if let Some(rest) = self.blocks.end() {
            let _ = self.rows(rest).await;
        }
        Ok(())
    }

    async fn piece(&mut self, mut piece: Bytes) -> Result<(), Unheard> {
        if let Some(long) = &self.long {
            let end = memchr(b'\n', &piece);
            let rest = piece.split_to(end.map_or(piece.len(), |end| end + 1));
            long.send(Ok(rest)).await.map_err(|_| Unheard)?;
            if end.is_none() {
                return Ok(());
            }
            self.long = None;
        }
        if let Some(block) = self.blocks.add(&piece) {
            self.rows(block).await?;
        }
        if let Some((before, start)) = self.blocks.long_row() {
            if let Some(before) = before {
                self.rows(before).await?;
            }
            let (sender, receiver) = mpsc::channel(AHEAD);
            self.sender
                .send(Ok(Block::LongRow(receiver)))
                .await
                .map_err(|_| Unheard)?;
            sender.send(Ok(start)).await.map_err(|_| Unheard)?;
            self.long = Some(sender);
        }
        Ok(())
    }

    async fn rows(&self, rows: Bytes) -> Result<(), Unheard> {
        self.sender.send(Ok(Block::Rows(rows))).await.map_err(|_| Unheard)
    }

    /// Tells why there is no more: whoever takes a long row must not think that it ends there.
    async fn fail(self, error: anyhow::Error) {
        let _ = match self.long {
            Some(long) => long.send(Err(error)).await.is_ok(),
            None => self.sender.send(Err(error)).await.is_ok(),
        };
    }
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

    /// The whole rows and the start of a row behind them, when so much of it is there that it is a long one.
    fn long_row(&mut self) -> Option<(Option<Bytes>, Bytes)> {
        if self.buffer.len() - self.whole <= LONG_ROW {
            return None;
        }
        let before = self.buffer.split_to(std::mem::take(&mut self.whole));
        let start = std::mem::take(&mut self.buffer).freeze();
        Some((self.rows_of(before), start))
    }

    /// What is left at the end.
    fn end(&mut self) -> Option<Bytes> {
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

    /// The blocks of `text`, of which `pieces` come, and how many of them are long rows.
    async fn cut(pieces: impl IntoIterator<Item = &[u8]>) -> (Vec<Bytes>, usize) {
        let (sender, mut receiver) = mpsc::channel(AHEAD);
        let pieces: Vec<Bytes> = pieces.into_iter().map(Bytes::copy_from_slice).collect();
        tokio::spawn(async move {
            let mut pump = Pump::new(sender);
            for piece in pieces {
                assert!(pump.piece(piece).await.is_ok());
            }
            if let Some(rest) = pump.blocks.end() {
                assert!(pump.rows(rest).await.is_ok());
            }
        });
        let (mut blocks, mut long) = (Vec::new(), 0);
        while let Some(block) = receiver.recv().await {
            match block.unwrap() {
                Block::Rows(rows) => blocks.push(rows),
                Block::LongRow(mut pieces) => {
                    let mut row = Vec::new();
                    while let Some(piece) = pieces.recv().await {
                        row.extend(piece.unwrap());
                    }
                    blocks.push(row.into());
                    long += 1;
                }
                Block::Objects(_) | Block::LongObject(..) => panic!("rows were read"),
            }
        }
        (blocks, long)
    }

    #[tokio::test]
    async fn blocks_are_whole_rows_and_all_of_them() {
        let rows: Vec<u8> = (0..200_000u32)
            .flat_map(|n| format!("{n}\t{}\n", "x".repeat(n as usize % 50)).into_bytes())
            .chain(std::iter::repeat_n(b'y', 3 * BLOCK))
            .chain(*b"\n")
            .collect();
        let text = [&rows, &b"\\.\n\n\n"[..]].concat();
        for step in [1_000, 65_536, text.len()] {
            let (blocks, long) = cut(text.chunks(step)).await;
            assert!(blocks.iter().all(|block| block.ends_with(b"\n")));
            assert!(blocks.len() > 1 || step == text.len());
            assert!(blocks.concat() == rows && long == 0);
        }
    }

    #[tokio::test]
    async fn long_rows_are_not_held() {
        let long = [&vec![b'x'; 3 * LONG_ROW][..], b"\n"].concat();
        let rows = [b"1\n", &long[..], b"2\n", &long, &long, b"3\n"].concat();
        let text = [&rows, &b"\\.\n\n\n"[..]].concat();
        for step in [4_000, 65_536, LONG_ROW - 1] {
            let (blocks, found) = cut(text.chunks(step)).await;
            assert!(blocks.iter().all(|block| block.ends_with(b"\n")));
            assert!(blocks.concat() == rows && found == 3, "{step}: {found}");
        }
    }

    #[tokio::test]
    async fn a_long_row_that_cannot_be_read_does_not_seem_to_end() {
        let (sender, mut receiver) = mpsc::channel(AHEAD);
        let mut pump = Pump::new(sender);
        assert!(pump.piece(vec![b'x'; LONG_ROW + 1].into()).await.is_ok());
        pump.fail(anyhow::anyhow!("broken")).await;
        let Some(Ok(Block::LongRow(mut pieces))) = receiver.recv().await else {
            panic!("no long row");
        };
        assert!(pieces.recv().await.unwrap().is_ok());
        assert!(pieces.recv().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn nothing_comes_after_the_end_wherever_the_pieces_are_cut() {
        let rows = [&b"z".repeat(BLOCK)[..], b"\n\n\n"].concat();
        let text = [&rows, &b"\\.\n\n\n"[..]].concat();
        for at in text.len() - 8..text.len() {
            let (blocks, _) = cut([&text[..at], &text[at..]]).await;
            assert!(blocks.concat() == rows, "cut at {at}");
        }
        assert!(cut([&b"\\.\n\n\n"[..]]).await.0.is_empty());
        assert_eq!(cut([&b"a\\.\n"[..]]).await.0, [b"a\\.\n".as_slice()]);
    }
}

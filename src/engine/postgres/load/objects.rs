//! Large objects on their way to several connections: one thread reads and decompresses them, and whoever is ready takes the
//! next ones, many with one statement. All bytes of an object go over one connection, because two cannot write one page of it.

use anyhow::Context as _;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_postgres::Statement;

use super::session::Loader;
use super::stream::{AHEAD, Block, LONG_ROW, Unheard};
use crate::archive::data::LargeObjects;
use crate::archive::reader::Reader;
use crate::archive::toc::DumpId;
use crate::error::Result;

/// Large objects that are written with one statement, at most.
const TOGETHER: usize = 1000;

/// Pieces of large objects that are written together: whole objects, but where they are the start of a long one.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    oids: Vec<u32>,
    offsets: Vec<i64>,
    data: Vec<Bytes>,
    bytes: usize,
}

impl Pieces {
    fn add(&mut self, oid: u32, offset: i64, piece: Bytes) {
        self.oids.push(oid);
        self.offsets.push(offset);
        self.bytes += piece.len();
        self.data.push(piece);
    }
}

/// Reads the large objects of the entry `id` and hands them to the connections that take the blocks.
pub(super) async fn read(reader: &Reader, id: DumpId, sender: &mpsc::Sender<Result<Block>>) -> Result<()> {
    let mut objects = reader.large_objects(id).await?;
    let mut together = Pieces::default();
    while let Some(oid) = objects.next_object().await? {
        let before = together.bytes;
        let mut offset = 0;
        while let Some(piece) = objects.next().await? {
            let size = piece.len();
            together.add(oid, offset, piece);
            offset += i64::try_from(size)?;
            if together.bytes - before > LONG_ROW {
                let (long, pieces) = mpsc::channel(AHEAD);
                let block = Block::LongObject(std::mem::take(&mut together), pieces);
                if sender.send(Ok(block)).await.is_err() || rest(&mut objects, oid, offset, long).await.is_err() {
                    return Ok(());
                }
                break;
            }
        }
        if together.bytes > LONG_ROW || together.oids.len() >= TOGETHER {
            let block = Block::Objects(std::mem::take(&mut together));
            if sender.send(Ok(block)).await.is_err() {
                return Ok(());
            }
        }
    }
    let _ = sender.send(Ok(Block::Objects(together))).await;
    Ok(())
}

/// Reads the rest of a long object.
async fn rest(
    objects: &mut LargeObjects,
    oid: u32,
    mut offset: i64,
    sender: mpsc::Sender<Result<Pieces>>,
) -> Result<(), Unheard> {
    loop {
        let mut pieces = Pieces::default();
        while pieces.bytes < LONG_ROW {
            let next = match objects.next().await {
                Ok(next) => next,
                // Whoever writes the object must not think that it ends here.
                Err(error) => return sender.send(Err(error)).await.map_err(|_| Unheard),
            };
            let Some(piece) = next else {
                return sender.send(Ok(pieces)).await.map_err(|_| Unheard);
            };
            let size = i64::try_from(piece.len()).map_err(|_| Unheard)?;
            pieces.add(oid, offset, piece);
            offset += size;
        }
        sender.send(Ok(pieces)).await.map_err(|_| Unheard)?;
    }
}

impl Loader {
    /// Writes large objects for as long as there are some; others may do the same at the same time.
    pub(super) async fn large_objects(&self, blocks: &super::stream::Stream) -> Result<()> {
        let own = self.archive.within.is_none();
        if own {
            self.client().batch_execute("BEGIN").await?;
        }
        let put = self.client().prepare(PUT).await?;
        while let Some(block) = blocks.next().await? {
            match block {
                Block::Objects(pieces) => self.put(&put, pieces).await?,
                Block::LongObject(start, mut pieces) => {
                    self.put(&put, start).await?;
                    while let Some(pieces) = pieces.recv().await {
                        self.put(&put, pieces?).await?;
                    }
                }
                Block::Rows(_) | Block::LongRow(_) => anyhow::bail!("rows came instead of large objects"),
            }
        }
        if own {
            self.client().batch_execute("COMMIT").await?;
        }
        Ok(())
    }

    async fn put(&self, put: &Statement, pieces: Pieces) -> Result<()> {
        if pieces.oids.is_empty() {
            return Ok(());
        }
        let data: Vec<&[u8]> = pieces.data.iter().map(AsRef::as_ref).collect();
        self.client()
            .query_one(put, &[&pieces.oids, &pieces.offsets, &data])
            .await
            .context("writing large objects")?;
        self.archive.progress.loaded(pieces.bytes as u64);
        Ok(())
    }
}

/// Writes pieces of large objects in their order.
const PUT: &str = "\
SELECT pg_catalog.count(pg_catalog.lo_put(o, p, d)) FROM ROWS FROM (
    pg_catalog.unnest($1::pg_catalog.oid[]), pg_catalog.unnest($2::pg_catalog.int8[]),
    pg_catalog.unnest($3::pg_catalog.bytea[])) AS pieces(o, p, d)";

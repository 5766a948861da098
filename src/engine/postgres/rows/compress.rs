//! The thread of a worker: hashes rows, turns them into what the archive holds, compresses them.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::gate::Gate;
use super::inserts::{InsertWriter, Out};
use super::unit::{Piece, Unit, Work};
use crate::engine::postgres::options::Inserts;
use crate::error::Result;
use crate::row_hash::{ObjectHash, RowHash};
use crate::seal::{Chunks, Codec, SegmentCompressor};
use crate::sql::quote::Quote;

/// What the connection hands to the thread.
pub(super) enum Read {
    /// What follows belongs to this unit.
    Begin(Unit),
    /// Whole rows of COPY text, how many they are by the server's messages, and the room that they take.
    Rows(Bytes, u64, OwnedSemaphorePermit),
    /// Large objects by OID, each of them whole.
    Objects(Vec<(u32, Bytes)>),
    BeginObject(u32),
    /// Bytes of a large object.
    Bytes(Bytes),
    EndObject,
    /// The unit is complete.
    End,
}

/// How rows become what the archive holds.
#[derive(Clone)]
pub(super) struct Form {
    pub(super) codec: Codec,
    /// Where the compressed bytes are.
    pub(super) chunks: Chunks,
    pub(super) inserts: Option<Inserts>,
    pub(super) quote: Quote,
    /// What is read is hashed, and goes nowhere.
    pub(super) hash_only: bool,
}

/// Bytes that are compressed at a time, at most.
const PIECE: usize = 256 << 10;
/// What ends the rows of a table in an archive.
const END_OF_COPY: &[u8] = b"\\.\n\n\n";
const END_OF_INSERTS: &[u8] = b"\n\n";

/// Runs until the connection's side is closed.
///
/// # Errors
/// Compression fails, counts differ, or the dump was given up.
pub(super) fn run(mut reads: mpsc::Receiver<Vec<Read>>, form: &Form, gate: &Arc<Gate>) -> Result<()> {
    let mut current: Option<Current> = None;
    let mut spare = Some(SegmentCompressor::new(&form.codec, &form.chunks)?);
    // The connection's side tells why it stopped in the middle of a unit.
    while let Some(reads) = reads.blocking_recv() {
        for read in reads {
            match read {
                Read::Begin(unit) => {
                    let compressor = spare.take().context("a unit within a unit")?;
                    current = Some(Current::new(unit, form, gate, compressor));
                }
                Read::End => spare = Some(current.take().context("the end of no unit")?.finish()?),
                read => current.as_mut().context("data without a unit")?.take(read)?,
            }
        }
        if let Some(current) = &mut current {
            current.send()?;
        }
    }
    Ok(())
}

/// The unit under way.
struct Current<'a> {
    unit: Unit,
    form: &'a Form,
    gate: &'a Gate,
    compressor: SegmentCompressor,
    inserts: Option<InsertWriter>,
    text: Vec<u8>,
    hash: RowHash,
    /// Of the large object under way.
    object: Option<ObjectHash>,
    /// Rows by the server's messages.
    rows: u64,
    /// What goes to the archive together: to wake who waits for it costs more than a small piece itself.
    pieces: Vec<Piece>,
}

impl<'a> Current<'a> {
    fn new(unit: Unit, form: &'a Form, gate: &'a Gate, compressor: SegmentCompressor) -> Self {
        let inserts = match &unit.work {
            Work::Rows { source, .. } => form
                .inserts
                .map(|options| InsertWriter::new(source, options, &form.quote)),
            Work::Objects(_) => None,
        };
        Current {
            unit,
            form,
            gate,
            compressor,
            inserts,
            text: Vec::new(),
            hash: RowHash::default(),
            object: None,
            rows: 0,
            pieces: Vec::new(),
        }
    }

    fn take(&mut self, read: Read) -> Result<()> {
        match read {
            Read::Rows(block, rows, _room) => {
                self.hash.update(&block);
                self.rows += rows;
                let Some(mut inserts) = self.inserts.take() else {
                    return self.push(&block);
                };
                let text = std::mem::take(&mut self.text);
                let mut push = |text: &[u8]| self.push(text);
                let mut out = Out::new(text, &mut push);
                inserts.rows(&block, &mut out)?;
                out.pass_all()?;
                self.text = out.text;
                self.inserts = Some(inserts);
                Ok(())
            }
            Read::Objects(objects) => objects.into_iter().try_for_each(|(oid, bytes)| {
                self.begin_object(oid);
                self.object_bytes(&bytes)?;
                self.end_object()
            }),
            Read::BeginObject(oid) => {
                self.begin_object(oid);
                Ok(())
            }
            Read::Bytes(bytes) => self.object_bytes(&bytes),
            Read::EndObject => self.end_object(),
            Read::Begin(_) | Read::End => Ok(()),
        }
    }

    fn begin_object(&mut self, oid: u32) {
        self.object = Some(ObjectHash::new(oid));
        if !self.form.hash_only {
            self.pieces.push(Piece::BeginObject(oid));
        }
    }

    fn object_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(object) = &mut self.object {
            object.update(bytes);
        }
        self.push(bytes)
    }

    fn end_object(&mut self) -> Result<()> {
        if let Some(object) = self.object.take() {
            self.hash += object.finish();
        }
        if !self.form.hash_only {
            self.end_segment()?;
            self.pieces.push(Piece::EndObject);
        }
        Ok(())
    }

    /// Ends the unit, and gives the compressor back.
    fn finish(mut self) -> Result<SegmentCompressor> {
        if let Work::Rows { source, .. } = &self.unit.work {
            // Every row came in a message of its own: a row more or less means that something was lost.
            ensure!(
                self.hash.rows == self.rows,
                "table {}: {} rows were sent, but {} were read",
                source.qualified,
                self.rows,
                self.hash.rows
            );
            let mut text = Vec::new();
            if let Some(inserts) = &mut self.inserts {
                inserts.finish(&mut text);
            }
            if self.unit.last {
                text.extend_from_slice(if self.inserts.is_some() {
                    END_OF_INSERTS
                } else {
                    END_OF_COPY
                });
            }
            self.push(&text)?;
            if !self.form.hash_only {
                self.end_segment()?;
            }
        }
        self.pieces.push(Piece::Done(self.hash));
        self.send()?;
        Ok(self.compressor)
    }

    /// Compresses a piece at a time, so that what a row of many megabytes becomes leaves as it is made.
    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.form.hash_only {
            return Ok(());
        }
        for piece in bytes.chunks(PIECE) {
            self.compressor.push(piece)?;
            while let Some(chunk) = self.compressor.chunk() {
                self.chunk(chunk)?;
            }
        }
        Ok(())
    }

    fn end_segment(&mut self) -> Result<()> {
        let (rest, end) = self.compressor.finish()?;
        for chunk in rest {
            self.chunk(chunk)?;
        }
        self.pieces.push(Piece::EndSegment(end));
        Ok(())
    }

    fn chunk(&mut self, chunk: Bytes) -> Result<()> {
        if !self.gate.try_enter(self.unit.index, chunk.len()) {
            // Others may wait for what was let in before.
            self.send()?;
            self.gate.enter(self.unit.index, chunk.len())?;
        }
        self.pieces.push(Piece::Chunk(chunk));
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        if self.pieces.is_empty() {
            return Ok(());
        }
        // Nobody listens any more when the dump was given up.
        let sent = self.unit.to.send(std::mem::take(&mut self.pieces));
        sent.map_err(|_| super::gate::Closed.into())
    }
}

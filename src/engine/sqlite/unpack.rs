//! An archive of a database becomes a file again.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use rustix::fs::statvfs;
use tokio::sync::mpsc;

use super::failure::folder;
use super::scratch::Scratch;
use crate::archive::source::{Cursor, Source};
use crate::error::{Exit, Fail, Result, damage};
use crate::seal::compression::Frame;
use crate::seal::{Algorithm, Decoder};

/// How many pieces of the archive are read ahead.
const AHEAD: usize = 4;
/// The largest of them.
const PIECE: u64 = 512 << 10;

/// Writes what is in `source` into `scratch`, which is not durable before it becomes a file that stays; returns its size.
/// `read` hears of the bytes of the archive as they come.
///
/// # Errors
/// The archive is damaged ([`Exit::Damaged`]), cannot be read, or the disk is full.
pub async fn unpack(
    source: Source,
    algorithm: Algorithm,
    scratch: Scratch,
    read: &(dyn Fn(u64) + Send + Sync),
) -> Result<(Scratch, u64)> {
    let (to, from) = mpsc::channel(AHEAD);
    let writing = tokio::task::spawn_blocking(move || write(from, algorithm, scratch));
    let fed = feed(source, to, read).await;
    let written = writing.await?;
    // Where the writer stopped, it says why.
    match (fed, written) {
        (Err(error), Ok(_)) => Err(error),
        (_, written) => written,
    }
}

async fn feed(source: Source, to: mpsc::Sender<Bytes>, read: &(dyn Fn(u64) + Send + Sync)) -> Result<()> {
    let end = source.len();
    let mut cursor = Cursor::new(source, 0..end);
    loop {
        let piece = cursor.some(PIECE).await?;
        if piece.is_empty() {
            return Ok(());
        }
        read(piece.len() as u64);
        if to.send(piece).await.is_err() {
            return Ok(());
        }
    }
}

fn write(mut from: mpsc::Receiver<Bytes>, algorithm: Algorithm, scratch: Scratch) -> Result<(Scratch, u64)> {
    let mut decoder = Decoder::new(algorithm, Frame::Gzip)?;
    let damaged = |error: anyhow::Error| damage("unpacking the archive", error);
    let (mut out, mut size, mut more) = (Vec::new(), 0, false);
    while let Some(mut piece) = from.blocking_recv() {
        while more || !piece.is_empty() {
            let step = decoder.step(&piece, &mut out).map_err(damaged)?;
            piece = piece.slice(step.taken..);
            more = step.more;
            size += out.len() as u64;
            put(&scratch, &out)?;
            out.clear();
        }
    }
    decoder.finish().map_err(damaged)?;
    Ok((scratch, size))
}

fn put(scratch: &Scratch, bytes: &[u8]) -> Result<()> {
    scratch
        .file()
        .write_all(bytes)
        .map_err(|error| full(scratch.path(), &error).into())
}

fn full(path: &Path, error: &std::io::Error) -> Fail {
    let folder = folder(path).display();
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Fail::new(Exit::Failure, format!("the disk that {folder} is on is full"))
                .hint("nothing was changed; make room and try again")
        }
        _ => Fail::new(Exit::Failure, format!("cannot write to {folder}: {error}")),
    }
}

/// How many bytes there is room for in `folder`.
///
/// # Errors
/// The folder cannot be looked at.
pub fn room(folder: &Path) -> Result<u64> {
    let found = statvfs(folder).with_context(|| format!("looking at {}", folder.display()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

//! Where a dump goes: one object, or a folder of files.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};

use crate::archive::{Output, Writer};
use crate::error::Result;
use crate::manifest::Written;
use crate::seal::Digest;
use crate::store::{Store, Upload};

/// Pieces of fewer bytes go together: each write costs a store a turn of another thread, and a small table or a large object
/// is four pieces.
const SMALL: usize = 32 << 10;
/// Bytes of small pieces that go together, at most.
const TOGETHER: usize = 256 << 10;

/// What carries the archive away.
pub struct Target {
    place: Place,
    /// Small pieces that wait for more of them.
    waiting: BytesMut,
    /// Of everything but the head of an object, which is rewritten at the end.
    digest: Digest,
    head: usize,
    bytes: u64,
}

enum Place {
    One(Box<dyn Upload>),
    Folder(Arc<dyn Store>, Option<Box<dyn Upload>>),
}

impl Target {
    /// One object.
    #[must_use]
    pub fn one(upload: Box<dyn Upload>) -> Self {
        Target::new(Place::One(upload))
    }

    /// The files of a folder.
    #[must_use]
    pub fn folder(store: Arc<dyn Store>) -> Self {
        Target::new(Place::Folder(store, None))
    }

    fn new(place: Place) -> Self {
        Target {
            place,
            waiting: BytesMut::new(),
            digest: Digest::new(),
            head: 0,
            bytes: 0,
        }
    }

    /// Says what will come before anything does: the head that is rewritten, and tables of about `bytes` bytes.
    pub(super) fn expect(&mut self, head: &Bytes, bytes: u64) {
        if let Place::One(upload) = &mut self.place {
            let head = head.len() as u64;
            // COPY text can be longer than what is stored, and may be written without compression.
            upload.expect(head, head + bytes.saturating_mul(2));
        }
    }

    /// Carries what `writer` has made so far.
    pub(super) async fn carry(&mut self, writer: &mut Writer) -> Result<()> {
        while let Some(output) = writer.output()? {
            match output {
                Output::Bytes(bytes) => self.add(bytes).await?,
                Output::File(name) => self.begin_file(&name).await?,
            }
        }
        Ok(())
    }

    async fn add(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.digest.update(&bytes);
        if bytes.len() >= SMALL {
            self.write_waiting().await?;
            return self.write(bytes).await;
        }
        self.waiting.extend_from_slice(&bytes);
        match self.waiting.len() < TOGETHER {
            true => Ok(()),
            false => self.write_waiting().await,
        }
    }

    /// Writes what waits for more. Comes before [`Target::finish`], while a failure can still be followed by [`Target::abort`].
    pub(super) async fn write_waiting(&mut self) -> Result<()> {
        match self.waiting.is_empty() {
            true => Ok(()),
            false => {
                let waiting = self.waiting.split().freeze();
                self.write(waiting).await
            }
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.place {
            Place::One(upload) => upload.write(bytes).await,
            Place::Folder(_, file) => file.as_mut().context("bytes of no file")?.write(bytes).await,
        }
    }

    async fn begin_file(&mut self, name: &str) -> Result<()> {
        self.write_waiting().await?;
        let Place::Folder(store, file) = &mut self.place else {
            anyhow::bail!("one object has no place for the file {name}");
        };
        if let Some(file) = file.take() {
            file.finish(Bytes::new()).await?;
        }
        *file = Some(store.create(name).await?);
        Ok(())
    }

    /// What was carried so far is the head, which may be rewritten: it is no part of the body's digest.
    pub(super) fn head_ends(&mut self) {
        self.head = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        self.digest = Digest::new();
    }

    /// Makes the archive durable.
    pub(super) async fn finish(self, head: Bytes) -> Result<Written> {
        let mut head_digest = Digest::new();
        head_digest.update(&head);
        let written = Written {
            bytes: self.bytes,
            head_bytes: head.len() as u64,
            head_sha256: head_digest.hex(),
            body_sha256: self.digest.hex(),
        };
        match self.place {
            Place::One(upload) => drop(upload.finish(head).await?),
            Place::Folder(_, Some(file)) => drop(file.finish(Bytes::new()).await?),
            Place::Folder(_, None) => {}
        }
        Ok(written)
    }

    /// Gives up and removes what was written.
    pub(super) async fn abort(self) -> Result<()> {
        match self.place {
            Place::One(upload) | Place::Folder(_, Some(upload)) => upload.abort().await,
            Place::Folder(_, None) => Ok(()),
        }
    }
}

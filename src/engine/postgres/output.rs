//! Where a dump goes: one object, or a folder of files.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;

use crate::archive::{Output, Writer};
use crate::error::Result;
use crate::manifest::Written;
use crate::seal::Digest;
use crate::store::{Store, Upload};

/// What carries the archive away.
pub struct Target {
    place: Place,
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
            match (output, &mut self.place) {
                (Output::Bytes(bytes), place) => {
                    self.bytes += bytes.len() as u64;
                    self.digest.update(&bytes);
                    match place {
                        Place::One(upload) => upload.write(bytes).await?,
                        Place::Folder(_, file) => file.as_mut().context("bytes of no file")?.write(bytes).await?,
                    }
                }
                (Output::File(name), Place::Folder(store, file)) => {
                    if let Some(file) = file.take() {
                        file.finish(Bytes::new()).await?;
                    }
                    *file = Some(store.create(&name).await?);
                }
                (Output::File(name), Place::One(_)) => anyhow::bail!("one object has no place for the file {name}"),
            }
        }
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

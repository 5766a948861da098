//! An upload that is sealed on its way into the stores, a chunk at a time.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::manifest::Written;
use crate::seal::Digest;
use crate::seal::age::{Recipients, Sealer};
use crate::store::{ObjectMeta, Upload};

/// Seals what is written and hands it on.
pub struct Sealing {
    sealer: Sealer,
    out: Out,
    receipt: Receipt,
}

/// What was sealed so far, and where it goes.
struct Out {
    inner: Box<dyn Upload>,
    /// How many bytes at the start of the object [`Upload::finish`] replaces.
    place: u64,
    /// Of what follows them.
    body: Digest,
    bytes: u64,
}

/// What was written of a sealed object, by which it is recognised when it is read back. Known when it is finished.
#[derive(Clone, Default)]
pub struct Receipt(Arc<Mutex<Option<Written>>>);

impl Receipt {
    /// Takes it.
    #[must_use]
    pub fn take(&self) -> Option<Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Sealing {
    /// Seals for `recipients` what goes to `inner`; the receipt will say what that was.
    ///
    /// # Errors
    /// The recipients cannot be combined.
    pub fn new(inner: Box<dyn Upload>, recipients: &Recipients) -> Result<(Self, Receipt)> {
        let sealer = Sealer::new(recipients)?;
        let receipt = Receipt::default();
        let out = Out {
            inner,
            place: sealer.header().len() as u64,
            body: Digest::new(),
            bytes: 0,
        };
        let sealing = Sealing {
            sealer,
            out,
            receipt: receipt.clone(),
        };
        Ok((sealing, receipt))
    }
}

impl Out {
    async fn pass(&mut self, sealed: Bytes) -> Result<()> {
        if sealed.is_empty() {
            return Ok(());
        }
        let left = self.place.saturating_sub(self.bytes);
        let skip = usize::try_from(left).unwrap_or(usize::MAX).min(sealed.len());
        self.bytes += sealed.len() as u64;
        self.body.update(&sealed[skip..]);
        self.inner.write(sealed).await
    }
}

#[async_trait]
impl Upload for Sealing {
    fn expect(&mut self, head: u64, total: u64) {
        // A head that was announced too late, or is larger than the memory, is refused at the end.
        if let Some(Ok(place)) = usize::try_from(head).ok().map(|head| self.sealer.expect(head)) {
            self.out.place = place;
        }
        // Tags make it longer by a 4096th.
        let place = self.out.place;
        self.out.inner.expect(place, place + total + total / 4096);
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let sealed = self.sealer.push(&bytes)?;
        self.out.pass(sealed).await
    }

    async fn finish(self: Box<Self>, head: Bytes) -> Result<ObjectMeta> {
        let Sealing {
            sealer,
            mut out,
            receipt,
        } = *self;
        let sealed = sealer.finish(&head)?;
        if out.bytes == 0 {
            // All of it fits into the chunks of the head.
            out.place = sealed.head.len() as u64;
        }
        out.pass(sealed.last).await?;
        let mut digest = Digest::new();
        digest.update(&sealed.head);
        let written = Written {
            bytes: out.bytes,
            head_bytes: digest.bytes(),
            head_sha256: digest.hex(),
            body_sha256: out.body.hex(),
        };
        let meta = out.inner.finish(sealed.head).await?;
        *receipt.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
        Ok(meta)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.out.inner.abort().await
    }
}

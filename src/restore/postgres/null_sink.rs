//! A place for an archive that nobody wants, but for its table of contents: what proves a restore is a dump.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;

use crate::error::Result;
use crate::store::{ObjectMeta, Upload};

/// Forgets all that is written, and keeps the head.
pub struct NullSink {
    head: Head,
    size: u64,
}

/// Where the head is found afterwards.
#[derive(Clone, Default)]
pub struct Head(Arc<Mutex<Bytes>>);

impl Head {
    /// The head of the archive that was finished.
    #[must_use]
    pub fn take(&self) -> Bytes {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl NullSink {
    /// An upload to nowhere, whose head will be in `head`.
    #[must_use]
    pub fn new(head: Head) -> Self {
        NullSink { head, size: 0 }
    }
}

#[async_trait]
impl Upload for NullSink {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        Ok(())
    }

    async fn finish(self: Box<Self>, head: Bytes) -> Result<ObjectMeta> {
        *self.head.0.lock().unwrap_or_else(PoisonError::into_inner) = head;
        Ok(ObjectMeta {
            path: String::new(),
            size: self.size,
            modified: DateTime::UNIX_EPOCH,
            checksum: None,
        })
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

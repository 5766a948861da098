//! A store that is read and written no faster than is allowed, so that backups leave the link to others.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::{Locked, ObjectMeta, Store, Upload};
use crate::error::Result;

/// A store with a limit on what goes into it and out of it in a second, on average over a few seconds.
pub struct Limited {
    inner: Arc<dyn Store>,
    up: Option<Limit>,
    down: Option<Limit>,
}

/// Bytes per second, shared by all that go the same way.
#[derive(Clone)]
struct Limit {
    limiter: Arc<DefaultDirectRateLimiter>,
    /// What may pass at once.
    burst: NonZeroU32,
}

impl Limit {
    fn new(rate: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(rate.get() / 4).unwrap_or(rate);
        Limit {
            limiter: Arc::new(RateLimiter::direct(Quota::per_second(rate).allow_burst(burst))),
            burst,
        }
    }

    /// Waits until so many bytes may pass.
    async fn pass(&self, bytes: u64) -> Result<()> {
        let mut left = bytes;
        while let Some(next) = NonZeroU32::new(left.min(self.burst.get().into()) as u32) {
            self.limiter.until_n_ready(next).await?;
            left -= u64::from(next.get());
        }
        Ok(())
    }
}

impl Limited {
    /// `inner` with at most so many bytes per second into it and out of it; `None`: as many as there are.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, up: Option<NonZeroU32>, down: Option<NonZeroU32>) -> Self {
        Limited {
            inner,
            up: up.map(Limit::new),
            down: down.map(Limit::new),
        }
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Store for Limited {
    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn room(&self) -> Option<u64> {
        self.inner.room()
    }

    async fn create(&self, path: &str) -> Result<Box<dyn Upload>> {
        let inner = self.inner.create(path).await?;
        Ok(match &self.up {
            Some(limit) => Box::new(LimitedUpload {
                inner,
                limit: limit.clone(),
            }),
            None => inner,
        })
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.inner.read(path, range).await?;
        if let Some(limit) = &self.down {
            limit.pass(bytes.len() as u64).await?;
        }
        Ok(bytes)
    }

    async fn stat(&self, path: &str) -> Result<Option<ObjectMeta>> {
        self.inner.stat(path).await
    }

    async fn locked(&self, path: &str) -> Result<Option<Locked>> {
        self.inner.locked(path).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.inner.list(prefix).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.folders(prefix).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.inner.delete(path).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<bool> {
        self.inner.rename(from, to).await
    }

    async fn settle(&self) -> bool {
        self.inner.settle().await
    }

    async fn clean(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.clean(prefix).await
    }

    async fn abandon(&self, prefix: &str) -> Result<()> {
        self.inner.abandon(prefix).await
    }
}

struct LimitedUpload {
    inner: Box<dyn Upload>,
    limit: Limit,
}

#[async_trait]
impl Upload for LimitedUpload {
    fn expect(&mut self, head: u64, total: u64) {
        self.inner.expect(head, total);
    }

    fn keep(&mut self) {
        self.inner.keep();
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.limit.pass(bytes.len() as u64).await?;
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>, head: Bytes) -> Result<ObjectMeta> {
        self.inner.finish(head).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}

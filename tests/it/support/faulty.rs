//! A store that fails on purpose: the n-th operation of a kind.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use snapback::error::Result;
use snapback::store::{ObjectMeta, Store, Upload};

/// The kinds of operation that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Create,
    Write,
    Finish,
    Read,
    List,
    Delete,
}

/// Passes everything on to `inner`, but fails operation number `at` (from 0) of kind `op`.
pub struct Faulty<S> {
    inner: S,
    fault: Arc<Fault>,
}

struct Fault {
    op: Op,
    at: usize,
    seen: AtomicUsize,
}

impl Fault {
    fn check(&self, op: Op) -> Result<()> {
        if op == self.op && self.seen.fetch_add(1, Ordering::Relaxed) == self.at {
            anyhow::bail!("{op:?} {} was made to fail", self.at);
        }
        Ok(())
    }
}

impl<S: Store> Faulty<S> {
    pub fn new(inner: S, op: Op, at: usize) -> Self {
        let fault = Fault {
            op,
            at,
            seen: AtomicUsize::new(0),
        };
        Faulty {
            inner,
            fault: Arc::new(fault),
        }
    }
}

impl<S: Store> fmt::Display for Faulty<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl<S: Store> Store for Faulty<S> {
    async fn create(&self, path: &str) -> Result<Box<dyn Upload>> {
        self.fault.check(Op::Create)?;
        Ok(Box::new(FaultyUpload {
            inner: self.inner.create(path).await?,
            fault: Arc::clone(&self.fault),
        }))
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        self.fault.check(Op::Read)?;
        self.inner.read(path, range).await
    }

    async fn stat(&self, path: &str) -> Result<Option<ObjectMeta>> {
        self.inner.stat(path).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.fault.check(Op::List)?;
        self.inner.list(prefix).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.fault.check(Op::Delete)?;
        self.inner.delete(path).await
    }

    async fn clean(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.clean(prefix).await
    }
}

struct FaultyUpload {
    inner: Box<dyn Upload>,
    fault: Arc<Fault>,
}

#[async_trait]
impl Upload for FaultyUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.fault.check(Op::Write)?;
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>, head: Bytes) -> Result<ObjectMeta> {
        self.fault.check(Op::Finish)?;
        self.inner.finish(head).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}

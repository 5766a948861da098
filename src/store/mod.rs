//! Where backups live.
//!
//! A store keeps named objects: paths of plain ASCII with `/` between folders. Every implementation
//! passes the same contract suite:
//!
//! - An object appears under its name only when it is complete and durable, and never by halves.
//! - A name that is taken is never overwritten: `create` or `finish` fails.
//! - What is being written is not listed, not read, not counted; what a killed run left is cleaned later.
//! - `delete` of what is not there succeeds: a deletion that was killed can be repeated.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::error::Result;

/// One object of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its path within the store.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: DateTime<Utc>,
}

/// A place for objects. Display names it in logs and errors, without secrets.
#[async_trait]
pub trait Store: fmt::Display + Send + Sync {
    /// Starts a new object.
    async fn create(&self, path: &str) -> Result<Box<dyn Upload>>;
    /// Reads `range` of an object; fails when the object ends before the range does.
    async fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes>;
    /// What is known of an object; `None` when there is none.
    async fn stat(&self, path: &str) -> Result<Option<ObjectMeta>>;
    /// All objects whose path starts with `prefix`, sorted by path.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>>;
    /// Removes an object; it is gone durably when this returns.
    async fn delete(&self, path: &str) -> Result<()>;
}

/// An object that is being written. Dropped without `finish`, it leaves nothing behind that is listed.
#[async_trait]
pub trait Upload: Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;
    /// Replaces the first `head.len()` bytes with `head` (empty: leaves them), makes the object durable and
    /// lets it appear. `head` is at most [`HEAD_LIMIT`] and never longer than what was written.
    async fn finish(self: Box<Self>, head: Bytes) -> Result<ObjectMeta>;
    /// Gives up and removes what was written.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// The most that [`Upload::finish`] may rewrite, in bytes: a table of contents lies within it.
pub const HEAD_LIMIT: usize = 64 << 20;

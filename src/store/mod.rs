//! Where backups live.
//!
//! A store keeps named objects: paths of plain ASCII with `/` between folders. Every implementation
//! passes the same contract suite:
//!
//! - An object appears under its name only when it is complete and durable, and never by halves.
//! - A name that is taken is never overwritten: `create` or `finish` fails.
//! - What is being written is not listed, not read, not counted; what a killed run left is cleaned later.
//! - `delete` of what is not there succeeds: a deletion that was killed can be repeated.

mod fan_out;
mod limit;
pub mod local;
mod path;
pub mod s3;

use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use rustix::io::Errno;

use crate::error::Result;

pub use fan_out::{FanOut, Outcomes};
pub use limit::Limited;
pub use local::Local;
pub use path::check_path;
pub use s3::{S3, S3Options};

/// One object of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its path within the store.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: DateTime<Utc>,
    /// What the store itself says of the content, in its own words: as long as it says the same, the content is the
    /// same. `None` where it has nothing to say: of files in a folder, and in lists.
    pub checksum: Option<String>,
}

/// A place for objects. Display names it in logs and errors, without secrets.
#[async_trait]
pub trait Store: fmt::Display + Send + Sync {
    /// Whether it is on this machine, and so nearer than one across a network.
    fn is_local(&self) -> bool {
        false
    }
    /// How many bytes it has room for, where that can be known.
    fn room(&self) -> Option<u64> {
        None
    }
    /// Starts a new object.
    async fn create(&self, path: &str) -> Result<Box<dyn Upload>>;
    /// Reads `range` of an object; fails when the object ends before the range does.
    async fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes>;
    /// What is known of an object; `None` when there is none.
    async fn stat(&self, path: &str) -> Result<Option<ObjectMeta>>;
    /// The lock that keeps an object from being deleted now; `None` also where there is no such object, or the store has
    /// no locks.
    async fn locked(&self, _path: &str) -> Result<Option<Locked>> {
        Ok(None)
    }
    /// All objects whose path starts with `prefix`, sorted by path.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>>;
    /// The folders at the top whose names start with `prefix`, sorted.
    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        let listed = self.list(prefix).await?;
        let folder = |meta: ObjectMeta| meta.path.split_once('/').map(|(folder, _)| folder.to_owned());
        let mut folders: Vec<String> = listed.into_iter().filter_map(folder).collect();
        folders.dedup();
        Ok(folders)
    }
    /// Removes an object; it is gone durably when this returns.
    async fn delete(&self, path: &str) -> Result<()>;
    /// Gives an object another name, in one step that takes no room; `false` where the store has no such step.
    async fn rename(&self, _from: &str, _to: &str) -> Result<bool> {
        Ok(false)
    }
    /// Waits until nothing that was begun and given up in this process can still appear; `false` where that cannot be known.
    async fn settle(&self) -> bool {
        true
    }
    /// Removes what killed runs left of unfinished objects under `prefix`, and nothing that is still being
    /// written; returns the paths that those objects would have had.
    async fn clean(&self, prefix: &str) -> Result<Vec<String>>;
    /// Removes what is left of unfinished objects under `prefix`, for a caller who knows that nobody writes them any more.
    async fn abandon(&self, prefix: &str) -> Result<()> {
        self.clean(prefix).await.map(drop)
    }
}

/// The name of a new object is taken: what `create` and `finish` fail with, for callers that choose another.
#[derive(Debug, thiserror::Error)]
#[error("{path} exists already, and nothing is ever overwritten")]
pub struct Taken {
    /// The path that was asked for.
    pub path: String,
}

/// There is no object of this name: what `read` fails with.
#[derive(Debug, thiserror::Error)]
#[error("{path} does not exist")]
pub struct Missing {
    /// The path that was asked for.
    pub path: String,
}

/// An object may not be deleted yet, because the store holds it (Object Lock): what `delete` fails with, for
/// callers that go on with other objects and come back.
#[derive(Debug, thiserror::Error)]
#[error("{path} is locked in its store {}", until_when(*.until))]
pub struct Locked {
    /// The path that was to be deleted.
    pub path: String,
    /// When the lock ends; `None` where the store does not say, or where a legal hold has no end.
    pub until: Option<DateTime<Utc>>,
}

/// There is no room left: what a store across a network says of its disk or of a quota.
#[derive(Debug, thiserror::Error)]
#[error("there is no room left in it")]
pub struct Full;

/// Whether a store failed because there is no room left in it, on its disk or by a quota.
#[must_use]
pub fn is_full(error: &anyhow::Error) -> bool {
    let is_full = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let system = cause.downcast_ref::<Errno>();
        cause.is::<Full>()
            || matches!(io, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
            || matches!(system, Some(&(Errno::NOSPC | Errno::DQUOT)))
    };
    error.chain().any(is_full)
}

fn until_when(until: Option<DateTime<Utc>>) -> String {
    until.map_or_else(
        || "without an end that it names".to_owned(),
        |until| format!("until {}", until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
    )
}

/// Stores a small object in one go.
///
/// # Errors
/// The name is taken ([`Taken`]), or the store fails; then there is no such object.
pub async fn put(store: &dyn Store, path: &str, bytes: Bytes) -> Result<ObjectMeta> {
    write_whole(store.create(path).await?, bytes).await
}

/// The same for an object that is to stay ([`Upload::keep`]).
///
/// # Errors
/// As [`put`].
pub async fn put_to_stay(store: &dyn Store, path: &str, bytes: Bytes) -> Result<ObjectMeta> {
    let mut upload = store.create(path).await?;
    upload.keep();
    write_whole(upload, bytes).await
}

async fn write_whole(mut upload: Box<dyn Upload>, bytes: Bytes) -> Result<ObjectMeta> {
    if let Err(error) = upload.write(bytes).await {
        // The first failure is the one that matters.
        let _ = upload.abort().await;
        return Err(error);
    }
    upload.finish(Bytes::new()).await
}

/// Reads a small object whole: at most `limit` bytes, so that a foreign file cannot fill the memory.
///
/// # Errors
/// There is no such object ([`Missing`]), it is larger than `limit`, or the store fails.
pub async fn get(store: &dyn Store, path: &str, limit: u64) -> Result<Bytes> {
    let Some(meta) = store.stat(path).await? else {
        return Err(Missing { path: path.to_owned() }.into());
    };
    anyhow::ensure!(
        meta.size <= limit,
        "{path} in {store} has {} bytes, more than the {limit} that such an object may have",
        meta.size
    );
    store.read(path, 0..meta.size).await
}

/// An object that is being written. Dropped without `finish`, it leaves nothing behind that is listed.
#[async_trait]
pub trait Upload: Send {
    /// Says before the first `write` how many bytes at the start `finish` may rewrite, and about how many will
    /// come in all. A store that must plan ahead (S3's parts) heeds it.
    fn expect(&mut self, _head: u64, _total: u64) {}
    /// Says before the first `write` that the object is to stay: a store that locks objects (Object Lock) locks it.
    fn keep(&mut self) {}
    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;
    /// Replaces the first `head.len()` bytes with `head` (empty: leaves them), makes the object durable and
    /// lets it appear. `head` is at most [`HEAD_LIMIT`] and never longer than what was written. The answer has a checksum
    /// only where the store showed by it that it has what was written: what has none is to be read back.
    async fn finish(self: Box<Self>, head: Bytes) -> Result<ObjectMeta>;
    /// Gives up and removes what was written.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// The most that [`Upload::finish`] may rewrite, in bytes: a table of contents lies within it.
pub const HEAD_LIMIT: usize = 64 << 20;

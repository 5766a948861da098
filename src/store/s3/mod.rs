//! A bucket of S3 or of one of its compatibles, with an optional prefix.
//!
//! Nothing here relies on what only some of them do: a conditional put is asked for, but a name is also looked
//! up first where the server was seen to ignore the condition; checksums are those that every server accepts.
//!
//! What is temporary is tried again by the SDK, with waits that grow and jitter; what is permanent (no such bucket, no
//! right, expired credentials, a clock that is off) fails at once.

mod body;
mod checksum;
mod compat;
mod condition;
mod connect;
mod error;
mod found;
mod parts;
mod proof;
mod retry;
mod unanswered;
mod upload;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::list_multipart_uploads::ListMultipartUploadsOutput;
use aws_sdk_s3::primitives::DateTime as AwsTime;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use tokio::sync::{OnceCell, Semaphore};

use super::{Locked, Missing, ObjectMeta, Store, Taken, Upload, check_path};
use crate::error::{Exit, Fail, Result};
use condition::Condition;
pub use connect::{Checksums, LockMode, S3Options, Sse};
use error::{has_no_uploads, is_denied, is_gone, is_missing, is_refused};
use unanswered::Server;
use upload::S3Upload;

/// Unfinished multipart uploads of ours that are older are leftovers of killed runs.
const LEFTOVER_AGE: chrono::Duration = chrono::Duration::days(1);

/// How often one range is asked for in a row whose body breaks off before its first byte.
const READ_ATTEMPTS: u32 = 6;

/// The first wait before a read that broke off is resumed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How many ranges are read at once, whoever wants them: each takes a connection with its buffers, and servers limit those. With
/// answers that take 50 ms these are 3,800 small objects in a second.
const READS: usize = 192;

/// A bucket as a store.
#[derive(Clone)]
pub struct S3 {
    client: Arc<OnceCell<Client>>,
    server: Server,
    options: Arc<S3Options>,
    condition: Arc<Condition>,
    /// A request that lets an object appear was given up before it was answered.
    in_doubt: Arc<AtomicBool>,
    /// What limits reading.
    reads: Arc<Semaphore>,
}

/// A request that lets an object appear. Dropped before its answer came, it leaves a doubt.
struct Appearing<'a> {
    in_doubt: &'a AtomicBool,
    answered: bool,
}

impl Drop for Appearing<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.in_doubt.store(true, Ordering::SeqCst);
        }
    }
}

impl S3 {
    /// Waits for the answer to a request that lets an object appear.
    async fn appearing<T>(&self, request: impl Future<Output = T>) -> T {
        let mut appearing = Appearing {
            in_doubt: &self.in_doubt,
            answered: false,
        };
        let answer = request.await;
        appearing.answered = true;
        answer
    }

    /// The store that `options` describe. Nothing is read or reached before the first request.
    #[must_use]
    pub fn new(options: S3Options) -> Self {
        S3 {
            client: Arc::default(),
            server: Server::default(),
            condition: Arc::default(),
            in_doubt: Arc::default(),
            reads: Arc::new(Semaphore::new(READS)),
            options: Arc::new(options),
        }
    }

    /// Refuses a name that none of our objects has, unless objects of others are read here.
    fn check(&self, path: &str) -> Result<()> {
        match self.options.foreign {
            true => Ok(()),
            false => check_path(path),
        }
    }

    async fn client(&self) -> Result<&Client> {
        self.client
            .get_or_try_init(|| connect::client(&self.options, &self.server))
            .await
    }

    /// The key of an object in the bucket.
    fn key(&self, path: &str) -> String {
        match self.options.prefix.trim_matches('/') {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        }
    }

    /// The path of a key, when it is below our prefix.
    fn path<'a>(&self, key: &'a str) -> Option<&'a str> {
        match self.options.prefix.trim_matches('/') {
            "" => Some(key),
            prefix => key.strip_prefix(prefix)?.strip_prefix('/'),
        }
    }

    /// Reads from `start` until the body ends or breaks; what came is appended to `bytes`.
    async fn read_some(&self, path: &str, range: &Range<u64>, bytes: &mut BytesMut) -> Result<(), ReadError> {
        let _read = self
            .reads
            .acquire()
            .await
            .map_err(|closed| ReadError::Final(closed.into()))?;
        let start = range.start + bytes.len() as u64;
        let answer = self
            .client()
            .await
            .map_err(ReadError::Final)?
            .get_object()
            .bucket(&self.options.bucket)
            .key(self.key(path))
            .set_request_payer(self.options.payer())
            .range(format!("bytes={start}-{}", range.end - 1))
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if is_missing(&error) => return Err(ReadError::Final(Missing { path: path.to_owned() }.into())),
            Err(error) => {
                return Err(ReadError::Final(
                    self.explain(error, &format!("reading {path} in {self}")),
                ));
            }
        };
        let size = answer.content_range().and_then(size_of);
        let mut body = answer.body;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| ReadError::Broken(error.into()))?;
            let room = (range.end - range.start) as usize - bytes.len();
            // A server that sends more than was asked for ignores ranges: that must not pass as success.
            if chunk.len() > room {
                return Err(ReadError::Final(anyhow::anyhow!(
                    "{self} sent more of {path} than was asked for"
                )));
            }
            bytes.extend_from_slice(&chunk);
        }
        let got = range.start + bytes.len() as u64;
        if got < range.end && size.is_some_and(|size| size > got) {
            return Err(ReadError::Broken(anyhow::anyhow!(
                "{self} sent less of {path} than it has"
            )));
        }
        Ok(())
    }
}

/// The size of the whole object, from `bytes 0-9/100`.
fn size_of(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
}

enum ReadError {
    Broken(anyhow::Error),
    Final(anyhow::Error),
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.options.bucket)?;
        match self.options.prefix.trim_matches('/') {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}

#[async_trait]
impl Store for S3 {
    async fn create(&self, path: &str) -> Result<Box<dyn Upload>> {
        check_path(path)?;
        if self.stat(path).await?.is_some() {
            return Err(Taken { path: path.to_owned() }.into());
        }
        Ok(Box::new(S3Upload::new(self.clone(), path.to_owned())))
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        self.check(path)?;
        if range.is_empty() {
            let size = self
                .stat(path)
                .await?
                .ok_or_else(|| Missing { path: path.to_owned() })?
                .size;
            anyhow::ensure!(
                range.start <= size,
                "{path} in {self} ends at {size}, before {}",
                range.start
            );
            return Ok(Bytes::new());
        }
        let wanted = range.end - range.start;
        // A range that no object can fill must not be allocated for.
        let mut bytes = BytesMut::with_capacity(wanted.min(64 << 20) as usize);
        let (mut pause, mut attempt) = (FIRST_PAUSE, 0);
        loop {
            let before = bytes.len();
            let outcome = self.read_some(path, &range, &mut bytes).await;
            // Whoever gets on is not stuck, however often the connection breaks.
            (attempt, pause) = match bytes.len() > before {
                true => (1, FIRST_PAUSE),
                false => (attempt + 1, pause * 2),
            };
            match outcome {
                Ok(()) if bytes.len() as u64 == wanted => break,
                Ok(()) => anyhow::bail!(
                    "{path} in {self} ends at {}, before {}",
                    range.start + bytes.len() as u64,
                    range.end
                ),
                Err(ReadError::Broken(error)) if attempt < READ_ATTEMPTS => {
                    tracing::debug!(%path, attempt, error = format!("{error:#}"), "resuming a read that broke off");
                    tokio::time::sleep(pause).await;
                }
                Err(ReadError::Broken(error)) => {
                    let fail = Fail::new(
                        Exit::Failure,
                        format!("reading {path} in {self} broke off {attempt} times"),
                    );
                    return Err(error.context(fail.hint("check the network and the server")));
                }
                Err(ReadError::Final(error)) => return Err(error),
            }
        }
        Ok(bytes.freeze())
    }

    async fn stat(&self, path: &str) -> Result<Option<ObjectMeta>> {
        self.check(path)?;
        Ok(self.found(path).await?.map(|found| found.meta))
    }

    async fn locked(&self, path: &str) -> Result<Option<Locked>> {
        check_path(path)?;
        let found = self.found(path).await?;
        Ok(found.and_then(|found| found.locked(Utc::now())))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        let mut pages = self
            .client()
            .await?
            .list_objects_v2()
            .bucket(&self.options.bucket)
            .prefix(self.key(prefix))
            .set_request_payer(self.options.payer())
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.explain(error, &format!("listing {self}")))?;
            for object in page.contents() {
                let Some(path) = object.key().and_then(|key| self.path(key)) else {
                    continue;
                };
                // What other tools left beside our objects is none of ours.
                if check_path(path).is_ok() {
                    found.push(ObjectMeta {
                        path: path.to_owned(),
                        size: u64::try_from(object.size().unwrap_or_default()).unwrap_or_default(),
                        modified: time(object.last_modified()),
                        checksum: None,
                    });
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut pages = self
            .client()
            .await?
            .list_objects_v2()
            .bucket(&self.options.bucket)
            .prefix(self.key(prefix))
            .delimiter("/")
            .set_request_payer(self.options.payer())
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.explain(error, &format!("listing {self}")))?;
            let keys = page.common_prefixes().iter().filter_map(|it| it.prefix());
            let folders = keys.filter_map(|key| self.path(key)?.strip_suffix('/').map(str::to_owned));
            found.extend(folders.filter(|folder| check_path(folder).is_ok()));
        }
        found.sort();
        Ok(found)
    }

    async fn delete(&self, path: &str) -> Result<()> {
        check_path(path)?;
        let answer = self
            .client()
            .await?
            .delete_object()
            .bucket(&self.options.bucket)
            .key(self.key(path))
            .set_request_payer(self.options.payer())
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) if is_refused(&error) => match self.locked(path).await {
                Ok(Some(locked)) => Err(locked.into()),
                _ => Err(self.explain(error, &format!("deleting {path} in {self}"))),
            },
            Err(error) => Err(self.explain(error, &format!("deleting {path} in {self}"))),
        }
    }

    async fn settle(&self) -> bool {
        !self.in_doubt.swap(false, Ordering::SeqCst)
    }

    async fn clean(&self, prefix: &str) -> Result<Vec<String>> {
        let limit = Utc::now() - LEFTOVER_AGE;
        let mut cleaned = Vec::new();
        for upload in self.unfinished(prefix).await? {
            if upload.begun < limit {
                self.give_up(&upload.path, upload.id).await?;
                cleaned.push(upload.path);
            }
        }
        Ok(cleaned)
    }

    async fn abandon(&self, prefix: &str) -> Result<()> {
        for upload in self.unfinished(prefix).await? {
            self.give_up(&upload.path, upload.id).await?;
        }
        Ok(())
    }
}

/// A multipart upload of ours that was started and not ended.
struct Unfinished {
    path: String,
    id: String,
    begun: DateTime<Utc>,
}

impl S3 {
    /// All unfinished uploads of ours under `prefix`. Who may not ask for them has none to clean up.
    async fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let page = self.unfinished_page(prefix, key_marker, id_marker).await?;
            for upload in page.uploads() {
                if let (Some(key), Some(id)) = (upload.key(), upload.upload_id())
                    && let Some(path) = self.path(key).filter(|path| check_path(path).is_ok())
                {
                    found.push(Unfinished {
                        path: path.to_owned(),
                        id: id.to_owned(),
                        begun: time(upload.initiated()),
                    });
                }
            }
            if page.is_truncated() != Some(true) {
                return Ok(found);
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
        }
    }

    /// One page of the multipart uploads that were started and not ended.
    async fn unfinished_page(
        &self,
        prefix: &str,
        key_marker: Option<String>,
        id_marker: Option<String>,
    ) -> Result<ListMultipartUploadsOutput> {
        let request = self
            .client()
            .await?
            .list_multipart_uploads()
            .bucket(&self.options.bucket)
            .prefix(self.key(prefix));
        let request = request
            .set_key_marker(key_marker)
            .set_upload_id_marker(id_marker)
            .set_request_payer(self.options.payer());
        match request.send().await {
            Ok(page) => Ok(page),
            Err(error) if has_no_uploads(&error) => Ok(ListMultipartUploadsOutput::builder().build()),
            Err(error) if is_denied(&error) => {
                tracing::warn!(
                    "what killed uploads left in {self} cannot be removed: the right s3:ListBucketMultipartUploads is lacking"
                );
                Ok(ListMultipartUploadsOutput::builder().build())
            }
            Err(error) => Err(self.explain(error, &format!("listing unfinished uploads in {self}"))),
        }
    }

    /// Ends a multipart upload and frees its parts.
    async fn give_up(&self, path: &str, id: impl Into<String>) -> Result<()> {
        let request = self
            .client()
            .await?
            .abort_multipart_upload()
            .bucket(&self.options.bucket)
            .key(self.key(path))
            .upload_id(id);
        match request.set_request_payer(self.options.payer()).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(self.explain(error, &format!("removing the unfinished upload of {path} in {self}"))),
        }
    }
}

/// To the second: HEAD says no more, and what a listing says must be equal to it.
fn time(time: Option<&AwsTime>) -> DateTime<Utc> {
    time.and_then(|time| DateTime::from_timestamp(time.secs(), 0))
        .unwrap_or_default()
}

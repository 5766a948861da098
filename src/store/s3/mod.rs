//! A bucket of S3 or of one of its compatibles, with an optional prefix.
//!
//! Nothing here relies on what only some of them do: a conditional put is asked for, but a name is also looked
//! up first, because several servers ignore the condition; checksums are those that every server accepts.

mod compat;
mod connect;
mod error;
mod upload;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::list_multipart_uploads::ListMultipartUploadsOutput;
use aws_sdk_s3::primitives::DateTime as AwsTime;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use tokio::sync::OnceCell;

use super::{Missing, ObjectMeta, Store, Taken, Upload, check_path};
use crate::error::Result;
pub use connect::{Checksums, LockMode, S3Options, Sse};
use error::{explain, has_no_uploads, is_missing};
use upload::S3Upload;

/// Unfinished multipart uploads of ours that are older are leftovers of killed runs.
const LEFTOVER_AGE: chrono::Duration = chrono::Duration::days(1);

/// How often one range is asked for again when its body breaks off.
const READ_ATTEMPTS: u32 = 6;

/// A bucket as a store.
#[derive(Clone)]
pub struct S3 {
    client: Arc<OnceCell<Client>>,
    options: Arc<S3Options>,
}

impl S3 {
    /// The store that `options` describe. Nothing is read or reached before the first request.
    #[must_use]
    pub fn new(options: S3Options) -> Self {
        S3 {
            client: Arc::default(),
            options: Arc::new(options),
        }
    }

    async fn client(&self) -> Result<&Client> {
        self.client.get_or_try_init(|| connect::client(&self.options)).await
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
        let mut body = match answer {
            Ok(answer) => answer.body,
            Err(error) if is_missing(&error) => return Err(ReadError::Final(Missing { path: path.to_owned() }.into())),
            Err(error) => return Err(ReadError::Final(explain(error, &format!("reading {path} in {self}")))),
        };
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
        Ok(())
    }
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
        check_path(path)?;
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
        let mut pause = Duration::from_millis(100);
        for attempt in 1.. {
            match self.read_some(path, &range, &mut bytes).await {
                Ok(()) if bytes.len() as u64 == wanted => break,
                Ok(()) => anyhow::bail!(
                    "{path} in {self} ends at {}, before {}",
                    range.start + bytes.len() as u64,
                    range.end
                ),
                Err(ReadError::Broken(error)) if attempt < READ_ATTEMPTS => {
                    tracing::debug!(%path, attempt, error = format!("{error:#}"), "resuming a read that broke off");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(ReadError::Broken(error) | ReadError::Final(error)) => return Err(error),
            }
        }
        Ok(bytes.freeze())
    }

    async fn stat(&self, path: &str) -> Result<Option<ObjectMeta>> {
        check_path(path)?;
        let answer = self
            .client()
            .await?
            .head_object()
            .bucket(&self.options.bucket)
            .key(self.key(path))
            .set_request_payer(self.options.payer())
            .send()
            .await;
        match answer {
            Ok(head) => Ok(Some(ObjectMeta {
                path: path.to_owned(),
                size: u64::try_from(head.content_length().unwrap_or_default()).unwrap_or_default(),
                modified: time(head.last_modified()),
            })),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(explain(error, &format!("looking for {path} in {self}"))),
        }
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
            let page = page.map_err(|error| explain(error, &format!("listing {self}")))?;
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
                    });
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
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
            Err(error) => Err(explain(error, &format!("deleting {path} in {self}"))),
        }
    }

    async fn clean(&self, prefix: &str) -> Result<Vec<String>> {
        let mut cleaned = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let page = self.unfinished(prefix, key_marker, id_marker).await?;
            for upload in page.uploads() {
                let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else {
                    continue;
                };
                let ours = self.path(key).filter(|path| check_path(path).is_ok());
                if let Some(path) = ours
                    && Utc::now() - time(upload.initiated()) > LEFTOVER_AGE
                {
                    self.give_up(path, id).await?;
                    cleaned.push(path.to_owned());
                }
            }
            if page.is_truncated() != Some(true) {
                return Ok(cleaned);
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
        }
    }
}

impl S3 {
    /// One page of the multipart uploads that were started and not ended.
    async fn unfinished(
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
        let request = request.set_key_marker(key_marker).set_upload_id_marker(id_marker);
        match request.send().await {
            Ok(page) => Ok(page),
            Err(error) if has_no_uploads(&error) => Ok(ListMultipartUploadsOutput::builder().build()),
            Err(error) => Err(explain(error, &format!("listing unfinished uploads in {self}"))),
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
        let answer = request.set_request_payer(self.options.payer()).send().await;
        answer.map_err(|error| explain(error, &format!("removing the unfinished upload of {path} in {self}")))?;
        Ok(())
    }
}

/// To the second: HEAD says no more, and what a listing says must be equal to it.
fn time(time: Option<&AwsTime>) -> DateTime<Utc> {
    time.and_then(|time| DateTime::from_timestamp(time.secs(), 0))
        .unwrap_or_default()
}

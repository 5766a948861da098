//! One object on its way into a bucket.
//!
//! The bytes go out in parts of equal size while they come in, a few at a time. The first part (or more, where
//! the table of contents is larger) stays in memory and goes last, because `finish` still rewrites it. What fits
//! into one part is put in one request.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use aws_sdk_s3::primitives::{ByteStream, DateTime as AwsTime};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use bytes::{Bytes, BytesMut};
use chrono::Utc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::super::{ObjectMeta, Store as _, Taken, Upload};
use super::S3;
use super::compat::UploadRoot;
use super::error::{explain, is_taken};
use crate::error::Result;

const MIB: u64 = 1 << 20;

/// The smallest part, unless it is the last: S3 asks for 5 MiB, R2 for equal sizes.
const SMALLEST_PART: u64 = 8 * MIB;

/// S3 takes 10,000 parts; a tenth is kept back for what an estimate misses.
const PARTS: u64 = 9_000;

/// Bytes that may be in flight, beside the part that fills and the first one: part of the memory bound.
const IN_FLIGHT: u64 = 32 * MIB;

pub struct S3Upload {
    store: S3,
    path: String,
    part_size: u64,
    /// How many parts at the start stay in memory until the end.
    held: usize,
    filling: BytesMut,
    first: Vec<Bytes>,
    parts: i32,
    size: u64,
    multipart: Option<Multipart>,
}

/// A multipart upload that was started.
struct Multipart {
    id: String,
    sent: JoinSet<Result<CompletedPart>>,
    done: Vec<CompletedPart>,
    permits: Arc<Semaphore>,
}

impl S3Upload {
    pub fn new(store: S3, path: String) -> Self {
        S3Upload {
            store,
            path,
            part_size: SMALLEST_PART,
            held: 1,
            filling: BytesMut::new(),
            first: Vec::new(),
            parts: 0,
            size: 0,
            multipart: None,
        }
    }

    /// Takes the part that is full (or the last one): keeps it or sends it off.
    async fn take_part(&mut self) -> Result<()> {
        let part = self.filling.split().freeze();
        self.parts += 1;
        if self.first.len() < self.held {
            self.first.push(part);
            return Ok(());
        }
        let number = self.parts;
        self.send(number, part).await
    }

    /// Sends a part once one of those in flight is through; fails as soon as any part has failed.
    async fn send(&mut self, number: i32, part: Bytes) -> Result<()> {
        if self.multipart.is_none() {
            self.multipart = Some(self.start().await?);
        }
        let (store, path) = (self.store.clone(), self.path.clone());
        let Some(multipart) = &mut self.multipart else {
            return Ok(());
        };
        while let Some(part) = multipart.sent.try_join_next() {
            multipart.done.push(part.context("an upload task ended early")??);
        }
        let permit = Arc::clone(&multipart.permits).acquire_owned().await?;
        multipart
            .sent
            .spawn(send_part(store, path, multipart.id.clone(), number, part, permit));
        Ok(())
    }

    async fn start(&self) -> Result<Multipart> {
        let options = &self.store.options;
        let (sse, kms) = encryption(options);
        let mut request = self
            .store
            .client()
            .await?
            .create_multipart_upload()
            .bucket(&options.bucket)
            .key(self.store.key(&self.path))
            .set_request_payer(options.payer())
            .set_storage_class(options.class())
            .set_tagging(options.tagging())
            .set_server_side_encryption(sse)
            .set_ssekms_key_id(kms);
        if options.checksums_when_supported() {
            request = request.checksum_algorithm(ChecksumAlgorithm::Sha256);
        }
        if let Some((mode, days)) = &options.lock {
            request = request
                .object_lock_mode(mode.object())
                .object_lock_retain_until_date(lock_end(*days));
        }
        let answer = request.customize().interceptor(UploadRoot).send().await;
        let answer = answer.map_err(|error| explain(error, &self.doing("starting the upload of")))?;
        let in_flight = usize::try_from((IN_FLIGHT / self.part_size).max(1)).unwrap_or(1);
        Ok(Multipart {
            id: answer
                .upload_id()
                .context("the S3 server gave no upload id")?
                .to_owned(),
            sent: JoinSet::new(),
            done: Vec::new(),
            permits: Arc::new(Semaphore::new(in_flight)),
        })
    }

    /// Sends everything in one request.
    async fn put(&self, bytes: Bytes) -> Result<()> {
        let options = &self.store.options;
        let (sse, kms) = encryption(options);
        let mut request = self
            .store
            .client()
            .await?
            .put_object()
            .bucket(&options.bucket)
            .key(self.store.key(&self.path))
            .if_none_match("*")
            .set_request_payer(options.payer())
            .set_storage_class(options.class())
            .set_tagging(options.tagging())
            .set_server_side_encryption(sse)
            .set_ssekms_key_id(kms)
            .body(ByteStream::from(bytes));
        if options.checksums_when_supported() {
            request = request.checksum_algorithm(ChecksumAlgorithm::Sha256);
        }
        if let Some((mode, days)) = &options.lock {
            request = request
                .object_lock_mode(mode.object())
                .object_lock_retain_until_date(lock_end(*days));
        }
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if is_taken(&error) => Err(Taken {
                path: self.path.clone(),
            }
            .into()),
            Err(error) => Err(explain(error, &self.doing("uploading"))),
        }
    }

    /// Waits for all parts and makes them one object.
    async fn complete(&mut self) -> Result<()> {
        let Some(multipart) = &mut self.multipart else {
            return Ok(());
        };
        while let Some(part) = multipart.sent.join_next().await {
            multipart.done.push(part.context("an upload task ended early")??);
        }
        multipart.done.sort_by_key(CompletedPart::part_number);
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(multipart.done.clone()))
            .build();
        let request = self
            .store
            .client()
            .await?
            .complete_multipart_upload()
            .bucket(&self.store.options.bucket)
            .key(self.store.key(&self.path))
            .upload_id(&multipart.id)
            .if_none_match("*")
            .set_request_payer(self.store.options.payer())
            .multipart_upload(parts);
        match request.send().await {
            Ok(_) => self.multipart = None,
            Err(error) if is_taken(&error) => {
                return Err(Taken {
                    path: self.path.clone(),
                }
                .into());
            }
            Err(error) => return Err(explain(error, &self.doing("completing the upload of"))),
        }
        Ok(())
    }

    async fn send_all(&mut self, head: Bytes) -> Result<()> {
        if !self.filling.is_empty() || self.parts == 0 {
            self.take_part().await?;
        }
        overwrite(&mut self.first, &head)?;
        // Two that wrote the same name: servers that ignore the condition must not let the second win.
        if self.store.stat(&self.path).await?.is_some() {
            return Err(Taken {
                path: self.path.clone(),
            }
            .into());
        }
        let first = std::mem::take(&mut self.first);
        if self.multipart.is_none() && first.len() == 1 {
            return self.put(first.into_iter().next().unwrap_or_default()).await;
        }
        for (number, part) in (1..).zip(first) {
            self.send(number, part).await?;
        }
        self.complete().await
    }

    async fn give_up(&mut self) -> Result<()> {
        let Some(mut multipart) = self.multipart.take() else {
            return Ok(());
        };
        multipart.sent.shutdown().await;
        self.store.give_up(&self.path, multipart.id).await
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} {} in {}", self.path, self.store)
    }
}

async fn send_part(
    store: S3,
    path: String,
    id: String,
    number: i32,
    part: Bytes,
    permit: OwnedSemaphorePermit,
) -> Result<CompletedPart> {
    let mut request = store
        .client()
        .await?
        .upload_part()
        .bucket(&store.options.bucket)
        .key(store.key(&path))
        .upload_id(id)
        .part_number(number)
        .set_request_payer(store.options.payer())
        .body(ByteStream::from(part));
    if store.options.checksums_when_supported() {
        request = request.checksum_algorithm(ChecksumAlgorithm::Sha256);
    }
    let answer = request
        .send()
        .await
        .map_err(|error| explain(error, &format!("uploading part {number} of {path} to {store}")))?;
    drop(permit);
    Ok(CompletedPart::builder()
        .part_number(number)
        .set_e_tag(answer.e_tag().map(str::to_owned))
        .set_checksum_sha256(answer.checksum_sha256().map(str::to_owned))
        .build())
}

/// Replaces the first bytes of `parts` with `head`.
fn overwrite(parts: &mut [Bytes], head: &Bytes) -> Result<()> {
    let mut rest = head.clone();
    for part in parts {
        let here = rest.split_to(rest.len().min(part.len()));
        let tail = part.slice(here.len()..);
        let mut new = BytesMut::with_capacity(part.len());
        new.extend_from_slice(&here);
        new.extend_from_slice(&tail);
        *part = new.freeze();
        if rest.is_empty() {
            return Ok(());
        }
    }
    anyhow::ensure!(
        rest.is_empty(),
        "the rewritten head is longer than what was kept of the upload"
    );
    Ok(())
}

fn encryption(options: &super::S3Options) -> (Option<ServerSideEncryption>, Option<String>) {
    match &options.sse {
        super::Sse::Bucket => (None, None),
        super::Sse::S3 => (Some(ServerSideEncryption::Aes256), None),
        super::Sse::Kms(key) => (Some(ServerSideEncryption::AwsKms), key.clone()),
    }
}

fn lock_end(days: u32) -> AwsTime {
    AwsTime::from_secs((Utc::now() + chrono::Duration::days(i64::from(days))).timestamp())
}

#[async_trait]
impl Upload for S3Upload {
    fn expect(&mut self, head: u64, total: u64) {
        if self.size == 0 {
            self.part_size = total.div_ceil(PARTS).next_multiple_of(MIB).max(SMALLEST_PART);
            self.held = usize::try_from(head.div_ceil(self.part_size)).unwrap_or(1).max(1);
        }
    }

    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        let part_size = usize::try_from(self.part_size)?;
        while !bytes.is_empty() {
            if self.filling.capacity() == 0 {
                self.filling.reserve(part_size);
            }
            let room = part_size - self.filling.len();
            self.filling.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.filling.len() == part_size {
                self.take_part().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>, head: Bytes) -> Result<ObjectMeta> {
        let outcome = self.send_all(head).await;
        if let Err(error) = outcome {
            if let Err(second) = self.give_up().await {
                tracing::warn!(
                    path = self.path,
                    error = format!("{second:#}"),
                    "an unfinished upload is left in the bucket; it is swept after a day"
                );
            }
            return Err(error);
        }
        let meta = self
            .store
            .stat(&self.path)
            .await?
            .with_context(|| self.doing("the server does not list what it accepted:"))?;
        anyhow::ensure!(
            meta.size == self.size,
            "{} has {} bytes in {}, though {} were sent",
            self.path,
            meta.size,
            self.store,
            self.size
        );
        Ok(meta)
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.give_up().await
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        // Dropped without finish or abort: the run was cancelled. The parts cost money until they are removed.
        if self.multipart.is_none() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let mut rest = S3Upload::new(self.store.clone(), self.path.clone());
            rest.multipart = self.multipart.take();
            runtime.spawn(async move {
                let _ = rest.give_up().await;
            });
        }
    }
}

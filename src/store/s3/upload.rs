//! One object on its way into a bucket.
//!
//! The bytes go out in parts of equal size while they come in, a few at a time. The first part (or more, where
//! the table of contents is larger) stays in memory and goes last, because `finish` still rewrites it. What fits
//! into one part is put in one request.
//!
//! Each object carries the stamp of its upload in its metadata. So an answer that was lost is no riddle: what lies
//! there is ours or another's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use chrono::Utc;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::super::{ObjectMeta, Store as _, Taken, Upload};
use super::S3;
use super::body::in_pieces;
use super::checksum::{Algorithm, Sum, hex};
use super::compat::UploadRoot;
use super::condition;
use super::connect::lock_end;
use super::error::is_taken;
use super::found::{DIGEST, Found, STAMP};
use super::parts::Parts;
use super::proof::Sent;
use crate::error::{Exit, Fail, Result};

/// Tells apart the uploads of one process.
static SERIAL: AtomicU64 = AtomicU64::new(0);

pub struct S3Upload {
    store: S3,
    path: String,
    stamp: String,
    /// The object is to stay: where the configuration says so, it is locked.
    kept: bool,
    parts: Parts,
    /// How many parts at the start stay in memory until the end.
    held: usize,
    filling: BytesMut,
    /// Memory of parts that have gone: taking and returning it to the system for each would leave holes.
    spare: Vec<BytesMut>,
    first: Vec<Bytes>,
    taken: u64,
    size: u64,
    multipart: Option<Multipart>,
}

/// A multipart upload that was started.
struct Multipart {
    id: String,
    sent: JoinSet<Result<Part>>,
    done: Vec<Part>,
    permits: Arc<Semaphore>,
}

/// A part that the server has.
struct Part {
    number: i32,
    e_tag: Option<String>,
    sum: Sum,
    /// The memory that it was in.
    memory: Option<BytesMut>,
}

/// What both requests that begin an object have in common; the SDK's builders share no trait.
macro_rules! begin {
    ($upload:expr, $operation:ident, $digest:expr) => {{
        let (store, options) = (&$upload.store, &$upload.store.options);
        let lock = options.lock.filter(|_| $upload.kept);
        let (sse, kms_key) = options.encryption();
        store
            .client()
            .await?
            .$operation()
            .bucket(&options.bucket)
            .key(store.key(&$upload.path))
            .set_metadata(Some($upload.metadata($digest)))
            .set_request_payer(options.payer())
            .set_storage_class(options.class())
            .set_tagging(options.tagging())
            .set_server_side_encryption(sse)
            .set_ssekms_key_id(kms_key)
            .set_checksum_algorithm(options.checksums_when_supported().then_some(ChecksumAlgorithm::Sha256))
            .set_object_lock_mode(lock.map(|(mode, _)| mode.object()))
            .set_object_lock_retain_until_date(lock.map(|(_, days)| lock_end(Utc::now(), days)))
    }};
}

impl S3Upload {
    pub fn new(store: S3, path: String) -> Self {
        let parts = Parts::of(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let nanos = Utc::now().timestamp_nanos_opt().unwrap_or_default();
        S3Upload {
            store,
            path,
            stamp: format!("{}-{serial}-{nanos:x}", std::process::id()),
            kept: false,
            parts,
            held: parts.holding(0),
            filling: BytesMut::new(),
            spare: Vec::new(),
            first: Vec::new(),
            taken: 0,
            size: 0,
            multipart: None,
        }
    }

    /// What the server shall show that it has it by. S3 grants an Object Lock only to what comes with one of them.
    fn algorithm(&self) -> Algorithm {
        match self.store.options.checksums_when_supported() {
            true => Algorithm::Sha256,
            false => Algorithm::Md5,
        }
    }

    fn metadata(&self, digest: Option<&str>) -> HashMap<String, String> {
        let digest = digest.map(|digest| (DIGEST.to_owned(), digest.to_owned()));
        let stamp = (STAMP.to_owned(), self.stamp.clone());
        [stamp].into_iter().chain(digest).collect()
    }

    /// Takes the part that is full (or the last one): keeps it or sends it off.
    async fn take_part(&mut self) -> Result<()> {
        let part = self.filling.split().freeze();
        self.taken += 1;
        if self.first.len() < self.held {
            self.first.push(part);
            return Ok(());
        }
        self.send(self.taken, part).await
    }

    /// Sends a part once there is room in flight; fails as soon as any part has failed.
    async fn send(&mut self, number: u64, part: Bytes) -> Result<()> {
        if self.multipart.is_none() {
            self.multipart = Some(self.start().await?);
        }
        let sender = Sender {
            store: self.store.clone(),
            path: self.path.clone(),
            number: i32::try_from(number)?,
            algorithm: self.algorithm(),
        };
        let Some(multipart) = &mut self.multipart else {
            return Ok(());
        };
        while let Some(part) = multipart.sent.try_join_next() {
            let mut part = part.context("an upload task ended early")??;
            self.spare.extend(part.memory.take());
            multipart.done.push(part);
        }
        let permits = Arc::clone(&multipart.permits);
        let permit = permits.acquire_many_owned(Parts::cost(part.len())).await?;
        let id = multipart.id.clone();
        multipart.sent.spawn(sender.send(id, part, permit));
        Ok(())
    }

    async fn start(&self) -> Result<Multipart> {
        let request = begin!(self, create_multipart_upload, None);
        let answer = request.customize().interceptor(UploadRoot).send().await;
        let answer = answer.map_err(|error| self.store.explain(error, &self.doing("starting the upload of")))?;
        Ok(Multipart {
            id: answer
                .upload_id()
                .context("the S3 server gave no upload id")?
                .to_owned(),
            sent: JoinSet::new(),
            done: Vec::new(),
            permits: Arc::new(Semaphore::new(Parts::permits())),
        })
    }

    /// Sends everything in one request.
    async fn put(&self, bytes: Bytes) -> Result<Sent> {
        let sum = self.algorithm().sum(&bytes);
        let sent = Sent::at_once(hex(&Sha256::digest(&bytes)), self.algorithm(), &sum);
        let e_tag = self.try_put(&bytes, &sent, &sum).await?;
        // What is to stay may be locked, and is not put a second time.
        if !self.kept && self.store.condition.is_enforced().is_none() {
            let again = self.try_put(&bytes, &sent, &sum).await;
            self.store.condition.learn(&again.map(drop));
        }
        Ok(sent.answered(e_tag.as_deref()))
    }

    /// Returns the ETag.
    async fn try_put(&self, bytes: &Bytes, sent: &Sent, sum: &Sum) -> Result<Option<String>> {
        let request = begin!(self, put_object, sent.digest.as_deref())
            .if_none_match(condition::NONE)
            .set_checksum_sha256(sum.sha256())
            .set_content_md5(sum.md5())
            .body(ByteStream::from(bytes.clone()));
        let request = request
            .customize()
            .config_override(self.store.options.patience(bytes.len()));
        match self.store.appearing(request.send()).await {
            Ok(answer) => Ok(answer.e_tag().map(str::to_owned)),
            Err(error) if is_taken(&error) => Err(self.is_taken()),
            Err(error) => Err(self.store.explain(error, &self.doing("uploading"))),
        }
    }

    /// Waits for all parts and makes them one object.
    async fn complete(&mut self) -> Result<Sent> {
        let algorithm = self.algorithm();
        let Some(multipart) = &mut self.multipart else {
            return Ok(Sent::default());
        };
        while let Some(part) = multipart.sent.join_next().await {
            multipart.done.push(part.context("an upload task ended early")??);
        }
        multipart.done.sort_by_key(|part| part.number);
        let done = multipart.done.iter();
        let sent = Sent::in_parts(algorithm, done.map(|part| (&part.sum, part.e_tag.as_deref())));
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(multipart.done.iter().map(Part::completed).collect()))
            .build();
        let request = self
            .store
            .client()
            .await?
            .complete_multipart_upload()
            .bucket(&self.store.options.bucket)
            .key(self.store.key(&self.path))
            .upload_id(&multipart.id)
            .if_none_match(condition::NONE)
            .set_request_payer(self.store.options.payer())
            .multipart_upload(parts);
        match self.store.appearing(request.send()).await {
            Ok(answer) => Ok(sent.answered(answer.e_tag())),
            Err(error) if is_taken(&error) => Err(self.is_taken()),
            Err(error) => Err(self.store.explain(error, &self.doing("completing the upload of"))),
        }
    }

    fn is_taken(&self) -> anyhow::Error {
        let path = self.path.clone();
        Taken { path }.into()
    }

    async fn send_all(&mut self, head: Bytes) -> Result<Sent> {
        if !self.filling.is_empty() || self.taken == 0 {
            self.take_part().await?;
        }
        overwrite(&mut self.first, &head)?;
        let first = std::mem::take(&mut self.first);
        let at_once = self.multipart.is_none() && first.len() == 1;
        // Two that wrote the same name: servers that ignore the condition must not let the second win.
        let refuses = at_once && self.store.condition.is_enforced() == Some(true);
        if !refuses && self.store.found(&self.path).await?.is_some() {
            return Err(self.is_taken());
        }
        if at_once {
            return self.put(first.into_iter().next().unwrap_or_default()).await;
        }
        for (number, part) in (1..).zip(first) {
            self.send(number, part).await?;
        }
        self.complete().await
    }

    /// Makes sure that what lies there is what was sent, as far as the server says it.
    fn compare(&self, found: &Found, sent: &Sent) -> Result<()> {
        if found.stamp.as_ref().is_some_and(|stamp| *stamp != self.stamp) {
            return Err(self.is_taken());
        }
        let what = match sent.differs(found) {
            _ if found.meta.size != self.size => {
                format!("has {} bytes, though {} were sent", found.meta.size, self.size)
            }
            Some(what) => what.to_owned(),
            None => return Ok(()),
        };
        Err(Fail::new(Exit::Damaged, format!("{} in {} {what}", self.path, self.store)).into())
    }

    /// Sends what is left, and looks at what is there then.
    async fn send_and_look(&mut self, head: Bytes) -> Result<ObjectMeta> {
        let (sent, failed) = match self.send_all(head).await {
            Ok(sent) => (sent, None),
            Err(error) => (Sent::default(), Some(error)),
        };
        let found = match (self.store.found(&self.path).await, failed) {
            // An answer may be lost, or come to a second attempt, when the server has done it all: that is no error.
            (Ok(Some(found)), Some(_)) if self.is_ours(&found) => found,
            (_, Some(error)) => return Err(error),
            (found, None) => found?.with_context(|| self.doing("the server does not have what it accepted:"))?,
        };
        if let Err(error) = self.compare(&found, &sent) {
            if self.is_ours(&found) {
                self.store.delete(&self.path).await?;
            }
            return Err(error);
        }
        let is_shown = sent.is_shown_by(&found);
        let meta = found.meta;
        Ok(ObjectMeta {
            checksum: meta.checksum.filter(|_| is_shown),
            ..meta
        })
    }

    fn is_ours(&self, found: &Found) -> bool {
        found.stamp.as_ref() == Some(&self.stamp)
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

/// Sends one part.
struct Sender {
    store: S3,
    path: String,
    number: i32,
    algorithm: Algorithm,
}

impl Sender {
    async fn send(self, id: String, part: Bytes, permit: OwnedSemaphorePermit) -> Result<Part> {
        let (store, options) = (&self.store, &self.store.options);
        let patience = options.patience(part.len());
        let (algorithm, bytes) = (self.algorithm, part.clone());
        let sum = tokio::task::spawn_blocking(move || algorithm.sum(&bytes)).await?;
        let request = store
            .client()
            .await?
            .upload_part()
            .bucket(&options.bucket)
            .key(store.key(&self.path))
            .upload_id(id)
            .part_number(self.number)
            .set_request_payer(options.payer())
            .set_checksum_sha256(sum.sha256())
            .set_content_md5(sum.md5())
            .body(in_pieces(part.clone()));
        // The sum is among what is signed and is checked by the server, so the bytes need not be hashed again for it.
        let request = request.customize().disable_payload_signing();
        let answer = request.config_override(patience).send().await;
        let what = || format!("uploading part {} of {} to {store}", self.number, self.path);
        let answer = answer.map_err(|error| store.explain(error, &what()))?;
        drop(permit);
        Ok(Part {
            number: self.number,
            e_tag: answer.e_tag().map(str::to_owned),
            sum,
            memory: part.try_into_mut().ok().map(|mut memory| {
                memory.clear();
                memory
            }),
        })
    }
}

impl Part {
    fn completed(&self) -> CompletedPart {
        CompletedPart::builder()
            .part_number(self.number)
            .set_e_tag(self.e_tag.clone())
            .set_checksum_sha256(self.sum.sha256())
            .build()
    }
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

#[async_trait]
impl Upload for S3Upload {
    fn expect(&mut self, head: u64, total: u64) {
        if self.size == 0 {
            self.parts = Parts::of(total);
            self.held = self.parts.holding(head);
        }
    }

    fn keep(&mut self) {
        self.kept = true;
    }

    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            let part_size = usize::try_from(self.parts.size(self.taken + 1))?;
            if self.filling.is_empty() {
                self.filling = self.spare.pop().unwrap_or_default();
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
        let outcome = self.send_and_look(head).await;
        if outcome.is_ok() {
            self.multipart = None;
        } else if let Err(second) = self.give_up().await {
            tracing::warn!(
                path = self.path,
                error = format!("{second:#}"),
                "an unfinished upload is left in the bucket; it is swept after a day"
            );
        }
        outcome
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

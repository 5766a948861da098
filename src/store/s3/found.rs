//! What the server says of an object that is there.

use aws_sdk_s3::types::{ChecksumMode, ObjectLockLegalHoldStatus};
use chrono::{DateTime, Utc};

use super::super::{Locked, ObjectMeta};
use super::error::is_missing;
use super::proof::strong;
use super::{S3, time};
use crate::error::Result;

/// Name of the metadata that say which upload an object is of.
pub const STAMP: &str = "snapback-upload";

/// Name of the metadata with the SHA-256 of an object, in hex. Objects in parts have none: their metadata are sent
/// before their bytes are known.
pub const DIGEST: &str = "snapback-sha256";

/// The answer to HEAD.
pub struct Found {
    pub meta: ObjectMeta,
    /// The stamp of its upload, where the server keeps metadata.
    pub stamp: Option<String>,
    /// Our own digest.
    pub digest: Option<String>,
    /// The server's SHA-256.
    pub checksum: Option<String>,
    /// Until when it is locked: the time is `None` for a legal hold.
    pub lock: Option<Option<DateTime<Utc>>>,
}

impl Found {
    /// The lock that keeps the object from being deleted at `now`.
    pub fn locked(self, now: DateTime<Utc>) -> Option<Locked> {
        let until = self.lock.filter(|until| until.is_none_or(|until| until > now))?;
        Some(Locked {
            path: self.meta.path,
            until,
        })
    }
}

impl S3 {
    /// What is known of an object; `None` when there is none.
    pub(super) async fn found(&self, path: &str) -> Result<Option<Found>> {
        let with_checksum = self.options.checksums_when_supported();
        let answer = self
            .client()
            .await?
            .head_object()
            .bucket(&self.options.bucket)
            .key(self.key(path))
            .set_checksum_mode(with_checksum.then_some(ChecksumMode::Enabled))
            .set_request_payer(self.options.payer())
            .send()
            .await;
        let head = match answer {
            Ok(head) => head,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(self.explain(error, &format!("looking for {path} in {self}"))),
        };
        let said = |name: &str| head.metadata().and_then(|metadata| metadata.get(name)).cloned();
        let until = head.object_lock_retain_until_date().map(|until| time(Some(until)));
        let held = head.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On);
        Ok(Some(Found {
            stamp: said(STAMP),
            digest: said(DIGEST),
            checksum: head.checksum_sha256().map(str::to_owned),
            lock: if held { Some(None) } else { until.map(Some) },
            meta: ObjectMeta {
                path: path.to_owned(),
                size: u64::try_from(head.content_length().unwrap_or_default()).unwrap_or_default(),
                modified: time(head.last_modified()),
                checksum: head.e_tag().and_then(strong).map(str::to_owned),
            },
        }))
    }
}

//! `[stores.NAME]`: from what was written to a place for backups.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::value::Span;
use super::{about, impossible, raw};
use crate::error::Result;
use crate::retention::Policy;
use crate::store::s3::{Checksums, LockMode, Sse};
use crate::store::{Limited, Local, S3, S3Options, Store};

/// `[stores.NAME.s3]`: a bucket of S3 or of one of its compatibles. Credentials come from the AWS chain
/// (environment, profile, instance or container role) unless two files name them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawS3 {
    /// Name of the bucket.
    pub bucket: String,
    /// What all keys start with.
    pub prefix: String,
    /// URL of a compatible server.
    pub endpoint_url: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Bucket in the path rather than in the host name.
    pub force_path_style: bool,
    /// Profile of the AWS configuration files.
    pub profile: Option<String>,
    /// File with the access key.
    pub access_key_file: Option<PathBuf>,
    /// File with the secret key.
    pub secret_key_file: Option<PathBuf>,
    /// Checksums of S3's own kind.
    pub checksums: Checksums,
    /// Encryption at rest by the server.
    pub sse: SseMode,
    /// Key of KMS.
    pub sse_kms_key_id: Option<String>,
    /// Storage class of new objects.
    pub storage_class: Option<String>,
    /// Tags of new objects.
    pub tags: BTreeMap<String, String>,
    /// The requester pays.
    pub request_payer: bool,
    /// PEM file with CAs to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Object Lock of new objects.
    pub lock_mode: Option<LockMode>,
    /// Days that new objects are locked for.
    pub lock_days: Option<u32>,
    /// Attempts at one request.
    pub attempts: Option<u32>,
    /// How long the server may take to answer.
    pub timeout: Option<Span>,
}

/// How the server encrypts what it stores.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SseMode {
    /// As the bucket says.
    #[default]
    Bucket,
    /// With keys of S3.
    S3,
    /// With a key of KMS.
    Kms,
}

/// A store as jobs find it.
#[derive(Clone)]
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What it keeps of every job, whatever the job says.
    pub policy: Option<Policy>,
}

/// The store that `[stores.NAME]` describes.
///
/// # Errors
/// A value is impossible; the error names its key.
pub fn open(name: &str, raw: &raw::Store) -> Result<Opened> {
    let key = |key: &str| format!("stores.{name}{key}");
    let store: Arc<dyn Store> = match (&raw.path, &raw.s3) {
        (Some(path), None) if path.as_os_str().is_empty() => {
            return Err(impossible(&key(".path"), "must not be empty"));
        }
        (Some(path), None) => Arc::new(Local::new(path)),
        (None, Some(s3)) => Arc::new(S3::new(options(s3, &|k| key(&format!(".s3.{k}")))?)),
        _ => return Err(impossible(&key(""), "set either path (a folder) or s3 (a bucket)")),
    };
    let (up, down) = (raw.max_upload_rate, raw.max_download_rate);
    let store = match (up, down) {
        (None, None) => store,
        _ => Arc::new(Limited::new(store, up.map(|rate| rate.0), down.map(|rate| rate.0))),
    };
    let policy = raw.retention.as_ref().map(super::job::policy);
    if let Some(policy) = &policy {
        policy.check().map_err(about(&key(".retention")))?;
    }
    Ok(Opened { store, policy })
}

/// Any bucket, to read from what others have put there: with the settings of a store that is in the bucket, or else with those of the
/// AWS chain.
///
/// # Errors
/// A value of the store is impossible.
pub fn bucket(stores: &BTreeMap<String, raw::Store>, bucket: &str) -> Result<S3> {
    let mut known = stores
        .iter()
        .filter_map(|(name, store)| Some((name, store.s3.as_ref()?)));
    let options = match known.find(|(_, s3)| s3.bucket == bucket) {
        Some((name, s3)) => options(s3, &|key| format!("stores.{name}.s3.{key}"))?,
        None => S3Options {
            bucket: bucket.to_owned(),
            ..S3Options::default()
        },
    };
    Ok(S3::new(S3Options {
        prefix: String::new(),
        foreign: true,
        ..options
    }))
}

fn options(raw: &RawS3, key: &dyn Fn(&str) -> String) -> Result<S3Options> {
    if raw.bucket.is_empty() {
        return Err(impossible(&key("bucket"), "must not be empty"));
    }
    if let Some(url) = &raw.endpoint_url
        && !url.starts_with("https://")
        && !url.starts_with("http://")
    {
        return Err(impossible(&key("endpoint_url"), "must start with https:// or http://"));
    }
    let key_files = match (&raw.access_key_file, &raw.secret_key_file) {
        (Some(access), Some(secret)) => Some((access.clone(), secret.clone())),
        (None, None) => None,
        (None, _) => return Err(impossible(&key("access_key_file"), "goes with secret_key_file")),
        (_, None) => return Err(impossible(&key("secret_key_file"), "goes with access_key_file")),
    };
    let lock = match (raw.lock_mode, raw.lock_days) {
        (Some(_), Some(0)) => return Err(impossible(&key("lock_days"), "must be at least 1")),
        (Some(mode), Some(days)) => Some((mode, days)),
        (None, None) => None,
        (None, _) => return Err(impossible(&key("lock_mode"), "goes with lock_days")),
        (_, None) => return Err(impossible(&key("lock_days"), "goes with lock_mode")),
    };
    if raw.sse != SseMode::Kms && raw.sse_kms_key_id.is_some() {
        return Err(impossible(&key("sse_kms_key_id"), "goes with sse = \"kms\""));
    }
    if raw.attempts == Some(0) {
        return Err(impossible(&key("attempts"), "must be at least 1"));
    }
    if raw.timeout.is_some_and(|timeout| timeout.duration().is_zero()) {
        return Err(impossible(&key("timeout"), "must be longer than nothing"));
    }
    Ok(S3Options {
        foreign: false,
        bucket: raw.bucket.clone(),
        prefix: raw.prefix.clone(),
        endpoint_url: raw.endpoint_url.clone(),
        region: raw.region.clone(),
        force_path_style: raw.force_path_style,
        profile: raw.profile.clone(),
        key_files,
        checksums: raw.checksums,
        sse: match raw.sse {
            SseMode::Bucket => Sse::Bucket,
            SseMode::S3 => Sse::S3,
            SseMode::Kms => Sse::Kms(raw.sse_kms_key_id.clone()),
        },
        storage_class: raw.storage_class.clone(),
        tags: raw.tags.clone().into_iter().collect(),
        request_payer: raw.request_payer,
        ca_file: raw.ca_file.clone(),
        lock,
        attempts: raw.attempts,
        timeout: raw.timeout.map(Span::duration),
    })
}

//! From options to a client: endpoint, credentials, TLS, timeouts, retries.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::DateTime as AwsTime;
use aws_sdk_s3::types::{ObjectLockMode, RequestPayer, ServerSideEncryption, StorageClass};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::retry::Garbled;
use super::unanswered::{NoteServer, Server};
use crate::error::Result;

/// How long keys from files are used before they are read again.
const KEYS_READ_EVERY: Duration = Duration::from_secs(600);

/// Attempts at one request, the first included; between them the SDK waits, longer each time, with jitter.
const ATTEMPTS: u32 = 6;

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A link that carries fewer bytes in a second counts as dead.
const SLOWEST_LINK: usize = 32 << 10;

/// Requests are given their time by so many bytes: for each length of time the SDK keeps connections of its own.
const STEP: usize = 8 << 20;

/// Idle connections are dropped before load balancers drop them, which would look like a failed request.
const IDLE: Duration = Duration::from_secs(15);

/// Which store, and how to use it. Debug shows no secret, because there is none in here.
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// Name of the bucket.
    pub bucket: String,
    /// What all keys start with; slashes at its ends do not count.
    pub prefix: String,
    /// Objects that others put there are read, whatever their names are.
    pub foreign: bool,
    /// URL of a compatible server; `None`: AWS.
    pub endpoint_url: Option<String>,
    /// Region; `None`: the AWS chain's, or `us-east-1` where an endpoint is set.
    pub region: Option<String>,
    /// `http://host/bucket/key` rather than `http://bucket.host/key`.
    pub force_path_style: bool,
    /// Profile of the AWS configuration files; `None`: the AWS chain decides.
    pub profile: Option<String>,
    /// Files with the access key and the secret key, which go before the AWS chain.
    pub key_files: Option<(PathBuf, PathBuf)>,
    /// Checksums of S3's own kind; without them an upload carries its MD5.
    pub checksums: Checksums,
    /// Encryption at rest, by the server.
    pub sse: Sse,
    /// Storage class of new objects, for example `STANDARD_IA`.
    pub storage_class: Option<String>,
    /// Tags of new objects.
    pub tags: Vec<(String, String)>,
    /// The requester pays for transfers.
    pub request_payer: bool,
    /// PEM file with CAs to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Object Lock of new objects that are to stay: mode and days.
    pub lock: Option<(LockMode, u32)>,
    /// Attempts at one request, the first included; `None`: 6.
    pub attempts: Option<u32>,
    /// How long the server may take to answer, beside the time that bytes take to get there; `None`: two minutes.
    pub timeout: Option<Duration>,
}

/// When the SDK adds checksums of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Checksums {
    /// Where an endpoint is set `WhenRequired`, on AWS `WhenSupported`.
    #[default]
    Auto,
    /// Only where an operation demands one: the SDK's trailing checksums break several compatibles.
    WhenRequired,
    /// Wherever an operation can have one.
    WhenSupported,
}

/// Who may lift an Object Lock before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Those with a special right.
    Governance,
    /// Nobody.
    Compliance,
}

impl LockMode {
    pub(super) fn object(self) -> ObjectLockMode {
        match self {
            LockMode::Governance => ObjectLockMode::Governance,
            LockMode::Compliance => ObjectLockMode::Compliance,
        }
    }
}

/// Encryption at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sse {
    /// The bucket's own setting.
    #[default]
    Bucket,
    /// Keys of S3 (`AES256`).
    S3,
    /// A key of KMS; `None`: the account's default.
    Kms(Option<String>),
}

impl S3Options {
    pub(super) fn payer(&self) -> Option<RequestPayer> {
        self.request_payer.then_some(RequestPayer::Requester)
    }

    pub(super) fn class(&self) -> Option<StorageClass> {
        self.storage_class.as_deref().map(StorageClass::from)
    }

    /// The tags as a URL query, which is how a request carries them.
    pub(super) fn tagging(&self) -> Option<String> {
        let pairs: Vec<_> = self
            .tags
            .iter()
            .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("&"))
    }

    /// How the server is to encrypt, and with which key of KMS.
    pub(super) fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.sse {
            Sse::Bucket => (None, None),
            Sse::S3 => (Some(ServerSideEncryption::Aes256), None),
            Sse::Kms(key) => (Some(ServerSideEncryption::AwsKms), key.clone()),
        }
    }

    fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// The time that a request of so many bytes gets: the SDK's clock runs while they are sent, and on a slow link they
    /// take theirs.
    pub(super) fn patience(&self, bytes: usize) -> aws_sdk_s3::config::Builder {
        let slow = Duration::from_secs((bytes.next_multiple_of(STEP) / SLOWEST_LINK) as u64);
        let timeouts = TimeoutConfig::builder().read_timeout(self.timeout() + slow).build();
        aws_sdk_s3::config::Builder::new().timeout_config(timeouts)
    }

    /// Whether the SDK's checksums are wanted wherever possible.
    pub(super) fn checksums_when_supported(&self) -> bool {
        match self.checksums {
            Checksums::Auto => self.endpoint_url.is_none(),
            Checksums::WhenRequired => false,
            Checksums::WhenSupported => true,
        }
    }
}

/// When the lock of an object ends that is put `now`.
pub(super) fn lock_end(now: DateTime<Utc>, days: u32) -> AwsTime {
    AwsTime::from_secs((now + TimeDelta::days(i64::from(days))).timestamp())
}

fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| {
            if plain(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// A client for the store that `options` describe; it notes in `server` which one its requests go to.
pub async fn client(options: &S3Options, server: &Server) -> Result<Client> {
    let http = http_client(options)?;
    let mut chain = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(profile) = &options.profile {
        chain = chain.profile_name(profile);
    }
    if let Some(region) = &options.region {
        chain = chain.region(Region::new(region.clone()));
    } else if options.endpoint_url.is_some() {
        // Without a word from the environment: the instance's own region, for which the chain would ask, is not theirs.
        let profile = ProfileFileRegionProvider::builder();
        let profile = match &options.profile {
            Some(name) => profile.profile_name(name),
            None => profile,
        };
        let said = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new());
        chain = chain.region(said.or_else(profile.build()).or_else(Region::new("us-east-1")));
    }
    if let Some((access, secret)) = &options.key_files {
        chain = chain.credentials_provider(KeyFiles {
            access: access.clone(),
            secret: secret.clone(),
        });
    }
    let shared = chain.load().await;
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(options.force_path_style)
        .interceptor(NoteServer(Arc::clone(server)))
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(options.attempts.unwrap_or(ATTEMPTS))
                .with_max_backoff(LONGEST_WAIT),
        )
        .retry_classifier(Garbled)
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT.min(options.timeout()))
                .read_timeout(options.timeout())
                .build(),
        )
        // A slow link is no stalled one: only where nothing at all moves is the request given up and tried again. Of uploads
        // that holds for parts; all else is small.
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .grace_period(options.timeout() / 2)
                .build(),
        );
    if !options.checksums_when_supported() {
        config = config
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    }
    if let Some(endpoint) = &options.endpoint_url {
        config = config.endpoint_url(endpoint);
    }
    Ok(Client::from_conf(config.build()))
}

fn http_client(options: &S3Options) -> Result<SharedHttpClient> {
    let mut trust = TrustStore::default();
    if let Some(file) = &options.ca_file {
        let pem = std::fs::read(file).with_context(|| format!("reading ca_file {}", file.display()))?;
        trust = trust.with_pem_certificate(pem);
    }
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .context("setting up TLS for the S3 store")?;
    Ok(Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .pool_idle_timeout(IDLE)
        .build_https())
}

/// Keys in files, which are read anew from time to time: a daemon shall notice when they are replaced.
#[derive(Debug)]
struct KeyFiles {
    access: PathBuf,
    secret: PathBuf,
}

impl KeyFiles {
    fn read(&self) -> provider::Result {
        let read = |file: &PathBuf| {
            let key =
                std::fs::read_to_string(file).with_context(|| format!("reading the S3 key file {}", file.display()));
            key.map_err(|error| CredentialsError::invalid_configuration(format!("{error:#}")))
        };
        let (access, secret) = (read(&self.access)?, read(&self.secret)?);
        let expires = SystemTime::now() + KEYS_READ_EVERY;
        Ok(Credentials::new(
            access.trim(),
            secret.trim(),
            None,
            Some(expires),
            "files",
        ))
    }
}

impl ProvideCredentials for KeyFiles {
    fn provide_credentials<'a>(&'a self) -> provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        provider::future::ProvideCredentials::ready(self.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_in_files_are_read_again_and_expire() {
        let dir = tempfile::tempdir().unwrap();
        let [access, secret] = ["access", "secret"].map(|name| dir.path().join(name));
        std::fs::write(&secret, "hush\n").unwrap();
        let files = KeyFiles {
            access: access.clone(),
            secret,
        };
        for key in ["old", "new"] {
            std::fs::write(&access, format!("{key}\n")).unwrap();
            let found = files.provide_credentials().await.unwrap();
            assert_eq!((found.access_key_id(), found.secret_access_key()), (key, "hush"));
            // The SDK asks again when they expire.
            assert!(found.expiry().unwrap() <= SystemTime::now() + KEYS_READ_EVERY);
        }
    }

    #[test]
    fn tags_are_escaped() {
        let options = S3Options {
            tags: vec![("team".into(), "a&b=c ü".into()), ("env".into(), "prod".into())],
            ..Default::default()
        };
        assert_eq!(options.tagging().unwrap(), "team=a%26b%3Dc%20%C3%BC&env=prod");
        assert_eq!(S3Options::default().tagging(), None);
    }
}

//! One attempt to tell somebody.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::channel::{Channel, Mail, Way, Webhook};
use super::mail;
use super::news::{News, Notice};
use super::template::{Into, cut, fill};
use crate::error::Result;

/// How long an attempt may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How much of an answer is read.
const ANSWER: usize = 64 << 10;

/// Tells `notice` through `channel`.
///
/// # Errors
/// Nobody was reached.
pub async fn send(channel: &Channel, notice: &Notice, now: DateTime<Utc>) -> Result<()> {
    let sending = async {
        match &channel.way {
            Way::Webhook(webhook) => call(webhook, notice, now).await,
            Way::Ping(url) => {
                let url = url.as_ref().context("it has no url")?.text()?;
                let end = match notice.news {
                    News::Failed => "/fail",
                    _ => "",
                };
                ping(&url, end, notice).await
            }
            Way::Mail(Mail { .. }) => mail::send(channel, notice).await,
            Way::Command(program) => run(program, notice).await,
        }
    };
    let sent = tokio::time::timeout(TIMEOUT, sending).await;
    sent.unwrap_or_else(|_| bail!("there was no answer within {} s", TIMEOUT.as_secs()))
}

/// The machine that tells.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A text that is the same for the same run and differs for all others, in the form of a UUID.
pub fn uuid(of: &str) -> String {
    let digest = Sha256::digest(of);
    let mut bytes: Vec<u8> = digest.iter().take(16).copied().collect();
    // What the standard wants of one that is made by somebody's own rules.
    if let Some(byte) = bytes.get_mut(6) {
        *byte = *byte & 0x0f | 0x80;
    }
    if let Some(byte) = bytes.get_mut(8) {
        *byte = *byte & 0x3f | 0x80;
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default().to_owned());
    parts.join("-")
}

/// A ping of a run: `end` is `/start`, `/fail`, `/log` or nothing.
///
/// # Errors
/// The monitor was not reached.
pub async fn ping(url: &str, end: &str, notice: &Notice) -> Result<()> {
    let url = fill(url, &[("job", notice.job.clone())], Into::Url);
    let began = notice.run.get("started").map(ToString::to_string).unwrap_or_default();
    let id = uuid(&format!("{} {} {began}", host(), notice.job));
    let (address, query) = url.split_once('?').unwrap_or((url.as_str(), ""));
    let joint = if query.is_empty() { "" } else { "&" };
    let uri = format!("{}{end}?{query}{joint}rid={id}", address.trim_end_matches('/'));
    let body = cut(&format!("{}\n{}", notice.title, notice.message), 9_000, true);
    let request = Request::builder()
        .method(Method::POST)
        .uri(uri.parse::<Uri>().context("its url")?)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8");
    request_with(request, body.into()).await
}

async fn call(webhook: &Webhook, notice: &Notice, now: DateTime<Utc>) -> Result<()> {
    let preset = &webhook.preset;
    let key = webhook.key.as_ref().map(super::channel::Hidden::text).transpose()?;
    let notice = Notice {
        message: cut(&notice.message, preset.limit, preset.bytes),
        ..notice.clone()
    };
    let values = notice.values(&host(), &webhook.to, key.as_deref().unwrap_or_default());
    let base = match (&webhook.url, &preset.url) {
        (Some(url), _) => url.text()?,
        (None, Some(url)) => url.clone(),
        (None, None) => bail!("it has no url"),
    };
    let uri = base + &fill(&preset.url_suffix, &values, Into::Url);
    let into = match preset.content_type.contains("json") {
        true => Into::Json,
        false => Into::Text,
    };
    let body = fill(&preset.body, &values, into);
    let mut request = Request::builder()
        .method(Method::from_bytes(preset.method.as_bytes())?)
        .uri(uri.parse::<Uri>().context("its url")?);
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, &preset.content_type);
    }
    for (name, value) in &preset.headers {
        let value = HeaderValue::from_str(&fill(value, &values, Into::Header))?;
        request = request.header(HeaderName::try_from(name.as_str())?, value);
    }
    if let Some(token) = &webhook.token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.text()?));
    }
    if let Some(secret) = &webhook.secret {
        let id = format!("msg_{}", uuid(&format!("{} {} {}", notice.job, notice.news, notice.at)));
        let signature = signature(&secret.text()?, &id, now, &body)?;
        request = request
            .header("webhook-id", id)
            .header("webhook-timestamp", now.timestamp())
            .header("webhook-signature", signature);
    }
    request_with(request, body.into()).await
}

/// The signature of Standard Webhooks. A key without their prefix is taken as it is.
fn signature(secret: &str, id: &str, now: DateTime<Utc>, body: &str) -> Result<String> {
    let key = match secret.strip_prefix("whsec_") {
        Some(encoded) => BASE64_STANDARD.decode(encoded).context("the secret after whsec_")?,
        None => secret.as_bytes().to_vec(),
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(&key)?;
    mac.update(format!("{id}.{}.{body}", now.timestamp()).as_bytes());
    Ok(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
}

/// Sends a request; an answer that is no success is an error with what it says.
async fn request_with(request: hyper::http::request::Builder, body: Bytes) -> Result<()> {
    let request = request
        .header(USER_AGENT, concat!("snapback/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(body))?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    // The URL may hold a secret, so no error names it.
    let answer = client.request(request).await.map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        anyhow::anyhow!("it cannot be reached: {why}")
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let text = Limited::new(answer.into_body(), ANSWER)
        .collect()
        .await
        .map(|body| body.to_bytes());
    let text = text.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    bail!("it answered {status}: {}", cut(text.trim(), 300, false));
}

async fn run(program: &[String], notice: &Notice) -> Result<()> {
    let (name, args) = program.split_first().context("there is no program")?;
    let mut command = Command::new(name);
    command
        .args(args)
        .env("SNAPBACK_JOB", &notice.job)
        .env("SNAPBACK_NEWS", notice.news.name())
        .env("SNAPBACK_TITLE", &notice.title)
        .env("SNAPBACK_MESSAGE", &notice.message)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().context("starting it")?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not want to read it may have ended already.
        let _ = input.write_all(format!("{}\n", notice.run).as_bytes()).await;
    }
    let output = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().next_back().unwrap_or_default();
    ensure!(output.status.success(), "{} {last}", output.status);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_signed_as_the_example_of_standard_webhooks_is() {
        // From the test vectors of the reference libraries.
        let at = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let signed = signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            at,
            "{\"test\": 2432232314}",
        );
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_same_run_has_the_same_number() {
        assert_eq!(uuid("a"), uuid("a"));
        assert_ne!(uuid("a"), uuid("b"));
        assert_eq!(uuid("a").len(), 36);
    }
}

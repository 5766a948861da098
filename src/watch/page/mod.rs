//! The status as a page: HTML without scripts and without anything from elsewhere, for screens of any size, and for paper.

mod chart;
mod job;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sha2::{Digest as _, Sha256};

use super::history::Run;
use super::status::{JobStatus, Status};
use crate::{printable, redact};

/// How everything looks.
const STYLE: &str = include_str!("style.css");

/// Where links lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// To the pages of the server.
    Server,
    /// Within the one file.
    File,
}

/// What a page may load: its own style, by the hash of it, and nothing else.
#[must_use]
pub fn policy() -> String {
    static HASH: LazyLock<String> = LazyLock::new(|| BASE64_STANDARD.encode(Sha256::digest(STYLE)));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        *HASH
    )
}

/// Text as HTML: without secrets, without what nobody can see, and with nothing in it that means anything to a browser.
#[must_use]
pub fn escape(text: &str) -> String {
    let text = redact::secrets(text);
    let text = printable::lines(&text);
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A whole document.
fn document(title: &str, at: Option<DateTime<Utc>>, links: Links, body: &str) -> String {
    let home = match links {
        Links::Server => "<a href=\"/\">Snapback</a>",
        Links::File => "Snapback",
    };
    // A screen on a wall is never older than a minute.
    let refresh = match links {
        Links::Server => "<meta http-equiv=\"refresh\" content=\"60\">",
        Links::File => "",
    };
    let at = at.map_or_else(String::new, |at| {
        format!(", as of {}", at.format("%Y-%m-%d %H:%M:%S UTC"))
    });
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\">{refresh}<style>{STYLE}</style></head>\
         <body><header>{home}</header><main>{body}</main>\
         <footer>Snapback {}{at}</footer></body></html>\n",
        escape(title),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The first page: the sentence, and a card for each job.
#[must_use]
pub fn index(status: &Status, links: Links) -> String {
    document("Backups", Some(status.at), links, &overview(status, links))
}

/// The page of a job.
#[must_use]
pub fn job(status: &Status, job: &JobStatus) -> String {
    let body = job::section(job, status.at, Links::Server);
    document(
        &format!("Backups of {}", job.job),
        Some(status.at),
        Links::Server,
        &body,
    )
}

/// The page of a run.
#[must_use]
pub fn run(run: &Run) -> String {
    document(
        &format!(
            "Run {} of {}",
            run.run,
            if run.job.is_empty() { "the daemon" } else { &run.job }
        ),
        None,
        Links::Server,
        &job::run(run),
    )
}

/// Everything in one file, for an archive, an e-mail or an auditor.
#[must_use]
pub fn report(status: &Status) -> String {
    let mut body = overview(status, Links::File);
    for job in &status.jobs {
        let id = escape(&job.job);
        let section = job::section(job, status.at, Links::File);
        let _ = write!(body, "<section class=\"job\" id=\"job-{id}\">{section}</section>");
    }
    document("Report on backups", Some(status.at), Links::File, &body)
}

fn overview(status: &Status, links: Links) -> String {
    let class = if status.fresh { "sentence" } else { "sentence bad" };
    let mut html = format!(
        "<h1 class=\"{class}\">{}</h1><div class=\"jobs\">",
        escape(&first_upper(&status.sentence))
    );
    // What needs somebody comes first.
    let (trouble, fine): (Vec<&JobStatus>, Vec<_>) = status.jobs.iter().partition(|job| !job.problems.is_empty());
    for job in trouble.into_iter().chain(fine) {
        html.push_str(&job::card(job, status.at, links));
    }
    html + "</div>"
}

/// A name of a job begins no sentence in capitals that it has not.
fn first_upper(sentence: &str) -> Cow<'_, str> {
    match sentence.starts_with("all ") || sentence.starts_with("no ") {
        true => Cow::Owned(sentence[..1].to_uppercase() + &sentence[1..]),
        false => Cow::Borrowed(sentence),
    }
}

/// A time in the job's zone, exact for machines.
fn time(time: DateTime<Utc>, zone: &str) -> String {
    let zone: Tz = zone.parse().unwrap_or_default();
    let local = time.with_timezone(&zone);
    format!(
        "<time datetime=\"{}\">{}</time>",
        time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        local.format("%Y-%m-%d %H:%M %Z")
    )
}

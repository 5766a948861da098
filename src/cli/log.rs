//! The process's log: readable, JSON, or straight to journald. What is written to it may come from anywhere, so it is cleaned
//! here, once, of passwords and of what a terminal would obey.

mod journal;

use std::borrow::Cow;
use std::io::{self, Stderr, Write};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::raw::{Log, LogFormat};
use crate::error::{Exit, Fail, Result};
use crate::{printable, raw_text, redact};

/// Sets up the process's log.
pub(super) fn init(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|error| Fail::new(Exit::Usage, format!("log level {:?}: {error}", log.level)))?;
    // The timer tells of each of its jobs, which are of no use to anybody but us; and where credentials were looked for in
    // vain is in the error, in words.
    let quiet = ["tokio_cron_scheduler=warn", "aws_config::meta=error"];
    let filter = quiet.into_iter().try_fold(filter, |filter, quiet| {
        let quiet = quiet.parse().context("a directive of ours")?;
        anyhow::Ok(filter.add_directive(quiet))
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    match log.format {
        LogFormat::Human => registry
            .with(
                lines
                    .with_ansi(super::terminal::has_colour())
                    .with_writer(|| Cleaned::new(human)),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(lines.json().flatten_event(true).with_writer(|| Cleaned::new(json)))
            .try_init(),
        LogFormat::Journald => {
            let journal =
                tracing_journald::layer().context("journald cannot be reached (log.format = \"journald\")")?;
            registry.with(journal::Cleaned(journal)).try_init()
        }
    }
    .context("the log is set up already")
}

/// Standard error, with each event cleaned: an event comes in one piece.
struct Cleaned {
    out: Stderr,
    clean: fn(&str) -> Vec<u8>,
}

impl Cleaned {
    fn new(clean: fn(&str) -> Vec<u8>) -> Self {
        Cleaned {
            out: io::stderr(),
            clean,
        }
    }
}

impl Write for Cleaned {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let cleaned = (self.clean)(&String::from_utf8_lossy(event));
        self.out.lock().write_all(&cleaned)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// One event is one line, whatever is in it.
fn human(event: &str) -> Vec<u8> {
    let line = redact::secrets(event.trim_end_matches('\n'));
    let mut clean = String::with_capacity(line.len() + 1);
    for (at, piece) in line.split('\u{1b}').enumerate() {
        // The formatter escapes what is in a message: what is left are its own colours.
        let (colour, text) = match at {
            0 => ("", piece),
            _ => colour(piece),
        };
        if at > 0 {
            clean.push_str(if colour.is_empty() { "\\x1b" } else { "\u{1b}" });
        }
        clean.push_str(colour);
        clean.push_str(&printable::line(text));
    }
    clean.push('\n');
    raw_text::encode(&clean).into_owned()
}

/// The colour that a text begins with, `[2m`, and the rest.
fn colour(text: &str) -> (&str, &str) {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b';');
    match text.find('m') {
        Some(end) if text.starts_with('[') && digits(&text[1..end]) => text.split_at(end + 1),
        _ => ("", text),
    }
}

fn json(event: &str) -> Vec<u8> {
    match redact::json(event) {
        Cow::Borrowed(event) => event.as_bytes().to_vec(),
        Cow::Owned(event) => event.into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_clean_line() {
        let event = "\u{1b}[2mnow\u{1b}[0m a\u{1b}]0;x\u{7}b\r\nERROR forged postgres://u:hush@h/d\n";
        let text = String::from_utf8(human(event)).unwrap();
        assert_eq!(
            text,
            "\u{1b}[2mnow\u{1b}[0m a\\x1b]0;x\\x07b\\r\\nERROR forged postgres://u:********@h/d\n"
        );
    }
}

//! An archive as SQL text: what pg_dump's plain format and `pg_restore -f -` print.
//!
//! The text follows the major version of [`Quote`], byte for byte, because that is the pg_dump whose
//! output it stands for.

mod connect;
mod drop;
mod entry;
mod large_object;
mod owner;
mod state;

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use chrono::NaiveDateTime;

use super::Header;
use super::options::RestoreOptions;
use super::required::{Pass, Required, pass, required};
use super::toc::{DumpId, Entry};
use crate::error::Result;
use crate::local_time;
use crate::raw_text;
use crate::sql::quote::Quote;

/// `name` on one line: a line feed in it must not end a comment.
#[must_use]
pub fn sanitize(name: &str) -> Cow<'_, str> {
    if name.contains(['\n', '\r']) {
        Cow::Owned(name.replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(name)
    }
}

/// Prints the text of entries, and knows what the session that reads it has set.
///
/// It serves the plain format as a whole through [`Writer`], and a restore entry by entry.
pub struct Script {
    entries: Arc<Vec<Entry>>,
    required: Vec<Required>,
    options: RestoreOptions,
    /// The role that runs the statements, where it is known.
    role: Option<String>,
    quote: Quote,
    settings: state::Settings,
    current: state::Current,
    out: String,
    /// What `pg_dump -v` would have said meanwhile.
    notes: Vec<String>,
}

/// A part of the main text: an entry's definition, or its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Definition(usize),
    Statistics(usize),
    Rows(usize),
}

impl Script {
    /// A script of what `options` want of `entries`.
    #[must_use]
    pub fn new(entries: Arc<Vec<Entry>>, mut options: RestoreOptions, quote: Quote) -> Self {
        let mut notes = Vec::new();
        let mut required = required(&entries, &options);
        if options.schema && !required.iter().any(|required| required.schema) {
            // Nothing but rows is left, so this is a restore of rows alone.
            options.schema = false;
            required = super::required::required(&entries, &options);
            if options.verbose {
                let what = if quote.major < 18 { "data-only" } else { "no-schema" };
                notes.push(format!("implied {what} restore"));
            }
        }
        let settings = state::Settings::read(&entries);
        Script {
            quote: Quote {
                std_strings: settings.std_strings,
                ..quote
            },
            entries,
            required,
            options,
            role: None,
            settings,
            current: state::Current::default(),
            out: String::new(),
            notes,
        }
    }

    /// Says which role runs the statements: what that role creates is its own already, and is not given to it.
    pub fn run_by(&mut self, role: String) {
        self.role = Some(role);
    }

    /// Takes what was printed since the last call, as bytes of the archive's encoding.
    pub fn take(&mut self) -> Bytes {
        let text = std::mem::take(&mut self.out);
        match raw_text::encode(&text) {
            Cow::Borrowed(_) => Bytes::from(text.into_bytes()),
            Cow::Owned(bytes) => Bytes::from(bytes),
        }
    }

    /// The encoding that the text of `entries` is in.
    #[must_use]
    pub fn encoding(entries: &[Entry]) -> String {
        state::Settings::read(entries).encoding
    }

    fn print(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn note(&mut self, note: impl FnOnce() -> String) {
        if self.options.verbose {
            self.notes.push(note());
        }
    }

    fn print_head(&mut self, header: &Header) {
        self.print("--\n-- PostgreSQL database dump\n--\n\n");
        if let Some(key) = &self.options.restrict_key {
            self.out.push_str(&format!("\\restrict {key}\n\n"));
        }
        self.print(&format!(
            "-- Dumped from database version {}\n-- Dumped by pg_dump version {}\n\n",
            header.server_version, header.dumper_version
        ));
        if self.options.verbose {
            self.print_time("Started on", header.created);
        }
        self.print_settings();
    }

    fn print_foot(&mut self, completed: NaiveDateTime) {
        if self.options.verbose {
            self.print_time("Completed on", completed);
        }
        self.print("--\n-- PostgreSQL database dump complete\n--\n\n");
        if let Some(key) = &self.options.restrict_key {
            self.out.push_str(&format!("\\unrestrict {key}\n\n"));
        }
    }

    fn print_time(&mut self, what: &str, time: NaiveDateTime) {
        self.print(&format!("-- {what} {}\n\n", local_time::with_zone(time)));
    }

    /// What is printed, in order: three passes over the entries.
    fn parts(&self) -> Vec<Part> {
        let order = self.options.selection.order(&self.entries);
        let mut parts = Vec::new();
        for turn in [Pass::Main, Pass::Acl, Pass::PostAcl] {
            for at in order.iter().copied() {
                let (entry, required) = (&self.entries[at], self.required[at]);
                if !required.wanted() || pass(entry) != turn {
                    continue;
                }
                if required.schema || (required.data && !entry.has_data) {
                    parts.push(Part::Definition(at));
                }
                if required.data && entry.has_data {
                    parts.push(Part::Rows(at));
                }
                if required.statistics {
                    parts.push(Part::Statistics(at));
                }
            }
        }
        parts
    }
}

/// Writes the plain format: text, with a place for the rows of each entry of [`Writer::data`].
pub struct Writer {
    script: Script,
    parts: std::vec::IntoIter<Part>,
    data: Vec<DumpId>,
    open: Option<usize>,
    /// Bytes of the open large object that do not fill a statement yet.
    object: Option<Vec<u8>>,
}

impl Writer {
    /// A writer of what `options` want of `entries`.
    #[must_use]
    pub fn new(entries: Arc<Vec<Entry>>, options: RestoreOptions, quote: Quote) -> Self {
        let script = Script::new(entries, options, quote);
        let parts = script.parts();
        let rows = |part: &Part| match part {
            Part::Rows(at) => Some(script.entries[*at].dump_id),
            _ => None,
        };
        Writer {
            data: parts.iter().filter_map(rows).collect(),
            parts: parts.into_iter(),
            script,
            open: None,
            object: None,
        }
    }

    /// The entries whose rows are wanted, in the order in which they must come.
    #[must_use]
    pub fn data(&self) -> &[DumpId] {
        &self.data
    }

    /// What `pg_dump -v` says of what was printed since the last call.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.script.notes)
    }

    /// The text before the first entry: settings, and what `--clean` drops.
    pub fn begin(&mut self, header: &Header) -> Bytes {
        self.script.print_head(header);
        self.script.print_drops();
        self.script.take()
    }

    /// The text up to where the rows of `id` begin.
    ///
    /// # Errors
    /// The rows of `id` are not next.
    pub fn begin_data(&mut self, id: DumpId) -> Result<Bytes> {
        for part in self.parts.by_ref() {
            self.script.print_part(part);
            if let Part::Rows(at) = part {
                anyhow::ensure!(
                    self.script.entries[at].dump_id == id,
                    "the rows of entry {id} come out of turn"
                );
                self.open = Some(at);
                return Ok(self.script.take());
            }
        }
        anyhow::bail!("the archive has no place for the rows of entry {id}")
    }

    /// Rows as they are, or the bytes of the open large object as statements.
    pub fn chunk(&mut self, bytes: Bytes) -> Bytes {
        match &mut self.object {
            None => bytes,
            Some(rest) => {
                rest.extend_from_slice(&bytes);
                let whole = rest.len() - rest.len() % large_object::PIECE;
                let text = large_object::lowrite(&rest[..whole], self.script.settings.std_strings);
                rest.drain(..whole);
                text
            }
        }
    }

    /// The text that opens the large object `oid`.
    pub fn begin_object(&mut self, oid: u32) -> Bytes {
        self.script.open_large_object(oid);
        self.object = Some(Vec::new());
        self.script.take()
    }

    /// The text that closes a large object.
    pub fn end_object(&mut self) -> Bytes {
        let rest = self.object.take().unwrap_or_default();
        let mut text = large_object::lowrite(&rest, self.script.settings.std_strings).to_vec();
        self.script.close_large_object();
        text.extend_from_slice(&self.script.take());
        Bytes::from(text)
    }

    /// The text after the rows.
    ///
    /// # Errors
    /// No rows are being written.
    pub fn end_data(&mut self) -> Result<Bytes> {
        let at = self.open.take().context("no rows are being written")?;
        self.script.end_rows(at);
        Ok(self.script.take())
    }

    /// The text of all definitions that are wanted, without what a whole script has around them.
    #[must_use]
    pub fn definitions(mut self) -> Bytes {
        for part in self.parts.by_ref().filter(|part| !matches!(part, Part::Rows(_))) {
            self.script.print_part(part);
        }
        self.script.take()
    }

    /// The rest of the text.
    ///
    /// # Errors
    /// The rows of an entry are missing.
    pub fn finish(&mut self, now: NaiveDateTime) -> Result<Bytes> {
        for part in self.parts.by_ref() {
            if let Part::Rows(at) = part {
                anyhow::bail!("the rows of entry {} are missing", self.script.entries[at].dump_id);
            }
            self.script.print_part(part);
        }
        self.script.print_foot(now);
        Ok(self.script.take())
    }
}

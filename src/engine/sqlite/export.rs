//! One backup of a database file: a transaction that reads, and within it the pages, the facts, the rows and the checks.
//!
//! The transaction comes first, so no writer changes anything under our hands: what is written while we read is in none of
//! it. SQLite works on a thread of its own; this side compresses, seals and uploads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use rusqlite::{Connection, InterruptHandle};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Hold;
use super::failure::{explain, is_damage};
use super::integrity::Findings;
use super::open::Found;
use super::pages::{Coming, GivenUp, Pages};
use super::parts::Parts;
use super::snapshot::Snapshot;
use super::tables::{self, Definitions, Unread};
use super::{facts, give_way, integrity, rights};
use crate::error::Result;
use crate::manifest::{SqliteFacts, Table, Written};
use crate::seal::{Algorithm, Codec, Compression, Digest, Frame, Joiner};
use crate::store::Upload;

/// What a run is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// How the pages are compressed.
    pub compress: Compression,
    /// How long writers may wait for us, and we for them.
    pub max_lock_wait: Option<Duration>,
}

/// What was found in a database within one transaction.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// What the file says of itself.
    pub facts: SqliteFacts,
    /// How many objects of each type there are.
    pub entries: BTreeMap<String, u64>,
    /// The tables with their rows and hashes.
    pub tables: Vec<Table>,
    /// SHA-256 (hex) of all definitions.
    pub schema_hash: String,
}

/// What a finished backup says of itself.
pub struct Exported {
    /// What is in it.
    pub contents: Contents,
    /// What there is to warn of.
    pub warnings: Vec<String>,
    /// Size and digest of the archive.
    pub written: Written,
}

/// Who hears how it goes on. It must not block.
pub trait Progress: Send + Sync {
    /// So many bytes of pages are to be read.
    fn expect(&self, bytes: u64);
    /// So many more were.
    fn read(&self, bytes: u64);
}

/// Writes the database that was `found` into `upload` as one object, and makes it durable.
///
/// # Errors
/// Whatever keeps the backup from being complete and right; then nothing appears under its name.
pub async fn export(
    found: &Found,
    request: &Request,
    mut upload: Box<dyn Upload>,
    progress: Arc<dyn Progress>,
) -> Result<Exported> {
    match run(found, request, upload.as_mut(), progress).await {
        Ok(exported) => {
            upload.finish(Bytes::new()).await.context("finishing the archive")?;
            Ok(exported)
        }
        Err(error) => {
            if let Err(also) = upload.abort().await {
                tracing::warn!("what was written of the failed backup could not be removed: {also:#}");
            }
            Err(error)
        }
    }
}

/// Ends what SQLite does when nobody waits for it any more.
#[derive(Default)]
struct Interrupt(Vec<InterruptHandle>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.iter().for_each(InterruptHandle::interrupt);
    }
}

async fn run(
    found: &Found,
    request: &Request,
    upload: &mut dyn Upload,
    progress: Arc<dyn Progress>,
) -> Result<Exported> {
    let codec = Codec {
        compression: with_level(request.compress),
        frame: Frame::Gzip,
    };
    let mut warnings: Vec<String> = network_warning(found).into_iter().collect();
    let log_before = found.log_size();
    let (pages, segments) = Pages::new(codec, Handle::current());
    let (begun, begins) = oneshot::channel();
    let reading = tokio::task::spawn_blocking({
        let (found, wait) = (found.clone(), request.max_lock_wait.unwrap_or(WAIT));
        move || read(&found, wait, pages, begun, progress.as_ref())
    });
    // Where it never began, the thread says why.
    let (size, interrupt) = begins.await.unwrap_or_default();
    upload.expect(0, size);
    let work = async {
        let written = pump(segments, codec, upload).await;
        match (reading.await?, written) {
            // The thread stopped because this side did.
            (Err(given_up), Err(error)) if given_up.is::<GivenUp>() => Err(error),
            (Err(error), _) => Err(named(error, found)),
            (Ok(contents), written) => Ok((contents, written?)),
        }
    };
    let (mut contents, written) = tokio::select! {
        done = work => done?,
        waited = give_way::waited_too_long(found, request.max_lock_wait) => return Err(waited.into()),
    };
    drop(interrupt);
    rights::read(&mut contents.facts, &found.path);
    contents.facts.log_bytes = [log_before, found.log_size()];
    warnings.extend(told(found, &contents.facts));
    Ok(Exported {
        contents,
        warnings,
        written: Written {
            bytes: written.bytes(),
            body_sha256: written.hex(),
            head_bytes: 0,
            head_sha256: Digest::new().hex(),
        },
    })
}

/// What a method means where it has no level. Pages at zstd's level 2 are as small as at its usual 3, in two thirds of the
/// time (docs/sqlite.md, Cost).
fn with_level(asked: Compression) -> Compression {
    match asked {
        Compression {
            algorithm: Algorithm::Zstd,
            level: None,
            ..
        } => Compression {
            level: Some(2),
            ..asked
        },
        _ => asked,
    }
}

/// How long a lock of somebody else is waited for where nothing is configured.
const WAIT: Duration = Duration::from_secs(10);

fn named(error: anyhow::Error, found: &Found) -> anyhow::Error {
    match error.downcast::<rusqlite::Error>() {
        Ok(error) => explain(error, &found.path),
        Err(error) => error,
    }
}

fn network_warning(found: &Found) -> Option<String> {
    let kind = found.network()?;
    let name = found.path.display();
    Some(format!(
        "{name} is on {kind}: locks across a network are not to be relied upon, and SQLite advises against it"
    ))
}

/// What a person should know of a backup that is whole.
fn told(found: &Found, facts: &SqliteFacts) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(first) = facts.damage.first() {
        let (name, more) = (found.path.display(), facts.damage.len() - 1);
        let more = if more == 0 {
            String::new()
        } else {
            format!(" (and {more} more findings)")
        };
        told.push(format!(
            "{name} was damaged before it was saved, so this backup does not count as a good one: {first}{more}"
        ));
    }
    told.extend(facts.violations.iter().cloned());
    told.extend(facts.not_provable.iter().map(|why| format!("not provable: {why}")));
    let [before, after] = facts.log_bytes;
    if after > before.saturating_add(GROWTH) {
        told.push(format!(
            "the write-ahead log grew from {before} to {after} bytes while the database was read"
        ));
    }
    told
}

/// Growth of the log below this is no news.
const GROWTH: u64 = 64 << 20;

/// Carries the segments into the upload as they come.
async fn pump(mut segments: mpsc::Receiver<Coming>, codec: Codec, upload: &mut dyn Upload) -> Result<Digest> {
    let mut joiner = Joiner::new(codec);
    let mut digest = Digest::new();
    if let Some(part) = joiner.header() {
        digest.update(&part);
        upload.write(part).await?;
    }
    while let Some(coming) = segments.recv().await {
        let (chunks, end) = coming.await??;
        for chunk in chunks {
            digest.update(&chunk);
            upload.write(chunk).await?;
        }
        joiner.add(&end);
    }
    if let Some(part) = joiner.trailer() {
        digest.update(&part);
        upload.write(part).await?;
    }
    Ok(digest)
}

/// What the thread of SQLite does, from the first lock to the last.
fn read(
    found: &Found,
    wait: Duration,
    pages: Pages,
    begun: oneshot::Sender<(u64, Interrupt)>,
    progress: &dyn Progress,
) -> Result<Contents> {
    let hold = Hold::begin(found, wait)?;
    let snapshot = Snapshot::begin(found, wait)?;
    let mut facts = facts::read(&snapshot.pages)?;
    facts.damage.extend(snapshot.damage.clone());
    let size = facts.pages * u64::from(facts.page_size);
    progress.expect(size);
    // Nobody waits for it any more where the run was given up.
    let _ = begun.send((size, Interrupt(snapshot.interrupts())));
    let (page_size, count) = (facts.page_size, facts.pages);
    let contents = snapshot.read(
        |open| {
            pages
                .read(open, page_size, count, &|bytes| progress.read(bytes))
                .map(|_| ())
        },
        move |rows, checks| contents(rows, checks, facts),
    )?;
    // A damaged file is left as it was found.
    if let Some(hold) = hold.filter(|_| !contents.facts.damaged) {
        hold.end(found);
    }
    Ok(contents)
}

/// Everything that is to be known of a database beside its pages, within the transaction that `rows` is in. The checks run at
/// the same time where there is another connection for them, which sees the same.
///
/// # Errors
/// SQLite's; what is about damage, or about something that is missing here, is among the facts.
pub fn contents(rows: &Connection, checks: Option<&mut Connection>, mut facts: SqliteFacts) -> Result<Contents> {
    let definitions = match tables::definitions(rows) {
        Err(error) if is_damage(&error) => {
            facts.damage.push(format!("the definitions cannot be read: {error}"));
            Definitions::default()
        }
        read => read?,
    };
    let modules = tables::modules(rows)?;
    for (name, module) in &definitions.virtual_tables {
        if !modules.iter().any(|known| known.eq_ignore_ascii_case(module)) {
            facts
                .not_provable
                .push(format!("{name}: there is no module {module} here"));
        }
    }
    let names = &definitions.tables;
    let parts = Parts::new(rows, names);
    let found = match checks {
        None if parts.work(rows) => Ok(Findings::default()),
        None => integrity::check(rows, names),
        Some(checks) => std::thread::scope(|scope| {
            let (parts, stop) = (&parts, checks.get_interrupt_handle());
            // A unique reference, for a connection is of one thread at a time.
            let checking = scope.spawn(move || {
                let found = integrity::check(checks, names);
                // Where the run was given up, an interrupted connection would begin another part.
                if found.is_ok() {
                    parts.work(checks);
                }
                found
            });
            if parts.work(rows) {
                stop.interrupt();
            }
            checking.join().unwrap_or(Err(rusqlite::Error::InvalidQuery))
        }),
    };
    let mut hashed = Vec::new();
    for (name, read) in parts.read() {
        match read {
            Ok(rows) => hashed.push((name, rows)),
            Err(Unread::Damaged(why)) => facts.damage.push(why),
            Err(Unread::NotProvable(why)) => facts.not_provable.push(why),
            Err(Unread::Failed(error)) => return Err(error.into()),
        }
    }
    let mut found = found?;
    for (name, read) in &hashed {
        integrity::compare(rows, name, &read.entries, &mut found)?;
    }
    let tables = hashed.iter().map(|(name, read)| read.table(name)).collect();
    facts.damage.extend(found.damage);
    facts.violations.extend(found.violations);
    facts.not_provable.extend(found.not_provable);
    facts.damaged = !facts.damage.is_empty();
    Ok(Contents {
        facts,
        entries: definitions.entries,
        tables,
        schema_hash: definitions.hash,
    })
}

#[cfg(test)]
mod tests;

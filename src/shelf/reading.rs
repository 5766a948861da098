//! Manifests and records read from a store, each by one request, for the listing has said how large it is. However many and
//! however large they are, only so much of their text is in memory at once.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::{Backup, Copy, Failure, Inventory, Names, Pin, RECORD_LIMIT, Shelf};
use crate::error::{Exit, Fail, Result, exit_of};
use crate::manifest::{BackupId, FORMAT_VERSION, File, Manifest, Part, Summary};
use crate::store::{Missing, Store};

/// The largest piece of a text that is read at once: far stores answer slowly, so nearly every manifest is one piece.
const PIECE: u64 = 4 << 20;

/// The largest piece that is read of a folder. What is larger, the allocator takes from the system for each text anew at first, and
/// then keeps for each thread: a history of large manifests would take as many of them as there are threads.
const LOCAL_PIECE: u64 = 100 << 10;

/// How many KiB of text are in memory at once. A disk answers at once.
const TEXT_LIMIT: usize = 8 << 10;
const LOCAL_TEXT_LIMIT: usize = 4 << 10;

/// A text that is parsed where it arrives: another thread takes longer to begin than to do it, and keeps memory.
const SHORT: u64 = 64 << 10;

/// How many texts are read at once: far stores answer slowly, and most texts are small.
const READERS: usize = 24;

/// The room that texts have.
struct Room {
    limit: Semaphore,
    /// Where texts of a folder were, for the next ones.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Room {
    fn of(kib: usize) -> Room {
        Room {
            limit: Semaphore::new(kib),
            spare: Mutex::default(),
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was read before and never changes.
#[derive(Debug, Default)]
pub struct Known {
    /// What manifests say.
    pub summaries: BTreeMap<BackupId, Summary>,
    /// Runs that failed.
    pub failures: BTreeMap<BackupId, Failure>,
}

impl Shelf {
    /// Reads everything that `names` names, but again no summary that is `known`: manifests never change.
    pub(super) async fn read(&self, names: &Names, known: Known) -> Result<Inventory> {
        let Known {
            mut summaries,
            failures,
        } = known;
        let limit = match self.store.is_local() {
            true => LOCAL_TEXT_LIMIT,
            false => TEXT_LIMIT,
        };
        let room = Arc::new(Room::of(limit));
        let mut found = Inventory {
            failures: self.failures(names, failures).await?,
            claims: self.records(Part::Claim, &names.claims).await?,
            holds: names.holds.clone(),
            guards: names.guards.clone(),
            removals: names.removals.iter().copied().collect(),
            taken: names.taken(),
            ..Inventory::default()
        };
        let pins = self.records::<Pin>(Part::Pin, &names.pins).await?;
        let manifests = names.manifests.iter().rev();
        let manifests: Vec<_> = manifests.map(|(id, size)| (*id, *size, summaries.remove(id))).collect();
        let mut reading = stream::iter(manifests)
            .map(|(id, size, known)| {
                let (shelf, room) = (self.clone(), Arc::clone(&room));
                async move {
                    match known {
                        Some(summary) => Ok(summary),
                        None => shelf.summary(id, size, &room).await,
                    }
                }
            })
            .buffered(READERS);
        while let Some(summary) = reading.next().await {
            match summary {
                Ok(summary) => {
                    let pin = pins.iter().find(|pin| pin.id == summary.id).cloned();
                    found.backups.push(Backup::of(summary, pin, names));
                }
                Err(error) if exit_of(&error) == Exit::Damaged => found.unreadable.push(format!("{error:#}")),
                // Deleted since it was listed.
                Err(error) if error.is::<Missing>() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The records of failed runs, the newest first; those that are `known` are not read again.
    async fn failures(&self, names: &Names, known: BTreeMap<BackupId, Failure>) -> Result<Vec<Failure>> {
        let mut unknown = names.failures.clone();
        unknown.retain(|id, _| !known.contains_key(id));
        let read = self.records::<Failure>(Part::Failure, &unknown).await?;
        let mut all: Vec<Failure> = known.into_values().chain(read).collect();
        all.sort_by_key(|failure| std::cmp::Reverse(failure.id));
        Ok(all)
    }

    /// The copy of a backup that lies here, opened; `None` where there is none.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: its manifest makes no sense. Or the store fails.
    pub async fn copy(&self, names: &Names, id: BackupId) -> Result<Option<Copy>> {
        let Some(&size) = names.manifests.get(&id) else {
            return Ok(None);
        };
        let (manifest, summary) = match self.whole(id, size).await {
            // Deleted since it was listed.
            Err(error) if error.is::<Missing>() => return Ok(None),
            read => read?,
        };
        let pin = match names.pins.get(&id) {
            Some(&size) => self.record(&self.path(Part::Pin, id), size).await?,
            None => None,
        };
        Ok(Some(Copy {
            shelf: self.clone(),
            backup: Backup::of(summary, pin, names),
            manifest: Box::new(manifest),
        }))
    }

    /// The manifest of a backup.
    ///
    /// # Errors
    /// [`Missing`]: there is none. [`Exit::Damaged`]: it makes no sense. Or the store fails.
    pub async fn manifest(&self, id: BackupId) -> Result<Manifest> {
        let path = self.path(Part::Manifest, id);
        let meta = self.store.stat(&path).await?.ok_or(Missing { path })?;
        self.whole(id, meta.size).await.map(|(manifest, _)| manifest)
    }

    /// What the summary of a manifest and the listing say of a backup; `None` where there is none that makes sense.
    ///
    /// # Errors
    /// The store fails.
    pub async fn backup(&self, names: &Names, id: BackupId) -> Result<Option<Backup>> {
        let Some(&size) = names.manifests.get(&id) else {
            return Ok(None);
        };
        match self.summary(id, size, &Room::of(TEXT_LIMIT)).await {
            Ok(summary) => Ok(Some(Backup::of(summary, None, names))),
            Err(error) if exit_of(&error) == Exit::Damaged || error.is::<Missing>() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn summary(&self, id: BackupId, size: u64, room: &Room) -> Result<Summary> {
        // The least is as much as a request takes besides.
        let wanted = (size.min(PIECE) >> 10).max(64) as u32;
        let _held = room.limit.acquire_many(wanted).await?;
        let summary = match self.store.is_local() && (LOCAL_PIECE..=PIECE).contains(&size) {
            true => self.parse_in(room, id, size).await?,
            false => self.parse(id, size).await?,
        };
        self.check_summary(id, &summary)?;
        Ok(summary)
    }

    async fn whole(&self, id: BackupId, size: u64) -> Result<(Manifest, Summary)> {
        let manifest: Manifest = self.parse(id, size).await?;
        let summary = Summary::from(&manifest);
        self.check_summary(id, &summary)?;
        Ok((manifest, summary))
    }

    fn senseless(&self, id: BackupId, why: &str) -> Fail {
        let path = self.path(Part::Manifest, id);
        Fail::new(Exit::Damaged, format!("the manifest {path} in {} {why}", self.store))
    }

    fn check_summary(&self, id: BackupId, summary: &Summary) -> Result<(), Fail> {
        let version = summary.format_version;
        if version > FORMAT_VERSION {
            let message = format!(
                "has format version {version}, and this Snapback reads up to {FORMAT_VERSION}: use the newer Snapback \
                 that wrote it"
            );
            return Err(self.senseless(id, &message));
        }
        // A manifest may only speak for the files of its own backup: they are what pruning deletes.
        let own = |file: &File, part: Part| file.name == part.name(&self.job, id);
        let (archive, globals) = (summary.archive_part(), Part::globals(summary.is_encrypted()));
        let speaks_for_itself = summary.job == self.job
            && summary.id == id
            && own(&summary.archive, archive)
            && summary.globals.as_ref().is_none_or(|file| own(file, globals));
        match speaks_for_itself {
            true => Ok(()),
            false => Err(self.senseless(id, "is about another backup")),
        }
    }

    /// Reads a manifest of `size` bytes piece by piece and parses it on the way, on a thread that may take its time.
    async fn parse<T: DeserializeOwned + Send + 'static>(&self, id: BackupId, size: u64) -> Result<T> {
        let path = self.path(Part::Manifest, id);
        if size > RECORD_LIMIT {
            let why = format!("has {size} bytes, and no manifest has more than {RECORD_LIMIT}");
            return Err(self.senseless(id, &why).into());
        }
        let parsed = if size <= PIECE {
            let text = match size {
                0 => Bytes::new(),
                size => self.store.read(&path, 0..size).await?,
            };
            match size <= SHORT {
                true => serde_json::from_slice(&text),
                false => spawn_blocking(move || serde_json::from_slice(&text)).await?,
            }
        } else {
            let mut pieces = Pieces {
                store: Arc::clone(&self.store),
                path,
                next: 0,
                size,
                piece: Bytes::new(),
                failed: None,
                runtime: Handle::current(),
            };
            let parse = move || {
                let parsed = serde_json::from_reader(BufReader::new(&mut pieces));
                pieces.failed.map_or(Ok(parsed), Err)
            };
            spawn_blocking(parse).await??
        };
        parsed.map_err(|error| self.senseless(id, &format!("cannot be understood: {error}")).into())
    }

    /// The summary of a manifest of `size` bytes in a folder, whose text goes where another was before.
    async fn parse_in(&self, room: &Room, id: BackupId, size: u64) -> Result<Summary> {
        let path = self.path(Part::Manifest, id);
        let mut text = room.spare().pop().unwrap_or_default();
        text.clear();
        text.reserve_exact(usize::try_from(size)?);
        for start in (0..size).step_by(LOCAL_PIECE as usize) {
            let piece = self.store.read(&path, start..size.min(start + LOCAL_PIECE)).await?;
            text.extend_from_slice(&piece);
        }
        let parse = move || (serde_json::from_slice(&text), text);
        let (parsed, text) = spawn_blocking(parse).await?;
        room.spare().push(text);
        parsed.map_err(|error| self.senseless(id, &format!("cannot be understood: {error}")).into())
    }

    /// The small records that are listed, the newest first. What is gone, or is none, is left out.
    pub(super) async fn records<T: DeserializeOwned>(
        &self,
        part: Part,
        listed: &BTreeMap<BackupId, u64>,
    ) -> Result<Vec<T>> {
        let listed: Vec<_> = listed
            .iter()
            .rev()
            .map(|(id, size)| (self.path(part, *id), *size))
            .collect();
        let records = stream::iter(listed).map(|(path, size)| {
            let shelf = self.clone();
            async move { shelf.record(&path, size).await }
        });
        let records: Vec<Option<T>> = records.buffered(READERS).try_collect().await?;
        Ok(records.into_iter().flatten().collect())
    }

    /// A small record of `size` bytes; `None` when it is gone, or is none. That the store cannot be read is an error: what it
    /// hides may be a reason to keep a backup.
    async fn record<T: DeserializeOwned>(&self, path: &str, size: u64) -> Result<Option<T>> {
        if size == 0 || size > PIECE {
            return Ok(None);
        }
        match self.store.read(path, 0..size).await {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.is::<Missing>() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The text of an object for a parser that reads.
struct Pieces {
    store: Arc<dyn Store>,
    path: String,
    next: u64,
    size: u64,
    piece: Bytes,
    /// Why the store failed: the parser would only say that it has.
    failed: Option<anyhow::Error>,
    runtime: Handle,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.next < self.size {
            let range = self.next..self.size.min(self.next + PIECE);
            self.next = range.end;
            match self.runtime.block_on(self.store.read(&self.path, range)) {
                Ok(piece) => self.piece = piece,
                Err(error) => {
                    self.failed = Some(error);
                    return Err(io::ErrorKind::Other.into());
                }
            }
        }
        let count = into.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

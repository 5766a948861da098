//! A folder of the local file system, or of one that is mounted.
//!
//! What is being written has a hidden name and is locked (`flock`), so that a killed run's leftover is told
//! from another process's unfinished work: the kernel drops the lock with the process.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use tokio::sync::RwLock;

use super::path::is_part;
use super::{Missing, ObjectMeta, Store, Taken, Upload, check_path};
use crate::error::{Exit, Fail, Result};
use crate::owner;

/// What the hidden names of unfinished objects end in.
const PARTIAL: &str = ".partial";

/// Tells apart the unfinished objects of one process.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A folder as a store.
#[derive(Clone, Debug)]
pub struct Local {
    root: PathBuf,
    /// Shared by all that is written at the moment, also by whom nobody waits for any more.
    writes: Arc<RwLock<()>>,
}

impl Local {
    /// The store in the folder `root`, which is created with the first object.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Local {
            root: root.into(),
            writes: Arc::default(),
        }
    }

    /// Where an object lies in the file system.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.display().fmt(f)
    }
}

#[async_trait]
impl Store for Local {
    fn is_local(&self) -> bool {
        true
    }

    fn room(&self) -> Option<u64> {
        // A folder that is made with the first backup has the room of the one that it will be in.
        let there = self.root.ancestors().find(|folder| folder.exists());
        let there = there.unwrap_or(Path::new("."));
        let room = rustix::fs::statvfs(there).ok()?;
        Some(room.f_bavail.saturating_mul(room.f_frsize))
    }

    async fn create(&self, path: &str) -> Result<Box<dyn Upload>> {
        check_path(path)?;
        let (store, path) = (self.clone(), path.to_owned());
        let work = move || Ok(Box::new(store.start(path)?) as Box<dyn Upload>);
        self.writing(work).await
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        check_path(path)?;
        let (file, path) = (self.file(path), path.to_owned());
        let context = format!("reading {path} in {self}");
        blocking(move || read_range(&file, &path, range)).await.context(context)
    }

    async fn stat(&self, path: &str) -> Result<Option<ObjectMeta>> {
        check_path(path)?;
        let (file, path) = (self.file(path), path.to_owned());
        blocking(move || stat(&file, path)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        blocking(move || {
            let mut found = Vec::new();
            store.walk(&prefix, &mut |path, file, name| {
                if is_part(name)
                    && path.starts_with(&prefix)
                    && let Some(meta) = stat(file, path.to_owned())?
                {
                    found.push(meta);
                }
                Ok(())
            })?;
            found.sort_by(|a, b| a.path.cmp(&b.path));
            Ok(found)
        })
        .await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        check_path(path)?;
        let file = self.file(path);
        let context = format!("deleting {path} in {self}");
        blocking(move || match fs::remove_file(&file) {
            Ok(()) => sync_folder(&file),
            // Gone already, perhaps by a deletion that was killed before the folder was durable.
            Err(error) if error.kind() == ErrorKind::NotFound => match sync_folder(&file) {
                Err(error) if is_missing(&error) => Ok(()),
                other => other,
            },
            Err(error) => Err(error.into()),
        })
        .await
        .context(context)
    }

    async fn rename(&self, from: &str, to: &str) -> Result<bool> {
        check_path(from)?;
        check_path(to)?;
        let (source, target, to_path, from_path) = (self.file(from), self.file(to), to.to_owned(), from.to_owned());
        let context = format!("renaming {from} to {to} in {self}");
        self.writing(move || match rename_new(&source, &target) {
            Ok(()) => sync_folder(&target).map(|()| true),
            Err(Errno::EXIST) => Err(Taken { path: to_path }.into()),
            Err(Errno::NOENT) => Err(Missing { path: from_path }.into()),
            Err(error) => Err(error.into()),
        })
        .await
        .context(context)
    }

    async fn settle(&self) -> bool {
        // Whoever writes has a share of it.
        drop(self.writes.write().await);
        true
    }

    async fn clean(&self, prefix: &str) -> Result<Vec<String>> {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        blocking(move || {
            let mut cleaned = Vec::new();
            store.walk(&prefix, &mut |path, file, name| {
                if let Some(object) = unfinished_object(name)
                    && let Some(target) = path.strip_suffix(name).map(|folder| format!("{folder}{object}"))
                    && target.starts_with(&prefix)
                    && remove_if_dead(file)?
                {
                    cleaned.push(target);
                }
                Ok(())
            })?;
            Ok(cleaned)
        })
        .await
    }
}

impl Local {
    /// Does what changes the folder on a thread that may block. It goes on there when nobody waits for it any more.
    async fn writing<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let share = Arc::clone(&self.writes).read_owned().await;
        blocking(move || {
            let done = work();
            drop(share);
            done
        })
        .await
    }

    /// Opens the unfinished object of `path`.
    fn start(&self, path: String) -> Result<LocalUpload> {
        let target = self.file(&path);
        if fs::symlink_metadata(&target).is_ok() {
            return Err(Taken { path }.into());
        }
        let folder = target.parent().unwrap_or(&self.root);
        create_folder(folder).with_context(|| self.explain(&format!("creating the folder {}", folder.display())))?;
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        loop {
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let partial = folder.join(format!(".{name}.{}-{serial}{PARTIAL}", std::process::id()));
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&partial);
            let file = match opened {
                Ok(file) => file,
                // A leftover of an earlier process of the same number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error).with_context(|| self.explain(&format!("creating {path}"))),
            };
            owner::of_its_folder(&file, &partial).with_context(|| format!("giving {} away", partial.display()))?;
            file.lock().with_context(|| format!("locking {}", partial.display()))?;
            // A cleaner may have come between the creation and the lock.
            if file.metadata()?.nlink() == 0 {
                continue;
            }
            return Ok(LocalUpload {
                store: self.clone(),
                path,
                target,
                partial: Some(partial),
                file: Some(file),
                size: 0,
            });
        }
    }

    /// What an error in this store is about, with a hint on the folder.
    fn explain(&self, what: &str) -> Fail {
        Fail::new(Exit::Failure, format!("{what} in {self}"))
            .hint("the folder must be writable for the user that Snapback runs as, and have free space")
    }

    /// Calls `visit` with path, file and name of everything that is not a folder and may match `prefix`.
    fn walk(&self, prefix: &str, visit: &mut dyn FnMut(&str, &Path, &str) -> Result<()>) -> Result<()> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !folder.is_empty() {
            check_path(folder)?;
        }
        let start = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let mut folders = vec![start];
        while let Some(folder) = folders.pop() {
            let on_disk = self.root.join(&folder);
            let entries = match fs::read_dir(&on_disk) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| self.explain("listing the objects")),
            };
            for entry in entries {
                let entry = entry.with_context(|| format!("listing {}", on_disk.display()))?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                let path = format!("{folder}{name}");
                if entry.file_type()?.is_dir() {
                    // Folders that no object can be in, such as lost+found, are none of ours.
                    if is_part(name) && (path.starts_with(prefix) || prefix.starts_with(&path)) {
                        folders.push(format!("{path}/"));
                    }
                } else {
                    visit(&path, &entry.path(), name)?;
                }
            }
        }
        Ok(())
    }
}

/// An object that is being written.
struct LocalUpload {
    store: Local,
    path: String,
    target: PathBuf,
    /// The hidden name, as long as there is something to remove.
    partial: Option<PathBuf>,
    /// Away only while a write is under way, or after one that was interrupted.
    file: Option<File>,
    size: u64,
}

impl LocalUpload {
    fn take_file(&mut self) -> Result<File> {
        self.file
            .take()
            .with_context(|| format!("{} was interrupted in a write", self.path))
    }

    fn remove(&mut self) -> Result<()> {
        match self.partial.take() {
            Some(partial) => fs::remove_file(&partial).with_context(|| format!("removing {}", partial.display())),
            None => Ok(()),
        }
    }

    /// The one place where an object gets its name.
    fn publish(mut self, head: &[u8]) -> Result<ObjectMeta> {
        anyhow::ensure!(head.len() as u64 <= self.size, "the head is longer than {}", self.path);
        let file = self.take_file()?;
        let explain = || self.store.explain(&format!("finishing {}", self.path));
        file.write_all_at(head, 0).with_context(explain)?;
        file.sync_all().with_context(explain)?;
        let written = file.metadata().with_context(explain)?.len();
        anyhow::ensure!(
            written == self.size,
            "{} has {written} bytes on disk, but {} were written",
            self.path,
            self.size
        );
        let Some(partial) = &self.partial else {
            anyhow::bail!("{} was given up", self.path)
        };
        match rename_new(partial, &self.target) {
            Err(Errno::EXIST) => {
                return Err(Taken {
                    path: self.path.clone(),
                }
                .into());
            }
            renamed => renamed.with_context(explain)?,
        }
        self.partial = None;
        sync_folder(&self.target).with_context(|| self.store.explain(&format!("finishing {}", self.path)))?;
        let path = self.path.clone();
        stat(&self.target, path)?.with_context(|| format!("{} vanished when it was finished", self.path))
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        // Nobody is left to tell; `clean` would remove it as well.
        let _ = self.remove();
    }
}

#[async_trait]
impl Upload for LocalUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut file = self.take_file()?;
        let size = bytes.len() as u64;
        let work = move || {
            let written = file.write_all(&bytes);
            Ok((file, written))
        };
        let (file, written) = self.store.writing(work).await?;
        self.file = Some(file);
        written.with_context(|| self.store.explain(&format!("writing {}", self.path)))?;
        self.size += size;
        Ok(())
    }

    async fn finish(self: Box<Self>, head: Bytes) -> Result<ObjectMeta> {
        let store = self.store.clone();
        store.writing(move || self.publish(&head)).await
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        blocking(move || self.remove()).await
    }
}

/// Runs file system calls on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

fn is_missing(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

/// The object that a hidden name is the unfinished form of.
fn unfinished_object(name: &str) -> Option<&str> {
    let (object, run) = name.strip_prefix('.')?.strip_suffix(PARTIAL)?.rsplit_once('.')?;
    let (process, serial) = run.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(process) && is_number(serial) && is_part(object)).then_some(object)
}

/// Removes an unfinished object unless a living process holds its lock.
fn remove_if_dead(partial: &Path) -> Result<bool> {
    let removed = match File::open(partial) {
        Ok(file) => match file.try_lock() {
            Ok(()) => fs::remove_file(partial),
            Err(fs::TryLockError::WouldBlock) => return Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        },
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cleaning {}", partial.display())),
    }
}

/// Renames without ever replacing what is there.
fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Network file systems do not know the flag; a hard link refuses a taken name just as well.
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::link(from, to)?;
            rustix::fs::unlink(from)
        }
        renamed => renamed,
    }
}

/// Creates `folder` and what is above it, each durable in its parent.
fn create_folder(folder: &Path) -> std::io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folder(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            owner::of_the_folder_above(folder)?;
            File::open(parent_of(folder))?.sync_all()
        }
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in the folder of `path` durable.
fn sync_folder(path: &Path) -> Result<()> {
    Ok(File::open(parent_of(path))?.sync_all()?)
}

fn stat(file: &Path, path: String) -> Result<Option<ObjectMeta>> {
    match fs::metadata(file) {
        Ok(meta) if meta.is_file() => Ok(Some(ObjectMeta {
            path,
            size: meta.len(),
            modified: DateTime::<Utc>::from(meta.modified()?),
            checksum: None,
        })),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("looking at {}", file.display())),
    }
}

fn read_range(file: &Path, path: &str, range: Range<u64>) -> Result<Bytes> {
    let file = match File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Missing { path: path.to_owned() }.into()),
        opened => opened?,
    };
    let size = file.metadata()?.len();
    // Checked before memory is taken: the range may come from a damaged table of contents.
    anyhow::ensure!(
        range.start <= range.end && range.end <= size,
        "it ends at byte {size}, before the range {}..{}",
        range.start,
        range.end
    );
    let mut bytes = vec![0; usize::try_from(range.end - range.start)?];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}

//! Where `snapback dump` writes: a file that appears when it is complete, a device, or stdout.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Exit, Fail, Result};
use crate::store::{ObjectMeta, Upload};

/// A dump that is being written.
struct Output {
    /// The open file; not there while a thread writes to it.
    file: Option<File>,
    written: u64,
    kind: Kind,
}

enum Kind {
    /// Under a temporary name until it is complete; then it replaces what has the name.
    Whole {
        path: PathBuf,
        partial: PathBuf,
        sync: bool,
    },
    /// A pipe or a device: nothing can be rewritten.
    Stream,
}

/// A dump that appears at `path` when it is complete. A pipe or a device is written to as it is.
pub(super) fn create(path: &Path, sync: bool) -> Result<Box<dyn Upload>> {
    let cannot = || format!("could not open output file \"{}\"", path.display());
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        let file = OpenOptions::new().write(true).open(path).with_context(cannot)?;
        return Ok(stream(file));
    }
    // A link stays a link: what it points to is replaced.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().with_context(cannot)?.to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .with_context(cannot)?;
    Ok(Box::new(Output {
        file: Some(file),
        written: 0,
        kind: Kind::Whole { path, partial, sync },
    }))
}

/// The process's stdout.
pub(super) fn stdout() -> Box<dyn Upload> {
    // Through /dev/stdout no buffer stands in between; it is there on every Linux.
    match OpenOptions::new().append(true).open("/dev/stdout") {
        Ok(file) => stream(file),
        // A socket cannot be opened by name.
        Err(_) => Box::new(Output {
            file: None,
            written: 0,
            kind: Kind::Stream,
        }),
    }
}

fn stream(file: File) -> Box<dyn Upload> {
    Box::new(Output {
        file: Some(file),
        written: 0,
        kind: Kind::Stream,
    })
}

/// The folder of a directory-format dump must be new or empty, as pg_dump demands.
pub(super) fn check_folder(folder: &Path) -> Result<()> {
    let is_empty = |mut found: std::fs::ReadDir| found.next().is_none();
    match std::fs::read_dir(folder).map(is_empty) {
        Ok(false) => {
            let message = format!("directory \"{}\" is not empty", folder.display());
            Err(Fail::new(Exit::Usage, message).into())
        }
        Ok(true) => Ok(()),
        // The folder itself is made, but not what it lies in: that may be a volume which is not mounted.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            match parent.map(std::fs::metadata) {
                None | Some(Ok(_)) => Ok(()),
                Some(Err(error)) => {
                    let why = super::reason(&error);
                    let message = format!("could not create directory \"{}\": {why}", folder.display());
                    Err(Fail::new(Exit::Usage, message).into())
                }
            }
        }
        Err(error) => Err(error).with_context(|| format!("could not open directory \"{}\"", folder.display())),
    }
}

#[async_trait]
impl Upload for Output {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.written += bytes.len() as u64;
        let file = self.file.take();
        let (file, outcome) = tokio::task::spawn_blocking(move || match file {
            Some(mut file) => {
                let outcome = file.write_all(&bytes);
                (Some(file), outcome)
            }
            None => (None, std::io::stdout().write_all(&bytes)),
        })
        .await?;
        self.file = file;
        outcome.context("could not write the dump")
    }

    async fn finish(mut self: Box<Self>, head: Bytes) -> Result<ObjectMeta> {
        let (Kind::Whole { path, partial, sync }, Some(file)) = (&self.kind, &self.file) else {
            return Ok(self.meta(String::new()));
        };
        file.write_all_at(&head, 0).context("could not complete the dump")?;
        if *sync {
            file.sync_all().context("could not sync the dump")?;
        }
        std::fs::rename(partial, path).with_context(|| format!("could not name the dump \"{}\"", path.display()))?;
        if *sync && let Some(folder) = path.parent() {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            File::open(folder)?.sync_all()?;
        }
        let meta = self.meta(path.display().to_string());
        self.kind = Kind::Stream;
        Ok(meta)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Output {
    fn meta(&self, path: String) -> ObjectMeta {
        ObjectMeta {
            path,
            size: self.written,
            modified: chrono::Utc::now(),
            checksum: None,
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Still under its temporary name: the dump failed or was interrupted.
        if let Kind::Whole { partial, .. } = &self.kind {
            let _ = std::fs::remove_file(partial);
        }
    }
}

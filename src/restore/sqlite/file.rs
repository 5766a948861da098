//! A file that somebody has, as a database that can be restored: a database file, packed or not, or SQL text.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use crate::archive::source::Source;
use crate::engine::sqlite::failure::ENCRYPTED;
use crate::engine::sqlite::scratch::Scratch;
use crate::engine::sqlite::unpack::unpack;
use crate::engine::sqlite::{failure, open, script};
use crate::error::{Exit, Fail, Result};
use crate::job::Keys;
use crate::seal::Algorithm;
use crate::store::Store;
use crate::stored;

/// What every database file begins with.
const DATABASE: &[u8] = b"SQLite format 3\0";

/// Such a file.
#[derive(Clone)]
pub struct DumpFile {
    place: Place,
    /// Its size.
    pub bytes: u64,
}

#[derive(Clone)]
enum Place {
    Local(PathBuf),
    Object { store: Arc<dyn Store>, name: String },
}

impl std::fmt::Debug for DumpFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl DumpFile {
    /// Looks at the file at `path`.
    ///
    /// # Errors
    /// There is none.
    pub fn find(path: &Path) -> Result<DumpFile> {
        let found = std::fs::metadata(path).map_err(|error| {
            let exit = match error.kind() {
                std::io::ErrorKind::NotFound => Exit::NotFound,
                std::io::ErrorKind::PermissionDenied => Exit::Permission,
                _ => Exit::Failure,
            };
            Fail::new(exit, format!("cannot read {}: {error}", path.display()))
        })?;
        Ok(DumpFile {
            place: Place::Local(path.to_owned()),
            bytes: found.len(),
        })
    }

    /// Looks at the object `name` of a store, which is read where it is.
    ///
    /// # Errors
    /// There is none, or the store cannot be asked.
    pub async fn object(store: Arc<dyn Store>, name: String) -> Result<DumpFile> {
        let Some(found) = store.stat(&name).await? else {
            let message = format!("cannot read {store}/{name}: there is no such object");
            return Err(Fail::new(Exit::NotFound, message).into());
        };
        let place = Place::Object { store, name };
        Ok(DumpFile {
            place,
            bytes: found.size,
        })
    }

    /// What people know it as.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.place {
            Place::Local(path) => path.display().to_string(),
            Place::Object { store, name } => format!("{store}/{name}"),
        }
    }

    async fn source(&self) -> Result<Source> {
        match &self.place {
            Place::Local(path) => Source::file(path),
            Place::Object { store, name } => stored::source(Arc::clone(store), name).await,
        }
    }

    /// Makes a database of it in `folder`, for the database `of`.
    ///
    /// # Errors
    /// It is none, or the disk is full.
    pub async fn unpack(
        &self,
        folder: &Path,
        of: &str,
        keys: &Keys,
        read: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Scratch> {
        let source = stored::opened(self.source().await?, &self.name(), keys).await?;
        let start = source.read(0..source.len().min(16)).await?;
        let scratch = Scratch::create(folder, of)?;
        if let (true, Place::Local(path)) = (start == DATABASE && source.len() == self.bytes, &self.place) {
            // Others may have it open, and rows may be in its log only.
            return copy(path, scratch).await;
        }
        let algorithm = match start.as_ref() {
            [0x1f, 0x8b, ..] => Algorithm::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Algorithm::Zstd,
            [0x04, 0x22, 0x4d, 0x18, ..] => Algorithm::Lz4,
            _ => Algorithm::None,
        };
        let (scratch, _) = unpack(source, algorithm, scratch, read).await?;
        let mut start = [0; 16];
        let is_database = std::fs::File::open(scratch.path())?.read_exact(&mut start).is_ok() && start == DATABASE;
        if is_database {
            return Ok(scratch);
        }
        if start.contains(&0) {
            let message = format!(
                "{} is neither a database of SQLite nor SQL text: it may be encrypted (SQLCipher)",
                self.name()
            );
            return Err(Fail::new(Exit::Usage, message).hint(ENCRYPTED).into());
        }
        let (made, name) = (Scratch::create(folder, of)?, self.name());
        tokio::task::spawn_blocking(move || script::run(scratch.path(), made.path(), &name).map(|()| made)).await?
    }
}

async fn copy(path: &Path, scratch: Scratch) -> Result<Scratch> {
    let found = open::find(path)?;
    tokio::task::spawn_blocking(move || {
        let from = open::for_reading(&found, std::time::Duration::from_secs(10))?;
        let failed = |error| failure::explain(error, &found.path);
        // With a transaction of ours no writer makes it begin anew.
        from.execute_batch("BEGIN").map_err(failed)?;
        from.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
            .map_err(failed)?;
        let mut to = Connection::open(scratch.path())?;
        to.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
        let backup = Backup::new(&from, &mut to).map_err(failed)?;
        backup.step(-1).map_err(failed)?;
        drop(backup);
        drop(to);
        Ok(scratch)
    })
    .await?
}

//! The files of a backup: written, read back, and checked against what is known of them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::{RECORD_LIMIT, Shelf};
use crate::error::{Exit, Fail, Result};
use crate::manifest::{BackupId, File, Part};
use crate::postgres::output::Written;
use crate::seal::Digest;
use crate::store;

/// How much of a file is read at a time.
const READ_SIZE: u64 = 4 << 20;

/// How many such pieces are read at once: a far store answers slowly, and each takes its memory.
const READ_AHEAD: usize = 3;

impl Shelf {
    /// Stores a small file of a backup.
    ///
    /// # Errors
    /// The store fails.
    pub async fn write(&self, part: Part, id: BackupId, bytes: Bytes) -> Result<File> {
        let mut digest = Digest::new();
        digest.update(&bytes);
        let file = File {
            name: part.name(&self.job, id),
            bytes: digest.bytes(),
            sha256: digest.hex(),
        };
        store::put_to_stay(self.store.as_ref(), &self.file_path(&file.name), bytes).await?;
        Ok(file)
    }

    /// Reads a file of a backup from end to end and compares it with what is known of it; `read` hears of the
    /// bytes as they come.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: the file is missing, has another size or another digest.
    pub async fn check(&self, file: &File, read: &(dyn Fn(u64) + Send + Sync)) -> Result<()> {
        self.check_size(&file.name, file.bytes).await?;
        let mut digest = Digest::new();
        self.each(&file.name, file.bytes, &mut |bytes| digest.update(bytes), read)
            .await?;
        self.compare(file, digest)
    }

    /// Reads back a file that was just written, and returns what the manifest says of it. `read` hears of the
    /// bytes as they come.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: it is not what was written.
    pub async fn read_back(&self, name: String, written: &Written, read: &(dyn Fn(u64) + Send + Sync)) -> Result<File> {
        self.check_size(&name, written.bytes).await?;
        let mut back = written.read_back();
        self.each(&name, written.bytes, &mut |bytes| back.update(bytes), read)
            .await?;
        match back.finish() {
            Some(sha256) => Ok(File {
                name,
                bytes: written.bytes,
                sha256,
            }),
            None => Err(self.damaged(&name, "it is not what was written")),
        }
    }

    fn damaged(&self, name: &str, why: &str) -> anyhow::Error {
        let path = self.file_path(name);
        Fail::new(Exit::Damaged, format!("{path} in {} is damaged: {why}", self.store)).into()
    }

    async fn check_size(&self, name: &str, bytes: u64) -> Result<()> {
        match self.store.stat(&self.file_path(name)).await? {
            None => Err(self.damaged(name, "it is missing")),
            Some(meta) if meta.size != bytes => {
                Err(self.damaged(name, &format!("it has {} bytes instead of {bytes}", meta.size)))
            }
            Some(_) => Ok(()),
        }
    }

    /// Copies a file of a backup into `target`; it appears there only when it is what is known of it.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: it is not. Or a store fails. Then it is not in `target`.
    pub async fn copy_file(&self, file: &File, target: &Shelf, read: &(dyn Fn(u64) + Send + Sync)) -> Result<()> {
        self.check_size(&file.name, file.bytes).await?;
        let mut upload = target.store.create(&target.file_path(&file.name)).await?;
        upload.expect(0, file.bytes);
        upload.keep();
        let mut digest = Digest::new();
        let copied = async {
            let mut pieces = self.pieces(&file.name, file.bytes);
            while let Some(piece) = pieces.next().await {
                let piece = piece?;
                digest.update(&piece);
                read(piece.len() as u64);
                upload.write(piece).await?;
            }
            self.compare(file, digest)
        };
        let copied: Result<()> = copied.await;
        if let Err(error) = copied {
            // The first failure is the one that matters.
            let _ = upload.abort().await;
            return Err(error);
        }
        upload.finish(Bytes::new()).await.map(drop)
    }

    /// Makes the copy of a backup in `target` exist: its manifest is the same to the byte.
    ///
    /// # Errors
    /// A store fails; then it does not exist.
    pub async fn copy_manifest(&self, id: BackupId, target: &Shelf) -> Result<()> {
        let path = self.path(Part::Manifest, id);
        let text = store::get(self.store.as_ref(), &path, RECORD_LIMIT).await?;
        let Err(error) = store::put_to_stay(target.store.as_ref(), &path, text.clone()).await else {
            return Ok(());
        };
        // A store across a network may have done what it could not say any more.
        match store::get(target.store.as_ref(), &path, RECORD_LIMIT).await {
            Ok(found) if found == text => Ok(()),
            _ => Err(error),
        }
    }

    fn compare(&self, file: &File, digest: Digest) -> Result<()> {
        let sha256 = digest.hex();
        if sha256 != file.sha256 {
            let why = format!("its SHA-256 is {sha256} instead of {}", file.sha256);
            return Err(self.damaged(&file.name, &why));
        }
        Ok(())
    }

    /// Shows all bytes of a file to `see`, piece by piece.
    async fn each(
        &self,
        name: &str,
        size: u64,
        see: &mut (dyn FnMut(&[u8]) + Send),
        read: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<()> {
        let mut pieces = self.pieces(name, size);
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            see(&piece);
            read(piece.len() as u64);
        }
        Ok(())
    }

    /// All bytes of a file in order, read a little ahead.
    fn pieces(&self, name: &str, size: u64) -> BoxStream<'static, Result<Bytes>> {
        let (store, path) = (Arc::clone(&self.store), self.file_path(name));
        let starts = (0..size.div_ceil(READ_SIZE)).map(|piece| piece * READ_SIZE);
        let read = move |start: u64| {
            let (store, path) = (Arc::clone(&store), path.clone());
            async move { store.read(&path, start..size.min(start + READ_SIZE)).await }
        };
        stream::iter(starts).map(read).buffered(READ_AHEAD).boxed()
    }
}

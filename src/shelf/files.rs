//! The files of a backup: written, read back, and checked against what is known of them.

use bytes::Bytes;

use super::Shelf;
use crate::error::{Exit, Fail, Result};
use crate::manifest::{BackupId, File, Part};
use crate::postgres::output::Written;
use crate::seal::Digest;
use crate::store;

/// How much of a file is read at a time.
const READ_SIZE: u64 = 4 << 20;

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
        store::put(self.store.as_ref(), &self.file_path(&file.name), bytes).await?;
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
        let sha256 = digest.hex();
        if sha256 != file.sha256 {
            let why = format!("its SHA-256 is {sha256} instead of {}", file.sha256);
            return Err(self.damaged(&file.name, &why));
        }
        Ok(())
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

    /// Shows all bytes of a file to `see`, piece by piece.
    async fn each(
        &self,
        name: &str,
        size: u64,
        see: &mut (dyn FnMut(&[u8]) + Send),
        read: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<()> {
        let path = self.file_path(name);
        let mut position = 0;
        while position < size {
            let end = size.min(position + READ_SIZE);
            see(&self.store.read(&path, position..end).await?);
            read(end - position);
            position = end;
        }
        Ok(())
    }
}

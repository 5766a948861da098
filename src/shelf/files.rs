//! The files of a backup: written, read back, and checked against what is known of them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::{RECORD_LIMIT, Shelf};
use crate::error::{Exit, Fail, Result};
use crate::manifest::{BackupId, File, Part};
use crate::seal::Digest;
use crate::store::{self, ObjectMeta};

/// How much of a file is read at a time: a far store is worth large pieces. A disk answers at once, and each thread that
/// reads from it keeps the memory of its largest piece.
const READ_SIZE: u64 = 4 << 20;
const LOCAL_READ_SIZE: u64 = 512 << 10;

/// How many such pieces are read at once: a far store answers slowly, and each takes its memory.
const READ_AHEAD: usize = 3;

/// How a file that is as it should be was found to be so.
pub struct Looked {
    /// What its store says of it.
    pub said: Option<String>,
    /// How many bytes were read: none where the store's word was enough.
    pub read: u64,
}

impl Shelf {
    /// Stores a small file of a backup.
    ///
    /// # Errors
    /// The store fails.
    pub async fn write(&self, part: Part, id: BackupId, bytes: Bytes) -> Result<File> {
        let mut digest = Digest::new();
        digest.update(&bytes);
        let name = part.name(&self.job, id);
        let stored = store::put_to_stay(self.store.as_ref(), &self.file_path(&name), bytes).await?;
        Ok(File {
            name,
            bytes: digest.bytes(),
            sha256: digest.hex(),
            head: None,
            checksums: stored.checksum.into_iter().collect(),
        })
    }

    /// Reads a file of a backup from end to end and compares it with what is known of it; `read` hears of the
    /// bytes as they come.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: the file is missing, has another size or another digest.
    pub async fn check(&self, file: &File, read: &(dyn Fn(u64) + Send + Sync)) -> Result<Looked> {
        let said = self.sized(file).await?.checksum;
        self.compare(file, &mut |_| (), read).await?;
        Ok(Looked { said, read: file.bytes })
    }

    /// The same, but where the store says what it said when the file was proven, its word is enough.
    ///
    /// # Errors
    /// As [`Shelf::check`].
    pub async fn check_quickly(&self, file: &File, read: &(dyn Fn(u64) + Send + Sync)) -> Result<Looked> {
        let said = self.sized(file).await?.checksum;
        if said.as_ref().is_some_and(|said| file.checksums.contains(said)) {
            return Ok(Looked { said, read: 0 });
        }
        self.compare(file, &mut |_| (), read).await?;
        Ok(Looked { said, read: file.bytes })
    }

    /// Makes sure that `file` was written as it is: by the word of the store, which `stored` has from when it was
    /// finished, or by reading it back. Returns what the manifest says of it. `read` hears of the bytes as they come.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: it is not what was written.
    pub async fn prove(
        &self,
        file: File,
        stored: Option<&ObjectMeta>,
        read: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<File> {
        let shown = stored.filter(|stored| stored.size == file.bytes);
        if let Some(said) = shown.and_then(|stored| stored.checksum.clone()) {
            let checksums = vec![said];
            return Ok(File { checksums, ..file });
        }
        let said = self.sized(&file).await?.checksum;
        let mut whole = Digest::new();
        self.compare(&file, &mut |bytes| whole.update(bytes), read).await?;
        Ok(File {
            sha256: whole.hex(),
            head: None,
            checksums: said.into_iter().collect(),
            ..file
        })
    }

    fn damaged(&self, name: &str, why: &str) -> anyhow::Error {
        let path = self.file_path(name);
        Fail::new(Exit::Damaged, format!("{path} in {} is damaged: {why}", self.store)).into()
    }

    /// What the store says of a file that has the right size.
    async fn sized(&self, file: &File) -> Result<ObjectMeta> {
        match self.store.stat(&self.file_path(&file.name)).await? {
            None => Err(self.damaged(&file.name, "it is missing")),
            Some(meta) if meta.size != file.bytes => {
                let why = format!("it has {} bytes instead of {}", meta.size, file.bytes);
                Err(self.damaged(&file.name, &why))
            }
            Some(meta) => Ok(meta),
        }
    }

    /// Copies a file of a backup into `target`; it appears there only when it is what is known of it. `read` hears of the
    /// bytes as they come, and again if they must be read back. Returns what `target` says of it.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: it is not. Or a store fails. Then it is not in `target`.
    pub async fn copy_file(&self, file: &File, target: &Shelf, read: &(dyn Fn(u64) + Send + Sync)) -> Result<File> {
        self.sized(file).await?;
        let mut upload = target.store.create(&target.file_path(&file.name)).await?;
        upload.expect(0, file.bytes);
        upload.keep();
        let copied = async {
            let mut passing = Passing::of(file);
            let mut pieces = self.pieces(&file.name, file.bytes);
            while let Some(piece) = pieces.next().await {
                let piece = piece?;
                passing.update(&piece);
                read(piece.len() as u64);
                upload.write(piece).await?;
            }
            passing.end().map_err(|why| self.damaged(&file.name, &why))
        };
        let copied: Result<()> = copied.await;
        if let Err(error) = copied {
            // The first failure is the one that matters.
            let _ = upload.abort().await;
            return Err(error);
        }
        let stored = upload.finish(Bytes::new()).await?;
        target.prove(file.clone(), Some(&stored), read).await
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

    /// Reads all bytes of a file, shows them to `see` piece by piece, and compares them with what is known of it.
    ///
    /// # Errors
    /// [`crate::error::Exit::Damaged`]: they are others. Or the store fails.
    pub async fn read_whole(&self, file: &File, see: &mut (dyn FnMut(&[u8]) + Send)) -> Result<()> {
        self.compare(file, see, &|_| ()).await
    }

    /// Reads all bytes of a file, shows them to `see` piece by piece, and compares them with what is known of it.
    async fn compare(
        &self,
        file: &File,
        see: &mut (dyn FnMut(&[u8]) + Send),
        read: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<()> {
        let mut passing = Passing::of(file);
        let mut pieces = self.pieces(&file.name, file.bytes);
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            passing.update(&piece);
            see(&piece);
            read(piece.len() as u64);
        }
        passing.end().map_err(|why| self.damaged(&file.name, &why))
    }

    /// All bytes of a file in order, read a little ahead.
    fn pieces(&self, name: &str, size: u64) -> BoxStream<'static, Result<Bytes>> {
        let (store, path) = (Arc::clone(&self.store), self.file_path(name));
        let step = if store.is_local() { LOCAL_READ_SIZE } else { READ_SIZE };
        let starts = (0..size.div_ceil(step)).map(move |piece| piece * step);
        let read = move |start: u64| {
            let (store, path) = (Arc::clone(&store), path.clone());
            async move { store.read(&path, start..size.min(start + step)).await }
        };
        stream::iter(starts).map(read).buffered(READ_AHEAD).boxed()
    }
}

/// The bytes of a file as they pass, to be compared with what is known of it.
struct Passing<'a> {
    file: &'a File,
    head: Digest,
    rest: Digest,
}

impl<'a> Passing<'a> {
    fn of(file: &'a File) -> Self {
        Passing {
            file,
            head: Digest::new(),
            rest: Digest::new(),
        }
    }

    /// Takes note of the next bytes.
    fn update(&mut self, bytes: &[u8]) {
        let head = self.file.head.as_ref().map_or(0, |head| head.bytes);
        let left = usize::try_from(head - self.head.bytes()).unwrap_or(usize::MAX);
        let (head, rest) = bytes.split_at(bytes.len().min(left));
        self.head.update(head);
        self.rest.update(rest);
    }

    /// Compares them; the error says what is wrong.
    fn end(self) -> Result<(), String> {
        if let Some(head) = &self.file.head {
            let sha256 = self.head.hex();
            if sha256 != head.sha256 {
                let bytes = head.bytes;
                return Err(format!(
                    "the SHA-256 of its first {bytes} bytes is {sha256} instead of {}",
                    head.sha256
                ));
            }
        }
        let (sha256, wanted) = (self.rest.hex(), &self.file.sha256);
        let what = match self.file.head {
            Some(_) => "the SHA-256 of what follows its head",
            None => "its SHA-256",
        };
        match sha256 == *wanted {
            true => Ok(()),
            false => Err(format!("{what} is {sha256} instead of {wanted}")),
        }
    }
}

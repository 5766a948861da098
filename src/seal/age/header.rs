//! The head of an age file: the file key, wrapped for each recipient; from it comes the key of the payload.

use std::cell::RefCell;
use std::ops::Range;

use age::secrecy::ExposeSecret as _;
use age::secrecy::zeroize::Zeroizing;
use age::{DecryptError, Decryptor, Encryptor};
use age_core::format::{FileKey, Stanza};
use age_core::primitives::hkdf;
use anyhow::{Context as _, ensure};
use bytes::Bytes;

use super::keys::{Identities, PASSPHRASE, Recipients, Tap, brief};
use super::stream::{SEALED_CHUNK, Stream, TAG, chunks_of};
use crate::error::{Exit, Fail, Result};

/// Random bytes that end a header: with them each payload has a key of its own.
const NONCE: usize = 16;

/// The payload's key (<https://age-encryption.org/v1>, "Payload").
fn stream(file_key: &FileKey, nonce: &[u8]) -> Stream {
    let key = Zeroizing::new(hkdf(nonce, b"payload", file_key.expose_secret()));
    Stream::new(&key)
}

/// A new header for `recipients`, and what seals the payload that follows it.
///
/// # Errors
/// The recipients cannot be combined.
pub(super) fn seal(recipients: &Recipients) -> Result<(Bytes, Stream)> {
    let seen = RefCell::new(None);
    let keys = recipients.keys();
    let taps: Vec<Tap<'_>> = keys
        .iter()
        .map(|key| Tap {
            key: key.as_ref(),
            seen: &seen,
        })
        .collect();
    let encryptor = Encryptor::with_recipients(taps.iter().map(|tap| tap as &dyn age::Recipient))?;
    let mut header = Vec::new();
    // The writer is dropped before it writes any of the payload.
    drop(encryptor.wrap_output(&mut header)?);
    let file_key = seen.into_inner().context("no recipient was given the file key")?;
    let nonce = header.len().checked_sub(NONCE).context("a header without its nonce")?;
    let stream = stream(&file_key, &header[nonce..]);
    Ok((Bytes::from(header), stream))
}

/// The identities, as one that remembers the file key.
struct Finder<'a> {
    identities: &'a Identities,
    found: RefCell<Option<FileKey>>,
}

impl age::Identity for Finder<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let key = self.identities.unwrap(stanzas)?;
        let copy = FileKey::new(Box::new(*key.expose_secret()));
        *self.found.borrow_mut() = Some(key);
        Some(Ok(copy))
    }
}

/// What opens an age file, range by range.
pub struct Opener {
    stream: Stream,
    header: u64,
    /// Bytes of plaintext.
    len: u64,
}

impl Opener {
    /// How many bytes of a file are enough for its header, in steps: a header with a few keys is small, but there
    /// may be hundreds.
    pub const HEADER_STEPS: [u64; 3] = [16 << 10, 256 << 10, 4 << 20];

    /// Opens the file of `size` bytes that begins with `start`; `None` when none of `identities` fits.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: it is no age file, or its header was changed or cut.
    pub fn new(start: &[u8], size: u64, identities: &Identities) -> Result<Option<Self>> {
        let damaged = |why: String| Fail::new(Exit::Damaged, why);
        let mut rest = start;
        let decryptor = Decryptor::new_buffered(&mut rest)
            .map_err(|error| damaged(format!("its age header cannot be read: {error}")))?;
        let finder = Finder {
            identities,
            found: RefCell::new(None),
        };
        match decryptor.decrypt(std::iter::once(&finder as &dyn age::Identity)) {
            Ok(_) => {}
            Err(DecryptError::NoMatchingKeys) => return Ok(None),
            Err(error) => return Err(damaged(format!("its age header was changed: {error}")).into()),
        }
        let file_key = finder.found.into_inner().context("a header was opened without a key")?;
        let header = start.len() - rest.len();
        let nonce = header.checked_sub(NONCE).context("a header without its nonce")?;
        let stream = stream(&file_key, &start[nonce..header]);
        let header = header as u64;
        let payload = size.saturating_sub(header);
        let len = plain_len(payload).ok_or_else(|| damaged("it is cut".to_owned()))?;
        Ok(Some(Opener { stream, header, len }))
    }

    /// How many bytes of plaintext there are.
    #[must_use]
    pub fn plain_len(&self) -> u64 {
        self.len
    }

    /// The bytes of the file that hold `plain`: whole chunks.
    ///
    /// # Errors
    /// `plain` is not within the plaintext.
    pub fn sealed(&self, plain: &Range<u64>) -> Result<Range<u64>> {
        ensure!(
            plain.start <= plain.end && plain.end <= self.len,
            "a range beyond the end"
        );
        let (first, end) = chunks_of(plain);
        let payload = self.len + chunks_of(&(0..self.len)).1 * TAG as u64;
        let at = |chunk: u64| self.header + (chunk * SEALED_CHUNK as u64).min(payload);
        Ok(at(first)..at(end))
    }

    /// Opens `plain`, for which `sealed` was read.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: a chunk was changed, moved or cut.
    pub fn open(&self, plain: &Range<u64>, sealed: &[u8]) -> Result<Bytes> {
        let (first, _) = chunks_of(plain);
        let last = chunks_of(&(0..self.len)).1 - 1;
        let mut bytes = Vec::with_capacity(sealed.len());
        for (number, chunk) in (first..).zip(sealed.chunks(SEALED_CHUNK)) {
            self.stream.open(number, number == last, chunk, &mut bytes)?;
        }
        let skip = usize::try_from(plain.start - first * super::stream::CHUNK as u64)?;
        let len = usize::try_from(plain.end - plain.start)?;
        ensure!(bytes.len() >= skip + len, "fewer bytes were read than asked for");
        Ok(Bytes::from(bytes).slice(skip..skip + len))
    }
}

/// How much plaintext a payload of `payload` bytes holds; `None` when there is no such payload: the last chunk
/// is at least a tag, and only an empty plaintext has an empty chunk.
fn plain_len(payload: u64) -> Option<u64> {
    let chunks = payload.div_ceil(SEALED_CHUNK as u64);
    let last = payload.checked_sub(chunks.checked_sub(1)? * SEALED_CHUNK as u64)?;
    let fits = last > TAG as u64 || (chunks == 1 && last == TAG as u64);
    fits.then(|| payload - chunks * TAG as u64)
}

/// The failure to open what was sealed for `recipients` with the keys at hand: it names both. Of a file that is no backup of
/// a job nobody knows for whom it was.
#[must_use]
pub fn locked(what: &str, recipients: &[String], identities: &Identities) -> Fail {
    let list = |names: &mut dyn Iterator<Item = &str>| names.map(brief).collect::<Vec<_>>().join(", ");
    let (for_whom, is_missing, hint) = if recipients == [PASSPHRASE] {
        let hint = "encryption.passphrase_file of the job must have the passphrase of when the backup was taken";
        (" with a passphrase".to_owned(), "none is at hand", hint)
    } else {
        let names = list(&mut recipients.iter().map(String::as_str));
        let for_whom = if names.is_empty() {
            names
        } else {
            format!(" for {names}")
        };
        let hint = "name the file with the secret key: --identity FILE, SNAPBACK_IDENTITY_FILE, or encryption.identity_file \
                    of the job; for a passphrase encryption.passphrase_file";
        (for_whom, "no secret key is at hand", hint)
    };
    let at_hand = match list(&mut identities.names().into_iter()) {
        _ if identities.is_empty() => is_missing.to_owned(),
        names if recipients == [names.as_str()] && names == PASSPHRASE => "the one at hand is another".to_owned(),
        names => format!("what is at hand does not open it: {names}"),
    };
    Fail::new(Exit::NoKey, format!("{what} is encrypted{for_whom}, and {at_hand}")).hint(hint)
}

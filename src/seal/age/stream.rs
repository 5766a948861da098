//! age's payload: ChaCha20-Poly1305 over chunks of 64 KiB, each under a nonce that is its number and whether it
//! is the last (<https://age-encryption.org/v1>, "Payload").
//!
//! Under one key no nonce may ever seal two different plaintexts. The key is fresh for each [`Sealer`], and a
//! sealer seals each number once: the chunks of the head in [`Sealer::finish`], which consumes it; the others
//! with numbers that begin after those and only grow.

use std::ops::Range;

use anyhow::ensure;
use bytes::Bytes;
use chacha20poly1305::aead::AeadInPlace as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};

use super::header;
use super::keys::Recipients;
use crate::error::{Exit, Fail, Result};

/// Bytes of plaintext in a chunk; the last may have fewer.
pub(super) const CHUNK: usize = 64 << 10;
/// What a chunk is longer by when it is sealed.
pub(super) const TAG: usize = 16;
/// Bytes of a sealed chunk.
pub(super) const SEALED_CHUNK: usize = CHUNK + TAG;

/// The numbers of the chunks that hold `plain`: the first, and that after the last. An empty file has one chunk.
pub(super) fn chunks_of(plain: &Range<u64>) -> (u64, u64) {
    let first = plain.start / CHUNK as u64;
    (first, plain.end.div_ceil(CHUNK as u64).max(first + 1))
}

/// Seals and opens chunks under one key, which is wiped when this is dropped.
pub(super) struct Stream(ChaCha20Poly1305);

impl Stream {
    pub fn new(key: &[u8; 32]) -> Self {
        Stream(ChaCha20Poly1305::new(key.into()))
    }

    /// Eleven bytes of number, big-endian, and one that says whether it is the last chunk.
    fn nonce(number: u64, last: bool) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&number.to_be_bytes());
        nonce[11] = u8::from(last);
        nonce
    }

    fn seal(&self, number: u64, last: bool, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let at = out.len();
        out.extend_from_slice(plain);
        let tag = self
            .0
            .encrypt_in_place_detached(&Self::nonce(number, last).into(), &[], &mut out[at..])
            .map_err(|_| anyhow::anyhow!("a chunk could not be sealed"))?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens a chunk and appends it to `out`.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: it is not the chunk of this number that was sealed, or not the last.
    pub fn open(&self, number: u64, last: bool, sealed: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let damaged = || {
            Fail::new(
                Exit::Damaged,
                format!("its encrypted chunk {number} was changed or cut"),
            )
        };
        let (cipher, tag) = sealed
            .split_at_checked(sealed.len().wrapping_sub(TAG))
            .ok_or_else(damaged)?;
        let at = out.len();
        out.extend_from_slice(cipher);
        self.0
            .decrypt_in_place_detached(&Self::nonce(number, last).into(), &[], &mut out[at..], tag.into())
            .map_err(|_| damaged())?;
        Ok(())
    }
}

/// Seals a file whose head is only known at the end.
pub struct Sealer {
    header: Bytes,
    stream: Stream,
    /// How many bytes at the start come last.
    head: usize,
    /// What follows the head in its last chunk.
    rest: Vec<u8>,
    /// How many bytes of plaintext came so far.
    taken: u64,
    /// The number of the chunk that fills; those before are the head's, or sealed.
    next: u64,
    filling: Vec<u8>,
    /// Whether the place of the head was given out.
    placed: bool,
}

/// What ends a sealed file.
pub struct Sealed {
    /// What is still to be appended.
    pub last: Bytes,
    /// What the start of the file must be replaced by.
    pub head: Bytes,
}

impl Sealer {
    /// A sealer for `recipients`.
    ///
    /// # Errors
    /// The recipients cannot be combined.
    pub fn new(recipients: &Recipients) -> Result<Self> {
        let (header, stream) = header::seal(recipients)?;
        Ok(Sealer {
            header,
            stream,
            head: 0,
            rest: Vec::new(),
            taken: 0,
            next: 0,
            filling: Vec::with_capacity(CHUNK),
            placed: false,
        })
    }

    /// age's header, as it will stand in the file.
    #[must_use]
    pub fn header(&self) -> &Bytes {
        &self.header
    }

    /// Says before anything is pushed how many bytes at the start [`Sealer::finish`] replaces; returns how many
    /// bytes of the file that will be.
    ///
    /// # Errors
    /// Something was pushed.
    pub fn expect(&mut self, head: usize) -> Result<u64> {
        ensure!(self.taken == 0, "the head is expected too late");
        self.head = head;
        self.next = head.div_ceil(CHUNK) as u64;
        Ok(self.header.len() as u64 + self.next * SEALED_CHUNK as u64)
    }

    /// Takes the next bytes, and returns what the file goes on with: nothing until a chunk is full and not the last.
    ///
    /// # Errors
    /// A chunk cannot be sealed.
    pub fn push(&mut self, plain: &[u8]) -> Result<Bytes> {
        let (_, mut plain) = self.pass_head(plain);
        let mut out = Vec::with_capacity(plain.len() + (plain.len() / CHUNK + 1) * TAG);
        let room = (self.head.next_multiple_of(CHUNK) - self.head) - self.rest.len();
        let (rest, more) = plain.split_at(room.min(plain.len()));
        self.rest.extend_from_slice(rest);
        plain = more;
        if !plain.is_empty() && !self.placed {
            self.placed = true;
            out.resize(self.header.len() + usize::try_from(self.next)? * SEALED_CHUNK, 0);
        }
        while !plain.is_empty() {
            // Only now it is known not to be the last.
            if self.filling.len() == CHUNK {
                self.stream.seal(self.next, false, &self.filling, &mut out)?;
                self.next += 1;
                self.filling.clear();
            }
            let (fits, more) = plain.split_at((CHUNK - self.filling.len()).min(plain.len()));
            self.filling.extend_from_slice(fits);
            plain = more;
        }
        Ok(Bytes::from(out))
    }

    /// Counts what is pushed, and divides it: what belongs to the head, which comes again at the end, and the rest.
    fn pass_head<'a>(&mut self, plain: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let left = (self.head as u64).saturating_sub(self.taken);
        self.taken += plain.len() as u64;
        plain.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(plain.len()))
    }

    /// Ends the file, whose start is `head` now.
    ///
    /// # Errors
    /// `head` is not as long as it was expected.
    pub fn finish(mut self, head: &[u8]) -> Result<Sealed> {
        ensure!(
            head.len() == self.head && self.taken >= head.len() as u64,
            "the head that comes last is not as long as was said"
        );
        let mut start = self.header.to_vec();
        let mut last = Vec::new();
        if self.placed {
            self.stream.seal(self.next, true, &self.filling, &mut last)?;
        }
        let mut plain = head.to_vec();
        plain.append(&mut self.rest);
        let chunks = plain.len().div_ceil(CHUNK);
        for (number, chunk) in (0..).zip(plain.chunks(CHUNK)) {
            let is_last = !self.placed && number + 1 == chunks;
            self.stream.seal(number as u64, is_last, chunk, &mut start)?;
        }
        if plain.is_empty() && !self.placed {
            self.stream.seal(0, true, &[], &mut start)?;
        }
        if !self.placed {
            last.resize(start.len(), 0);
        }
        Ok(Sealed {
            last: last.into(),
            head: start.into(),
        })
    }
}

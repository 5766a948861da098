//! Buffers for compressed bytes on their way to a store.
//!
//! They go round: what a store has written is filled again. Were each a new one, made by one thread and given back by
//! another, the allocator would keep about twice the memory that is in use.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// What a buffer holds.
pub(super) const CHUNK: usize = 128 << 10;

/// Less than this would waste a buffer.
const SMALL: usize = CHUNK / 2;

/// The buffers of one dump.
#[derive(Clone, Debug, Default)]
pub struct Chunks(Arc<Mutex<Vec<Vec<u8>>>>);

impl Chunks {
    /// A copy of `bytes`.
    pub(super) fn copy(&self, bytes: &[u8]) -> Bytes {
        if bytes.len() < SMALL || bytes.len() > CHUNK {
            return Bytes::copy_from_slice(bytes);
        }
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = spare.unwrap_or_else(|| Vec::with_capacity(CHUNK));
        buffer.extend_from_slice(bytes);
        let home = self.clone();
        Bytes::from_owner(Chunk { buffer, home })
    }
}

/// A buffer on its way.
struct Chunk {
    buffer: Vec<u8>,
    home: Chunks,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_go_round_and_never_while_somebody_reads_them() {
        let chunks = Chunks::default();
        let spare = || chunks.0.lock().unwrap().len();
        let first = chunks.copy(&[1; CHUNK]);
        let part = first.slice(CHUNK - 1..);
        drop(first);
        assert_eq!(spare(), 0, "a part of it is still in use");
        let second = chunks.copy(&[2; SMALL]);
        assert_eq!((&part[..], &second[..]), (&[1][..], &[2; SMALL][..]));
        drop((part, second));
        assert_eq!(spare(), 2);
        assert_eq!(chunks.copy(&[3; CHUNK]), [3; CHUNK][..]);
        assert_eq!(spare(), 2, "it was taken and has come back");
        drop(chunks.copy(b"little"));
        assert_eq!(spare(), 2, "what is little has no buffer of its own");
    }
}

//! A custom or tar archive from anywhere: all of it is read, or refused.

#![no_main]

use bytes::Bytes;
use futures_util::FutureExt as _;
use libfuzzer_sys::fuzz_target;
use snapback::archive::Reader;
use snapback::archive::source::Source;

/// Data beyond this is not read to its end: a few bytes may well expand to gigabytes.
const ENOUGH: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    // In memory, nothing ever has to wait.
    let _ = read(Bytes::copy_from_slice(data)).now_or_never();
});

async fn read(bytes: Bytes) -> Option<()> {
    let reader = Reader::from_source(Source::memory(bytes)).await.ok()?;
    for entry in reader.entries().iter().filter(|entry| entry.has_data).take(16) {
        let mut left = ENOUGH;
        if entry.is_large_objects() {
            let mut objects = reader.large_objects(entry.dump_id).await.ok()?;
            while left > 0 && objects.next_object().await.ok()?.is_some() {
                while let (true, Some(piece)) = (left > 0, objects.next().await.ok()?) {
                    left = left.saturating_sub(piece.len());
                }
            }
        } else {
            let mut rows = reader.rows(entry.dump_id).await.ok()?;
            while let (true, Some(piece)) = (left > 0, rows.next().await.ok()?) {
                left = left.saturating_sub(piece.len());
            }
        }
    }
    Some(())
}

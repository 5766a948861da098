//! Archives that are cut, changed or made up: the reader says so, and neither panics, hangs nor takes
//! memory for what is not there.

use bytes::Bytes;
use futures_util::FutureExt as _;
use snapback::archive::source::Source;
use snapback::archive::toc::{Entry, Section};
use snapback::archive::{Format, Header, Output, Reader, RestoreOptions, Writer};
use snapback::seal::{Chunks, SegmentCompressor};
use snapback::sql::quote::Quote;

use crate::support::high_water;

/// Data beyond this is not read to its end: a few bytes may well expand to gigabytes.
const ENOUGH: usize = 1 << 20;

/// A small archive with rows and large objects.
fn sample(format: Format, compression: &str) -> Vec<u8> {
    let data = |id, desc: &str, tag: &str| Entry {
        has_data: true,
        copy_stmt: "COPY public.t (a) FROM stdin;\n".to_owned(),
        dependencies: vec![1],
        ..Entry::new(id, desc, tag, Section::Data)
    };
    let entries = vec![
        Entry {
            defn: "SET client_encoding = 'UTF8';\n".to_owned(),
            ..Entry::new(9, "ENCODING", "ENCODING", Section::PreData)
        },
        Entry {
            defn: "CREATE TABLE public.t (a int);\n".to_owned(),
            drop_stmt: "DROP TABLE public.t;\n".to_owned(),
            namespace: Some("public".to_owned()),
            owner: "o".to_owned(),
            ..Entry::new(1, "TABLE", "t", Section::PreData)
        },
        data(2, "TABLE DATA", "t"),
        data(3, "BLOBS", "BLOBS"),
    ];
    let header = Header {
        created: chrono::NaiveDateTime::default(),
        database: "d".to_owned(),
        server_version: "15.0".to_owned(),
        dumper_version: "x".to_owned(),
    };
    let quote = Quote::standard(15);
    let compression = compression.parse().unwrap();
    let options = RestoreOptions::default();
    let mut writer = Writer::new(format, header, entries, &options, quote, compression).unwrap();
    writer.begin().unwrap();
    writer.begin_data(2).unwrap();
    put(&mut writer, &b"one row\nanother row\n".repeat(20));
    put(&mut writer, b"\\.\n\n\n");
    writer.end_data().unwrap();
    writer.begin_data(3).unwrap();
    for oid in [16400, 4_000_000_000] {
        writer.begin_object(oid).unwrap();
        put(&mut writer, b"a large object, though small");
        writer.end_object().unwrap();
    }
    writer.end_data().unwrap();
    writer.finish(chrono::NaiveDateTime::default()).unwrap();
    let mut bytes = Vec::new();
    while let Some(Output::Bytes(more)) = writer.output().unwrap() {
        bytes.extend_from_slice(&more);
    }
    bytes
}

fn put(writer: &mut Writer, bytes: &[u8]) {
    let mut compressor = SegmentCompressor::new(&writer.codec(), &Chunks::default()).unwrap();
    compressor.push(bytes).unwrap();
    // What is not ready yet comes at the end.
    let (rest, end) = compressor.finish().unwrap();
    for chunk in rest {
        writer.chunk(chunk).unwrap();
    }
    writer.end_segment(&end);
}

/// Reads all that an archive holds. In memory, nothing ever has to wait.
fn read_all(bytes: Vec<u8>) -> anyhow::Result<()> {
    let read = async {
        let reader = Reader::from_source(Source::memory(Bytes::from(bytes))).await?;
        for entry in reader.entries().iter().filter(|entry| entry.has_data) {
            let mut left = ENOUGH;
            if entry.is_large_objects() {
                let mut objects = reader.large_objects(entry.dump_id).await?;
                while left > 0 && objects.next_object().await?.is_some() {
                    while let Some(piece) = objects.next().await? {
                        left = left.saturating_sub(piece.len());
                    }
                }
            } else {
                let mut rows = reader.rows(entry.dump_id).await?;
                while let Some(piece) = rows.next().await? {
                    left = left.saturating_sub(piece.len());
                    if left == 0 {
                        break;
                    }
                }
            }
        }
        Ok(())
    };
    read.now_or_never().expect("memory never waits")
}

fn samples() -> Vec<Vec<u8>> {
    let custom = ["none", "gzip", "lz4", "zstd"].map(|compression| sample(Format::Custom, compression));
    let tar = sample(Format::Tar, "none");
    // As pg_dump writes to a pipe: these have no offsets (see `sample`, which does not rewrite the head).
    custom.into_iter().chain([tar]).collect()
}

#[test]
fn an_archive_that_is_cut_anywhere_is_an_error() {
    for (kind, bytes) in samples().into_iter().enumerate() {
        read_all(bytes.clone()).unwrap();
        let is_tar = kind == 4;
        // What follows the last file of a tar archive is not needed.
        let end = if is_tar { bytes.len() - 5000 } else { bytes.len() };
        for len in 0..end {
            assert!(read_all(bytes[..len].to_vec()).is_err(), "sample {kind} cut at {len}");
        }
    }
}

/// A generator whose numbers are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Changes a few bytes: flips bits, writes values that lengths break on, copies, inserts, removes.
fn mutate(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        match numbers.below(6) {
            0 => bytes[at] ^= 1 << numbers.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)],
            2 => {
                let value = [u32::MAX, i32::MAX as u32, 0, 1 << 20][numbers.below(4)].to_le_bytes();
                let end = (at + 4).min(bytes.len());
                bytes[at..end].copy_from_slice(&value[..end - at]);
            }
            3 => bytes.truncate(at.max(1)),
            4 => bytes.insert(at, numbers.below(256) as u8),
            _ => {
                let len = numbers.below(64).min(bytes.len() - at);
                let copy = bytes[at..at + len].to_vec();
                let to = numbers.below(bytes.len());
                bytes.splice(to..to, copy);
            }
        }
    }
}

#[test]
fn changed_archives_are_read_or_refused() {
    let runs = std::env::var("FUZZ_RUNS").map_or(20_000, |runs| runs.parse().unwrap());
    let samples = samples();
    let mut numbers = Numbers(0x5eed);
    let (mut refused, mut slowest) = (0, std::time::Duration::ZERO);
    for run in 0..runs {
        let mut bytes = samples[run % samples.len()].clone();
        mutate(&mut bytes, &mut numbers);
        let start = std::time::Instant::now();
        refused += usize::from(read_all(bytes).is_err());
        slowest = slowest.max(start.elapsed());
    }
    println!(
        "{runs} runs, {refused} refused, slowest {slowest:?}, peak {} MiB",
        high_water(std::process::id()) >> 10
    );
    assert!(refused > runs / 2, "most changes are damage: {refused} of {runs}");
    assert!(slowest < std::time::Duration::from_secs(5), "{slowest:?}");
    // zstd may ask for a window of 128 MiB.
    assert!(
        high_water(std::process::id()) < 300 << 10,
        "{} KiB",
        high_water(std::process::id())
    );
}

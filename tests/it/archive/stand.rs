//! What the tests of the archive formats stand on: a server with the fixture, the stock tools, and our writer.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use snapback::archive::toc::DumpId;
use snapback::archive::{Format, Output, Reader, RestoreOptions, Writer};
use snapback::seal::{Chunks, Compression, SegmentCompressor};
use snapback::sql::quote::Quote;
use tempfile::TempDir;

use crate::support::{Server, VERSIONS};

/// A server with the fixture, and a folder for archives.
pub struct Stand {
    pub server: Server,
    pub dir: TempDir,
}

impl Stand {
    pub fn new(major: u32) -> Stand {
        let server = Server::start(major);
        server.psql("postgres", "CREATE DATABASE \"odd \"\"db\" TEMPLATE template0");
        server.load(
            "dbname='odd \"db'",
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats/archive.sql"),
        );
        Stand {
            server,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn pg_dump(&self, options: &[&str]) -> Vec<u8> {
        self.server.pg_dump("dbname='odd \"db'", options)
    }

    /// What a stock pg_restore prints of an archive.
    pub fn pg_restore(&self, path: &Path, options: &[&str]) -> Vec<u8> {
        let output = self.server.tool("pg_restore").args(options).arg(path).output().unwrap();
        assert!(
            output.status.success(),
            "pg_restore {options:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    pub fn quote(&self) -> Quote {
        Quote::standard(self.server.major)
    }
}

/// The data of an entry: rows, or large objects.
pub enum Data {
    Rows(Vec<u8>),
    Objects(Vec<(u32, Vec<u8>)>),
}

pub async fn data(reader: &Reader, id: DumpId) -> Data {
    let entry = reader.entries().iter().find(|entry| entry.dump_id == id).unwrap();
    if !entry.is_large_objects() {
        let mut rows = reader.rows(id).await.unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = rows.next().await.unwrap() {
            bytes.extend_from_slice(&piece);
        }
        return Data::Rows(bytes);
    }
    let mut objects = reader.large_objects(id).await.unwrap();
    let mut all = Vec::new();
    while let Some(oid) = objects.next_object().await.unwrap() {
        let mut bytes = Vec::new();
        while let Some(piece) = objects.next().await.unwrap() {
            bytes.extend_from_slice(&piece);
        }
        all.push((oid, bytes));
    }
    Data::Objects(all)
}

/// Where the output of a writer goes.
pub enum Target {
    File(Vec<u8>),
    Folder(PathBuf, PathBuf),
}

impl Target {
    fn take(&mut self, writer: &mut Writer) {
        while let Some(output) = writer.output().unwrap() {
            match (&mut *self, output) {
                (Target::File(bytes), Output::Bytes(more)) => bytes.extend_from_slice(&more),
                (Target::Folder(folder, file), Output::File(name)) => {
                    *file = folder.join(name);
                    std::fs::write(file, b"").unwrap();
                }
                (Target::Folder(_, file), Output::Bytes(more)) => {
                    let mut file = std::fs::File::options().append(true).open(file).unwrap();
                    file.write_all(&more).unwrap();
                }
                (Target::File(_), Output::File(name)) => panic!("a file {name} in a file"),
            }
        }
    }
}

/// Writes one stream in segments of `size` bytes that are compressed apart.
pub fn write_stream(writer: &mut Writer, target: &mut Target, bytes: &[u8], size: usize) {
    for segment in bytes.chunks(size).chain(bytes.is_empty().then_some(&[][..])) {
        let mut compressor = SegmentCompressor::new(&writer.codec(), &Chunks::default()).unwrap();
        let mut chunks: Vec<Bytes> = Vec::new();
        for part in segment.chunks(7_000) {
            compressor.push(part).unwrap();
            chunks.extend(std::iter::from_fn(|| compressor.chunk()));
        }
        let (rest, end) = compressor.finish().unwrap();
        for chunk in chunks.into_iter().chain(rest) {
            writer.chunk(chunk).unwrap();
            target.take(writer);
        }
        writer.end_segment(&end);
    }
}

/// Reads an archive and writes what it holds again, in another form.
pub async fn rewrite(
    reader: &Reader,
    path: &Path,
    quote: Quote,
    format: Format,
    compression: &str,
    options: &RestoreOptions,
) {
    let compression: Compression = compression.parse().unwrap();
    let entries = reader.entries().to_vec();
    let mut writer = Writer::new(format, reader.header().clone(), entries, options, quote, compression).unwrap();
    let mut target = match format {
        Format::Directory => {
            std::fs::create_dir(path).unwrap();
            Target::Folder(path.to_owned(), PathBuf::new())
        }
        _ => Target::File(Vec::new()),
    };
    writer.begin().unwrap();
    target.take(&mut writer);
    for id in writer.data() {
        writer.begin_data(id).unwrap();
        match data(reader, id).await {
            Data::Rows(rows) => write_stream(&mut writer, &mut target, &rows, 60_000),
            Data::Objects(objects) => {
                for (oid, bytes) in objects {
                    writer.begin_object(oid).unwrap();
                    write_stream(&mut writer, &mut target, &bytes, 30_000);
                    writer.end_object().unwrap();
                }
            }
        }
        writer.end_data().unwrap();
        target.take(&mut writer);
    }
    writer.finish(reader.header().created).unwrap();
    target.take(&mut writer);
    match target {
        Target::Folder(..) => {}
        Target::File(mut bytes) => {
            let head = writer.head();
            bytes[..head.len()].copy_from_slice(&head);
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// The text without what names the program and the moment.
pub fn comparable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let is_kept = |line: &&str| {
        !line.starts_with("-- Dumped ") && !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict")
    };
    text.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
}

#[track_caller]
pub fn assert_same_text(ours: &[u8], stock: &[u8], what: &str) {
    let (ours, stock) = (comparable(ours), comparable(stock));
    if ours == stock {
        return;
    }
    let at = ours.lines().zip(stock.lines()).position(|(a, b)| a != b).unwrap_or(0);
    let near = |text: &str| {
        text.lines()
            .skip(at.saturating_sub(3))
            .take(8)
            .collect::<Vec<_>>()
            .join("\n")
    };
    panic!(
        "{what}: differs in line {at}\nours:\n{}\nstock:\n{}",
        near(&ours),
        near(&stock)
    );
}

/// Runs `test` on a server of each version.
pub fn each_version(test: impl AsyncFn(Stand)) {
    for major in VERSIONS {
        on(major, &test);
    }
}

/// Runs `test` on a server of one version.
pub fn on(major: u32, test: impl AsyncFn(Stand)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test(Stand::new(major)));
}

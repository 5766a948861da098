use std::path::Path;

use super::*;
use crate::archive::source::Source;
use crate::engine::sqlite::scratch::Scratch;
use crate::engine::sqlite::{open, proof, put, unpack};
use crate::seal::Algorithm;
use crate::store::{Local, Store as _};

struct Silent;

impl Progress for Silent {
    fn expect(&self, _bytes: u64) {}
    fn read(&self, _bytes: u64) {}
}

/// Backs `path` up with `compress`; returns what the backup says, and the file that is unpacked from it.
async fn round_trip(path: &Path, compress: &str) -> (Contents, Scratch) {
    let folder = tempfile::tempdir().unwrap();
    let store = Local::new(folder.path());
    let request = Request {
        compress: compress.parse().unwrap(),
        max_lock_wait: None,
    };
    let found = open::find(path).unwrap();
    let upload = store.create("a").await.unwrap();
    let exported = export(&found, &request, upload, Arc::new(Silent)).await.unwrap();
    let archive = store.stat("a").await.unwrap().unwrap();
    let bytes = store.read("a", 0..archive.size).await.unwrap();
    let mut digest = Digest::new();
    digest.update(&bytes);
    let written = &exported.written;
    assert_eq!((written.bytes, &written.body_sha256), (digest.bytes(), &digest.hex()));
    let scratch = Scratch::create(&std::env::temp_dir(), "round-trip.db").unwrap();
    let algorithm = request.compress.algorithm;
    let (scratch, _) = unpack::unpack(Source::memory(bytes), algorithm, scratch, &|_| ())
        .await
        .unwrap();
    (exported.contents, scratch)
}

fn make(path: &Path, sql: &str) -> Connection {
    let open = Connection::open(path).unwrap();
    open.execute_batch(sql).unwrap();
    open
}

const ROWS: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
    INSERT INTO t SELECT i, hex(randomblob(200)) FROM n;";

#[tokio::test]
async fn every_page_is_what_it_was_whatever_the_pages_are_like() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (settings, compress)) in [
        ("PRAGMA page_size = 512; PRAGMA encoding = 'UTF-16le'", "gzip"),
        ("PRAGMA page_size = 65536; PRAGMA auto_vacuum = INCREMENTAL", "zstd"),
        (
            "PRAGMA page_size = 4096; PRAGMA encoding = 'UTF-16be'; PRAGMA user_version = -7",
            "none",
        ),
        (
            "PRAGMA page_size = 1024; PRAGMA application_id = 99; PRAGMA journal_mode = WAL",
            "lz4",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.path().join(format!("{number}.db"));
        drop(make(&path, &format!("{settings}; {ROWS}")));
        let before = std::fs::read(&path).unwrap();
        let (contents, scratch) = round_trip(&path, compress).await;
        assert!(std::fs::read(scratch.path()).unwrap() == before, "{settings}");
        assert_eq!(contents.tables[0].rows, 2000);
        assert_eq!(contents.facts.damage, Vec::<String>::new());
        let found = proof::read(scratch.path()).unwrap().contents;
        assert_eq!(proof::rows(&found.tables, &contents.tables), Vec::<String>::new());
        assert_eq!(found.schema_hash, contents.schema_hash);
    }
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 4, "reading leaves nothing beside a database");
}

#[tokio::test]
async fn rows_that_are_only_in_the_log_are_in_the_backup_and_a_writer_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let writer = make(
        &path,
        &format!("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; {ROWS}"),
    );
    assert!(
        std::fs::metadata(&path).unwrap().len() < 10_000,
        "all rows are in the log"
    );
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writes = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut rows = 2000;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                writer.execute("INSERT INTO t (body) VALUES ('more')", []).unwrap();
                rows += 1;
            }
            (writer, rows)
        }
    });
    let (contents, scratch) = round_trip(&path, "gzip").await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (writer, rows) = writes.join().unwrap();
    assert!((2000..=rows).contains(&contents.tables[0].rows));
    let found = proof::read(scratch.path()).unwrap().contents;
    assert_eq!(found.tables, contents.tables);
    // Back it goes, while the writer has the file open.
    put::into_live(scratch.path(), &path, None, Duration::from_secs(5), &|_| ()).unwrap();
    let count: i64 = writer
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(u64::try_from(count).unwrap(), contents.tables[0].rows);
}

#[tokio::test]
async fn what_is_damaged_or_not_understood_is_saved_and_marked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    drop(make(
        &path,
        &format!("PRAGMA page_size = 1024; {ROWS} CREATE INDEX i ON t (body);"),
    ));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xEE);
    std::fs::write(&path, &bytes).unwrap();
    let (contents, scratch) = round_trip(&path, "gzip").await;
    assert!(!contents.facts.damage.is_empty());
    assert!(std::fs::read(scratch.path()).unwrap() == bytes);
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let refused = |bytes: Vec<u8>| {
        std::fs::write(&path, bytes).unwrap();
        let (path, folder) = (path.clone(), folder.path().join("store"));
        async move {
            let found = match open::find(&path) {
                Ok(found) => found,
                Err(error) => return error.to_string(),
            };
            let upload = Local::new(&folder).create("a").await.unwrap();
            let exported = export(&found, &Request::default(), upload, Arc::new(Silent)).await;
            exported.err().unwrap().to_string()
        }
    };
    assert!(refused(Vec::new()).await.contains("empty file"));
    assert!(
        refused(b"id,name\n1,text\n".repeat(100))
            .await
            .contains("looks like text")
    );
    let noise: Vec<u8> = (0..8192u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80)
        .collect();
    assert!(refused(noise).await.contains("encrypted"));
    let whole = folder.path().join("whole.db");
    drop(make(&whole, ROWS));
    let mut cut = std::fs::read(&whole).unwrap();
    cut.truncate(cut.len() - 4096);
    assert!(refused(cut).await.contains("is cut"));
    assert!(
        open::find(&folder.path().join("none.db"))
            .unwrap_err()
            .to_string()
            .contains("there is no database")
    );
    assert!(Algorithm::Gzip.suffix() == ".gz" && !folder.path().join("none.db").exists());
}

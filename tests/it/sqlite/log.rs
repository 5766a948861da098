//! The write-ahead log of a database that is backed up.

use super::*;

/// An application that has written more into the log than it writes back by itself, and goes on to have the file open until
/// its input ends.
fn application(site: &Site) -> Child {
    const PROGRAM: &str = r#"
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.executescript("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a)")
for n in range(40):
    c.execute("INSERT INTO t SELECT randomblob(1 << 19)")
print("ready", flush=True)
sys.stdin.read()
"#;
    site.application(PROGRAM)
}

/// Frames in the log, and how many of them are written back, as the index beside it says.
fn frames(site: &Site) -> (u32, u32) {
    let index = std::fs::read(site.path("app.db-shm")).unwrap();
    let number = |at: usize| u32::from_ne_bytes(index[at..at + 4].try_into().unwrap());
    (number(16), number(96))
}

fn end(mut application: Child) {
    drop(application.stdin.take());
    assert!(application.wait().unwrap().success());
}

#[test]
fn a_large_log_is_written_back_so_that_no_writer_has_to() {
    let site = Site::new();
    let application = application(&site);
    let (log, written) = frames(&site);
    assert!(log > 5000 && written == 0, "{log} {written}");
    site.snapback(&["backup", "app.db"]).ok();
    assert_eq!(frames(&site), (log, log));
    site.snapback(&["verify", "app.db", "--full"]).ok();
    end(application);
}

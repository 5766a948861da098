//! The live side of SQLite is read by several connections at once, which all see one state.

use std::process::{Command, Stdio};

use super::json;
use crate::sqlite::Site;

#[test]
fn all_tables_are_read_as_of_one_moment_whatever_is_written_meanwhile() {
    let tables: Vec<String> = (0..12).map(|n| format!("t{n}")).collect();
    let make = tables.iter().map(|table| {
        format!(
            "CREATE TABLE {table} (id INTEGER PRIMARY KEY, body TEXT); \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) \
             INSERT INTO {table} SELECT i, hex(randomblob(30)) FROM n;"
        )
    });
    let site = Site::with(&format!("PRAGMA journal_mode = WAL; {}", make.collect::<String>()));
    site.snapback(&["backup", "app.db"]).ok();
    // Each transaction takes rows away from one table and gives as many to another.
    const WRITER: &str = r#"
import random, sqlite3, sys
c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
n, names = 10000, [f"t{i}" for i in range(12)]
while True:
    one, other = random.sample(names, 2)
    n += 10
    c.execute("BEGIN IMMEDIATE")
    gone = c.execute(f"DELETE FROM {one} WHERE id IN (SELECT id FROM {one} LIMIT 10)").rowcount
    c.executemany(f"INSERT INTO {other} VALUES (?, 'moved')", [(n + i,) for i in range(gone)])
    c.execute("COMMIT")
    if n == 10010: print("writing", flush=True)
"#;
    let mut writer = Command::new("python3")
        .args(["-c", WRITER])
        .arg(site.path("app.db"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 7];
    std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut first).unwrap();
    let mut seen = Vec::new();
    for _ in 0..8 {
        let found = json(&site.snapback(&["diff", "app.db", "--json"]).ok().stdout);
        let tables = found["tables"].as_array().unwrap().iter();
        let rows = |table: &serde_json::Value, when: &str| table[when].as_i64().unwrap();
        let moved: Vec<i64> = tables
            .map(|it| rows(it, "rows_after") - rows(it, "rows_before"))
            .collect();
        assert_eq!(moved.iter().sum::<i64>(), 0, "{found:#}");
        seen.push(found["tables"].clone());
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert!(
        seen.windows(2).any(|two| two[0] != two[1]),
        "nothing was written meanwhile"
    );
}

//! Dumps as people have them packed, by the packers that they use: Python's zip, tar, bzip2 and xz, and text in UTF-16.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Site;
use crate::support::Run;

const USAGE: i32 = 2;
const DAMAGED: i32 = 6;

/// Packs in the folder of `site`: Python code with `sys.argv[1]` as that folder.
fn pack(site: &Site, code: &str) {
    let mut python = Command::new("python3");
    python.args(["-c", &format!("import sys, os; os.chdir(sys.argv[1])\n{code}")]);
    Run::of(python.arg(site.folder())).ok();
}

fn restore(site: &Site, file: &Path, more: &[&str]) -> Run {
    let file = file.to_str().unwrap();
    site.run(&[&["restore", "app", "--from", file, "--yes", "--no-safety"], more].concat())
}

/// A database, and dumps of it in every format of pg_dump.
fn site() -> (Site, String) {
    let site = Site::new(15, "app");
    site.server.psql(
        "app",
        "CREATE TABLE t AS SELECT g AS n, 'größe ' || g AS t FROM generate_series(1, 500) g; CREATE INDEX ON t (n)",
    );
    let path = |name: &str| site.folder().join(name).to_str().unwrap().to_owned();
    for options in [["-Fc", "c.dump"], ["-Fd", "folder"], ["-Ft", "t.tar"], ["-Fp", "p.sql"]] {
        site.server.pg_dump("app", &[options[0], "-f", &path(options[1])]);
    }
    let text = String::from_utf8(site.server.pg_dump("app", &["--restrict-key=x"])).unwrap();
    (site, text)
}

fn is_restored(site: &Site, file: &str, more: &[&str], text: &str) {
    site.server.psql("app", "DROP TABLE IF EXISTS t");
    let path: PathBuf = site.folder().join(file);
    restore(site, &path, more).ok();
    let found = String::from_utf8(site.server.pg_dump("app", &["--restrict-key=x"])).unwrap();
    assert!(found == text, "{file}");
}

#[test]
fn what_people_pack_dumps_in_is_taken_off() {
    let (site, text) = site();
    pack(
        &site,
        "import zipfile, tarfile, bz2, lzma, gzip\n\
         z = zipfile.ZipFile('one.zip', 'w', zipfile.ZIP_DEFLATED); z.write('c.dump'); z.close()\n\
         z = zipfile.ZipFile('folder.zip', 'w', zipfile.ZIP_DEFLATED)\n\
         [z.write(os.path.join('folder', n)) for n in os.listdir('folder')]; z.close()\n\
         t = tarfile.open('folder.tgz', 'w:gz'); t.add('folder', 'backup/nightly'); t.close()\n\
         t = tarfile.open('sql.tar.xz', 'w:xz'); t.add('p.sql'); t.close()\n\
         t = tarfile.open('two.tar', 'w'); t.add('p.sql', 'a/p.sql'); t.add('c.dump', 'b/c.dump'); t.close()\n\
         bz2.open('p.sql.bz2', 'wb').write(open('p.sql', 'rb').read())\n\
         lzma.open('c.dump.xz', 'wb').write(open('c.dump', 'rb').read())\n\
         gzip.open('t.tar.gz', 'wb').write(open('t.tar', 'rb').read())\n\
         gzip.open('twice.gz', 'wb').write(open('p.sql.bz2', 'rb').read())\n\
         sql = open('p.sql', encoding='utf-8').read().replace('\\n', '\\r\\n')\n\
         open('power.sql', 'wb').write(b'\\xff\\xfe' + sql.encode('utf-16-le'))\n\
         open('big.sql', 'wb').write(b'\\xfe\\xff' + sql.encode('utf-16-be'))",
    );
    for file in [
        "one.zip",
        "folder.zip",
        "folder.tgz",
        "sql.tar.xz",
        "p.sql.bz2",
        "c.dump.xz",
        "t.tar.gz",
        "twice.gz",
    ] {
        is_restored(&site, file, &[], &text);
    }
    // The carriage returns of PowerShell are part of no row, and stay in what they stand in.
    for file in ["power.sql", "big.sql"] {
        restore(&site, &site.folder().join(file), &[]).ok();
        assert_eq!(
            site.server.psql("app", "SELECT count(*), max(n) FROM t"),
            "500|500",
            "{file}"
        );
        assert_eq!(
            site.server.psql("app", "SELECT t FROM t WHERE n = 7").trim_end(),
            "größe 7",
            "{file}"
        );
    }
    let asked = restore(&site, &site.folder().join("two.tar"), &[]).code(USAGE);
    for part in ["a/p.sql", "b/c.dump", "--member"] {
        assert!(asked.stderr.contains(part), "{part}: {}", asked.stderr);
    }
    is_restored(&site, "two.tar", &["--member", "b/c.dump"], &text);
    is_restored(&site, "two.tar", &["--member", "a/p.sql"], &text);
}

#[test]
fn what_is_damaged_or_a_trap_is_refused_before_anything_is_touched() {
    let (site, _) = site();
    pack(
        &site,
        "import zipfile, bz2, gzip\n\
         b = bz2.compress(open('p.sql', 'rb').read()); open('cut.bz2', 'wb').write(b[:len(b) // 2])\n\
         z = zipfile.ZipFile('none.zip', 'w'); z.writestr('readme.txt', 'nothing here\\0'); z.close()\n\
         z = zipfile.ZipFile('whole.zip', 'w'); z.write('c.dump'); z.close()\n\
         d = open('whole.zip', 'rb').read(); open('cut.zip', 'wb').write(d[:len(d) // 2])\n\
         data = b'SELECT 1;\\n'\n\
         for n in range(9): data = bz2.compress(data)\n\
         open('deep.bz2', 'wb').write(data)",
    );
    site.server.psql("app", "CREATE TABLE live ()");
    for (file, code) in [
        ("cut.bz2", DAMAGED),
        ("none.zip", DAMAGED),
        ("cut.zip", DAMAGED),
        ("deep.bz2", DAMAGED),
    ] {
        let failed = restore(&site, &site.folder().join(file), &[]);
        assert_eq!(failed.code, Some(code), "{file}: {}", failed.stderr);
        assert!(failed.stderr.contains(file), "{file}: {}", failed.stderr);
        assert_eq!(site.server.psql("app", "SELECT to_regclass('live')"), "live");
    }
}

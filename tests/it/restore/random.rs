//! Random databases are backed up, restored in place and by swap, and each restore is taken back: what stock pg_dump writes
//! of them must be what it writes after stock pg_restore. Nobody thought of what comes together in them.
//!
//! Everything follows from a seed, which a failure names. SNAPBACK_RANDOM_DATABASES says how many are tried on each version,
//! SNAPBACK_RANDOM_FROM which seed is the first.

use std::fs;
use std::sync::Arc;

use super::{Site, project};
use crate::equal::{difference, is_text, on_all_versions};
use crate::support::{Run, Server};

/// Shapes that a database is made of.
const SHAPES: usize = 25;
/// What stands for [`ENCODINGS`]' own characters in words.
const OWN: char = '\u{E000}';
/// Server encodings with characters of theirs: some become no UTF-8, and some are no text at all.
const ENCODINGS: &[(&str, &[u8])] = &[
    ("UTF8", "é日😀".as_bytes()),
    ("SQL_ASCII", b"\xe9\xff\x80"),
    ("MULE_INTERNAL", b"\x81\xe9"),
    ("LATIN1", b"\xe9\xfc"),
    ("LATIN2", b"\xb1\xe6"),
    ("WIN1252", b"\x81\xe9"),
    ("WIN1251", b"\xef\xf0"),
    ("WIN874", b"\xa1\xdb"),
    ("KOI8R", b"\xc1\xc2"),
    ("ISO_8859_7", b"\xe1\xe2"),
    ("EUC_JP", b"\xc6\xfc\xa4\xa2"),
    ("EUC_JIS_2004", b"\xc6\xfc"),
    ("EUC_KR", b"\xc7\xd1"),
    ("EUC_CN", b"\xd6\xd0"),
    ("EUC_TW", b"\xc4\xe3\x8e\xa3\xa1\xa1"),
];
const WORDS: &[&str] = &[
    "a",
    "table",
    "two words",
    "quo\"te",
    "$dollar",
    "semi;colon",
    "new\\slash",
    "UPPER",
    "-- comment",
    "it's",
    "line\nfeed",
    "\u{E000}",
    "x\u{E000}'\u{E000}",
    "%s, (y)",
];

/// Numbers that look random (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// The statements of a random database, with [`OWN`] in them.
fn script(dice: &mut Dice) -> String {
    let text = fs::read_to_string(project("tests/fixtures/restore/shapes.sql")).unwrap();
    let shapes: Vec<(&str, &str)> = text
        .split("--# ")
        .skip(1)
        .filter_map(|shape| shape.split_once('\n'))
        .collect();
    let (mut tables, mut script): (Vec<usize>, _) = (Vec::new(), String::new());
    for n in 0..SHAPES {
        let (name, sql) = dice.one(&shapes);
        let earlier = (!tables.is_empty()).then(|| dice.one(&tables));
        let Some(p) = earlier.or((!sql.contains("{p}")).then_some(0)) else {
            continue;
        };
        let (w, v, l) = (dice.one(WORDS), dice.one(WORDS), dice.one(WORDS));
        let signs: String = n
            .to_string()
            .bytes()
            .map(|digit| char::from(b"!@#%^&|~?="[usize::from(digit - b'0')]))
            .collect();
        let filled = sql
            .replace("{n}", &n.to_string())
            .replace("{p}", &p.to_string())
            .replace("{lo}", &(90_000 + n).to_string())
            .replace("{o}", &signs)
            .replace("{i}", &(1 + dice.below(9)).to_string())
            .replace("{w}", &w.replace('"', "\"\""))
            .replace("{v}", &v.replace('"', "\"\""))
            .replace("{l}", &l.replace('\'', "''"));
        script.push_str(&filled);
        if name.ends_with("(t)") {
            tables.push(n);
        }
    }
    script
}

/// `text` in an encoding.
fn encoded(text: &str, own: &[u8]) -> Vec<u8> {
    let pieces: Vec<&[u8]> = text.split(OWN).map(str::as_bytes).collect();
    pieces.join(own)
}

fn dump(server: &Server, database: &str) -> Vec<u8> {
    server.pg_dump(database, &["--restrict-key=x"])
}

fn create(server: &Server, name: &str, encoding: &str) {
    let locale = if encoding == "UTF8" { "C.UTF-8" } else { "C" };
    server.psql(
        "postgres",
        &format!(
            "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE '{locale}' LC_CTYPE '{locale}'"
        ),
    );
}

/// Makes the database `app` of a seed.
fn make(server: &Server, seed: u64) -> &'static str {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let (encoding, own) = match dice.below(2) {
        0 => ENCODINGS[0],
        _ => dice.one(ENCODINGS),
    };
    create(server, "app", encoding);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script.sql");
    fs::write(&file, encoded(&script(&mut dice), own)).unwrap();
    let mut psql = server.tool("psql");
    psql.env("PGCLIENTENCODING", encoding).args(["-XAtq", "-f"]).arg(&file);
    Run::of(psql.args(server.connection_args("app"))).ok();
    encoding
}

/// What stock pg_restore makes of stock pg_dump's archive; nothing where it fails at something.
fn stock(server: &Server, encoding: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    server.pg_dump("app", &["-Fc", "-f", archive.to_str().unwrap()]);
    create(server, "stock", encoding);
    if server.major < 15 {
        // No archive tells.
        let owner = server.psql(
            "app",
            "SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'public'",
        );
        server.psql("stock", &format!("ALTER SCHEMA public OWNER TO {owner}"));
    }
    let mut pg_restore = server.tool("pg_restore");
    pg_restore.args(server.connection_args("stock")).arg(&archive);
    let restored = Run::of(&mut pg_restore);
    (restored.code == Some(0)).then(|| dump(server, "stock"))
}

fn has_subscriptions(server: &Server) -> bool {
    let count =
        "SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = 'app'";
    server.psql("app", count) != "0"
}

fn trial(server: &Arc<Server>, seed: u64) -> Result<(), String> {
    let encoding = make(server, seed);
    let before = dump(server, "app");
    let stock = stock(server, encoding);
    let site = Site::on(Arc::clone(server), "app", "postgres");
    let run = |args: &[&str]| {
        let run = site.run(args);
        match run.code {
            Some(0) => Ok(run.stdout.trim().to_owned()),
            // What nobody can refresh is left out and listed, where pg_restore fails at it.
            Some(10) if stock.is_none() => Ok(String::new()),
            code => Err(format!(
                "seed {seed} in {encoding}: {args:?} ended with {code:?}: {}",
                run.stderr
            )),
        }
    };
    let id = run(&["backup", "app"])?;
    run(&["verify", "app", &id, "--full"])?;
    let in_place = ["restore", "app", &id, "--mode", "in-place", "--yes"];
    let swap = ["restore", "app", &id, "--mode", "swap", "--yes"];
    let undo = ["undo", "app", "--yes"];
    let mut restores: Vec<&[&str]> = vec![&in_place, &undo, &swap, &undo];
    let subscribed = has_subscriptions(server);
    if subscribed {
        // The server drops none inside a transaction.
        let refused = site.run(&in_place).code(1).stderr;
        assert!(refused.contains("subscriptions cannot be removed"), "{refused}");
        restores.drain(..2);
    }
    for args in restores {
        let done = run(args);
        let expected = match (&stock, &done) {
            // Nothing was restored in place before, so that what a swap replaced is still the original.
            (Some(_), _) if subscribed && args[0] == "undo" => &before,
            (Some(stock), _) => stock,
            // What pg_restore does not restore either may fail, but changes nothing.
            (None, Err(_)) => &before,
            (None, Ok(_)) => return Ok(()),
        };
        if stock.is_some() {
            done?;
        }
        if let Some(diff) = difference(expected, &dump(server, "app"), is_text) {
            return Err(format!("seed {seed} in {encoding}: after {args:?}\n{diff}"));
        }
    }
    Ok(())
}

/// Removes the databases of a trial.
fn clean(server: &Server) {
    let names = server.psql(
        "postgres",
        "SELECT datname FROM pg_database WHERE datname ~ '^(app|stock)'",
    );
    for name in names.lines() {
        // The server drops no database that has subscriptions.
        let subscriptions = server.psql(name, "SELECT quote_ident(subname) FROM pg_subscription, pg_database d WHERE d.oid = subdbid AND datname = current_database()");
        for subscription in subscriptions.lines() {
            server.psql(
                name,
                &format!("ALTER SUBSCRIPTION {subscription} DISABLE; ALTER SUBSCRIPTION {subscription} SET (slot_name = NONE)"),
            );
            server.psql(name, &format!("DROP SUBSCRIPTION {subscription}"));
        }
        server.psql("postgres", &format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn check(major: u32) {
    let server = Arc::new(Server::start_with(major, &["max_locks_per_transaction=500"]));
    server.psql("postgres", "CREATE ROLE random_one; CREATE ROLE \"Random Two\"");
    let first = number("SNAPBACK_RANDOM_FROM", u64::from(major) * 1000);
    let mut failures = Vec::new();
    for seed in first..first + number("SNAPBACK_RANDOM_DATABASES", 1) {
        failures.extend(trial(&server, seed).err());
        clean(&server);
    }
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

on_all_versions!(check);

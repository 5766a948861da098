//! Connection URLs as frameworks write them, against a real server; and that no password in one, however it is misread, gets into
//! anything that the program writes.

use std::fs;
use std::path::Path;
use std::process::Command;

use snapback::engine::postgres::connect::{Dsn, params};
use snapback::error::hint_of;
use snapback::redact;

use crate::support::{Run, Server, own_address, snapback};

/// The program in `dir` without a configuration.
fn with_url(dir: &Path, url: &str, args: &[&str]) -> Command {
    let mut command = snapback();
    command.current_dir(dir).env("DATABASE_URL", url).args(args);
    command
}

#[test]
fn what_an_application_connects_with_is_backed_up() {
    let house = crate::backup::House::new();
    let socket = house.server.host();
    let encoded = socket.replace('/', "%2F");
    for url in [
        format!("postgresql+psycopg2://postgres@/app?host={socket}"),
        format!("postgresql+asyncpg://postgres@{encoded}/app?ssl=prefer&statement_cache_size=0"),
        format!("postgresql://postgres@localhost/app?host={socket}&schema=public&pgbouncer=true&connection_limit=1"),
        format!("pgsql:host={socket};dbname=app;user=postgres"),
        format!("Host={socket};Username=postgres;Database=app;Pooling=true"),
        format!("\"postgis://postgres@{encoded}/app?conn_max_age=600\"\n"),
        format!("jdbc:postgresql://{encoded}/app?user=postgres&ApplicationName=shop&prepareThreshold=0"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::of(&mut with_url(dir.path(), &url, &["backup"]));
        assert_eq!(run.code, Some(0), "{url}: {}", run.stderr);
        let told = run.stderr.contains("schema=public");
        assert_eq!(told, url.contains("schema="), "{url}: {}", run.stderr);
    }
    // pg_dump takes what libpq takes.
    let strict = |url: &str| Run::of(snapback().args(["dump", "-s", url]));
    strict(&format!("postgresql://postgres@{encoded}/app")).ok();
    for url in [
        format!("postgresql+psycopg2://postgres@{encoded}/app"),
        format!("postgresql://postgres@{encoded}/app?schema=public"),
    ] {
        assert_eq!(strict(&url).code, Some(1), "{url}");
    }
}

const MARKER: &str = "s3cr3t";

/// Connection strings with the marker as their password, or as all pieces of it. Nothing listens at port 1.
fn misread() -> Vec<String> {
    let m = MARKER;
    let mut all: Vec<String> = [
        "mysql://u:{}@127.0.0.1/app",
        "mysql+pymysql://u:{}@127.0.0.1:1/app?charset=utf8",
        "mongodb+srv://u:{}@h/d",
        "redis://:{}@h:6379/0",
        "sqlserver://127.0.0.1;user=u;password={}",
        "jdbc:oracle:thin:u/{}@h:1521:x",
        "jdbc:mysql://h/d?user=u&password={}",
        "nosuch://u:{}@h/d",
        "sqlite://u:{}@h/d",
        "u:{}@127.0.0.1:1/app",
        "//u:{}@127.0.0.1:1/app",
        "postgresql//u:{}@127.0.0.1:1/app",
        "postgresql:/u:{}@127.0.0.1:1/app",
        "postgresql:u:{}@127.0.0.1:1/app",
        "postgresql ://u:{}@127.0.0.1:1/app",
        "postgresql://u:{}",
        "postgresql://u:{}/app",
        "postgresql://u:{}@127.0.0.1:1:2/app",
        "postgresql://u:{}@[::1/app",
        "postgresql://u:{}@127.0.0.1:1/app?sslmod=require",
        "postgresql://u:{}@127.0.0.1:1/app?sslmode=no",
        "postgresql://u:{}@127.0.0.1:1/app?colour",
        "postgresql+psycopg2://u:{}@127.0.0.1:1/app",
        "jdbc:postgresql://127.0.0.1:1/app?user=u&password={}",
        "jdbc:postgresql://127.0.0.1:1/app?user=u&password={}&sslfoo=x",
        "host=127.0.0.1 port=1 user=u password={} colour=red",
        "host=127.0.0.1 port=1 user=u password={} {} dbname=app",
        "host=127.0.0.1 port=1 user=u password='{} {}",
        "Host=127.0.0.1;Port=1;Username=u;Password={};{};Database=app",
        "DATABASE_URL=postgresql://u:{}@127.0.0.1:1/app",
        "psql postgresql://u:{}@127.0.0.1:1/app -c x",
        "\"postgresql://u:{}@127.0.0.1:1/app",
    ]
    .map(|text| text.replace("{}", m))
    .into();
    // Characters that must be encoded, and are not.
    for c in [
        "@", "/", "?", "#", ":", "%", "%zz", " ", "&", "=", "@h/x?", "'", "\"", "\\", "+", ";", "[", "é",
    ] {
        all.push(format!("postgresql://u:{m}{c}{m}@127.0.0.1:1/app"));
        all.push(format!("postgresql+asyncpg://u:{m}{c}{m}@127.0.0.1:1/app?ssl=true"));
    }
    all
}

/// All files below a folder, with what is in them.
fn files(dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

#[track_caller]
fn keeps_the_secret(url: &str, args: &[&str], run: &Run) {
    for said in [&run.stdout, &run.stderr] {
        assert!(!said.contains(MARKER), "{url}\n{args:?} says: {said}");
    }
}

/// What takes its connection string from the environment.
const VERBS: &[&[&str]] = &[
    &["--json", "list"],
    &["show", "latest"],
    &["restore", "latest", "--dry-run"],
    &["--json", "restore", "latest", "--yes"],
    &["undo", "--yes"],
    &["verify"],
    &["copy", "latest", "--to", "default"],
    &["pin"],
    &["unpin"],
    &["prune"],
    &["serve"],
    &["config", "show"],
    &["--json", "config", "check"],
];

/// What takes one as an argument.
fn with_argument(url: &str) -> [Vec<&str>; 3] {
    [
        vec!["dump", url],
        vec!["restore", "latest", "--to", url],
        vec!["list", url, "--nosuch"],
    ]
}

/// Runs the verbs of which `is_turn` says so by their number, and the backup, which writes; then looks through all files.
fn keep_the_secret(url: &str, is_turn: impl Fn(usize) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let check = |url_in_environment: &str, args: &[&str]| {
        let run = Run::of(&mut with_url(dir.path(), url_in_environment, args));
        assert_ne!(run.code, None, "{url} {args:?}: {}", run.stderr);
        keeps_the_secret(url, args, &run);
    };
    check(url, &["--log-level", "trace", "backup"]);
    for (_, args) in VERBS.iter().enumerate().filter(|(number, _)| is_turn(*number)) {
        check(url, args);
    }
    for (number, args) in with_argument(url).iter().enumerate() {
        if is_turn(VERBS.len() + number) {
            check("postgres://u@127.0.0.1:1/app", args);
        }
    }
    let mut found = Vec::new();
    files(dir.path(), &mut found);
    for (name, bytes) in found {
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains(MARKER) && !name.contains(MARKER),
            "{url}: {name} holds {text}"
        );
    }
}

/// One that is taken for something else, and one that is understood and leads nowhere, are shown to every verb; all others to
/// the backup and to some verb each, in turn.
#[test]
fn no_verb_shows_or_stores_a_password() {
    let all_verbs = [
        format!("mysql://u:{MARKER}@127.0.0.1/app"),
        format!("postgresql+psycopg2://u:{MARKER}@127.0.0.1:1/app"),
    ];
    let urls = misread();
    let verbs = VERBS.len() + with_argument("").len();
    let urls: Vec<(usize, &String)> = urls.iter().enumerate().collect();
    std::thread::scope(|scope| {
        for url in &all_verbs {
            scope.spawn(|| keep_the_secret(url, |_| true));
        }
        for part in urls.chunks(urls.len().div_ceil(2)) {
            scope.spawn(move || {
                for (at, url) in part {
                    // Kinds of strings come in pairs, and verbs are an even number.
                    keep_the_secret(url, |number| number == (at + at / verbs) % verbs);
                }
            });
        }
    });
}

#[test]
fn a_file_with_a_mistake_shows_no_password_either() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapback.toml");
    for text in [
        format!("[jobs.app]\nurl = \"postgres://u:{MARKER}@h/d\nschedule = 1"),
        format!("[jobs.app]\npassword = \"{MARKER}\nurl = \"x\""),
        format!("[jobs.app]\nurl = \"mysql://u:{MARKER}@h/d\"\npasword = \"{MARKER}\""),
        format!("[jobs.app]\nurl = [\"postgres://u:{MARKER}@h/d\"]"),
    ] {
        fs::write(&file, &text).unwrap();
        for args in [["config", "check"], ["config", "show"]] {
            let run = Run::of(snapback().current_dir(dir.path()).args(args)).code(2);
            keeps_the_secret(&text, &args, &run);
        }
    }
}

#[test]
fn a_login_that_fails_names_the_server_and_not_the_password() {
    let address = own_address();
    let server = Server::start_with(15, &[&format!("listen_addresses={address}")]);
    let dir = tempfile::tempdir().unwrap();
    let url = format!("postgresql+psycopg2://nobody:{MARKER}@{address}/app");
    let run = Run::of(&mut with_url(dir.path(), &url, &["backup"])).code(4);
    assert!(
        run.stderr.contains(&address) && run.stderr.contains("nobody"),
        "{}",
        run.stderr
    );
    keeps_the_secret(&url, &["backup"], &run);
    let mut found = Vec::new();
    files(dir.path(), &mut found);
    let failed: Vec<_> = found.iter().filter(|(name, _)| name.ends_with(".failed")).collect();
    assert_eq!(failed.len(), 1, "{found:?}");
    assert!(!String::from_utf8_lossy(&failed[0].1).contains(MARKER));
    drop(server);
}

/// Pieces that connection strings are made of, and what may stand in a password by mistake.
const PIECES: &[&str] = &[
    "@",
    ":",
    "/",
    "//",
    "://",
    "?",
    "#",
    "&",
    "=",
    "%",
    "%4",
    "%40",
    ";",
    " ",
    "'",
    "\"",
    "\\",
    ",",
    "[",
    "]",
    "+",
    "\n",
    "\t",
    "h",
    "db",
    "localhost",
    "5432",
    "1",
    "0",
    "user=",
    "password=",
    "host=",
    "port=",
    "sslmode=",
    "ssl=true",
    "schema=",
    "sslmod=",
    "options=",
    "application_name=",
    "dbname=",
    "postgresql://",
    "postgres",
    "jdbc:",
    "mysql://",
    "é",
    "\u{1b}",
    "\u{10ff80}",
    "a",
    "Z",
];

/// Some of them, one after the other.
fn pieces(random: &mut fastrand::Rng, most: usize) -> String {
    let count = random.usize(..=most);
    (0..count).map(|_| PIECES[random.usize(..PIECES.len())]).collect()
}

#[test]
fn strings_of_any_shape_keep_their_secret() {
    let runs = std::env::var("FUZZ_RUNS").map_or(3000, |runs| runs.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(16);
    let schemes = [
        "postgresql",
        "postgresql+psycopg2",
        "jdbc:postgresql",
        "mysql",
        "nosuch",
        "pgsql",
    ];
    for _ in 0..runs {
        let scheme = schemes[random.usize(..schemes.len())];
        let password = format!("{MARKER}{}{MARKER}", pieces(&mut random, 4));
        let rest = pieces(&mut random, 5);
        let text = match random.u8(..8) {
            0 => format!(
                "Host=h;Username=u;Password={};Database=d;{rest}",
                password.replace(';', "x")
            ),
            1 => format!(
                "host=h user=u password='{}' {rest}",
                password.replace(['\\', '\''], "x")
            ),
            2 => format!(
                "{scheme}://h/d?user=u&password={}&{rest}",
                password.replace(['&', '@'], "x")
            ),
            _ => format!("{scheme}://u:{password}@h/d{rest}"),
        };
        let shown = match Dsn::parse(&text) {
            Ok(dsn) => format!("{dsn} {dsn:?}"),
            Err(error) => format!("{error:#} {}", hint_of(&error).unwrap_or_default()),
        };
        assert!(!shown.contains(MARKER), "{text:?}: {shown}");
        if let Err(error) = params(&text) {
            assert!(!format!("{error:#}").contains(MARKER), "{text:?}: {error:#}");
        }
        // And where a whole string gets into a message, whoever reads it gets nothing of the password.
        if text.contains("://u:") {
            let said = redact::secrets(&text);
            assert!(!said.contains(&password), "{text:?}: {said:?}");
        }
    }
}

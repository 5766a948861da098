//! How the program finds and logs in to a server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::program::openssl;
use crate::support::{Run, Server, own_address, snapback};

/// A server that asks for passwords, on TCP with TLS, at an address that no other test uses.
struct Guarded {
    server: Server,
    files: TempDir,
    address: String,
}

fn guarded() -> Guarded {
    let files = tempfile::Builder::new().prefix("sbtls").tempdir_in("/tmp").unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    for authority in ["ca", "other"] {
        openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={authority} -keyout {} -out {}",
            path(&format!("{authority}.key")),
            path(&format!("{authority}.crt"))
        ));
    }
    fs::write(files.path().join("names"), "subjectAltName=DNS:db.test").unwrap();
    openssl(&format!(
        "req -newkey rsa:2048 -nodes -subj /CN=db.test -keyout {} -out {}",
        path("server.key"),
        path("server.csr")
    ));
    openssl(&format!(
        "x509 -req -days 2 -in {} -CA {} -CAkey {} -CAcreateserial -extfile {} -out {}",
        path("server.csr"),
        path("ca.crt"),
        path("ca.key"),
        path("names"),
        path("server.crt")
    ));
    let hba = "local all postgres trust\nlocal all all scram-sha-256\nhostssl all all 127.0.0.0/8 scram-sha-256\n";
    fs::write(files.path().join("hba"), hba).unwrap();
    fs::set_permissions(files.path().join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
    if rustix::process::geteuid().is_root() {
        Run::of(
            Command::new("chown")
                .args(["-R", "postgres:postgres"])
                .arg(files.path()),
        )
        .ok();
    }
    let address = own_address();
    let server = Server::start_with(
        15,
        &[
            &format!("listen_addresses={address}"),
            "ssl=on",
            &format!("ssl_cert_file={}", path("server.crt")),
            &format!("ssl_key_file={}", path("server.key")),
            &format!("hba_file={}", path("hba")),
        ],
    );
    server.psql(
        "postgres",
        "CREATE ROLE ann LOGIN PASSWORD 'se:cret'; CREATE TABLE proof (a int)",
    );
    Guarded { server, files, address }
}

impl Guarded {
    /// `snapback dump -s` over TCP as `ann`, with more connection parameters.
    fn dump(&self, parameters: &str, password: Option<&str>) -> Run {
        let dsn = format!(
            "host=db.test hostaddr={} user=ann dbname=postgres {parameters}",
            self.address
        );
        let mut command = snapback();
        command.args(["dump", "-s", "-w", "-n", "nothing*", &dsn]);
        command.env("HOME", self.files.path());
        if let Some(password) = password {
            command.env("PGPASSWORD", password);
        }
        Run::of(&mut command)
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).to_str().unwrap().to_owned()
    }
}

/// The login succeeded: what fails is only that no schema matches.
#[track_caller]
fn logged_in(run: &Run) {
    assert!(run.stderr.contains("no matching schemas"), "{}", run.stderr);
}

#[test]
fn every_sslmode_verifies_what_it_says() {
    let guarded = guarded();
    let (ca, other) = (guarded.file("ca.crt"), guarded.file("other.crt"));
    let secret = Some("se:cret");
    for good in [
        "sslmode=allow".to_owned(),
        "sslmode=prefer".to_owned(),
        "sslmode=require channel_binding=require".to_owned(),
        format!("sslmode=verify-ca sslrootcert={ca}"),
        format!("sslmode=verify-full sslrootcert={ca} channel_binding=require"),
    ] {
        logged_in(&guarded.dump(&good, secret));
    }
    // verify-ca does not look at the name, verify-full does.
    let elsewhere = format!("host={} sslrootcert={ca} sslmode=", guarded.address);
    logged_in(&guarded.dump(&format!("{elsewhere}verify-ca"), secret));
    for (bad, says) in [
        ("sslmode=disable".to_owned(), "no pg_hba.conf entry"),
        (format!("{elsewhere}verify-full"), "TLS"),
        (format!("sslmode=verify-ca sslrootcert={other}"), "TLS"),
        ("sslmode=verify-full".to_owned(), "root certificate file"),
    ] {
        let run = guarded.dump(&bad, secret);
        assert!(run.stderr.contains(says), "{bad}: {}", run.stderr);
        assert_ne!(run.code, Some(0));
    }
}

#[test]
fn passwords_come_from_the_password_file_and_are_never_shown() {
    let guarded = guarded();
    let wrong = guarded.dump("", Some("wr0ng-one")).code(1);
    assert!(
        wrong.stderr.contains("password authentication failed"),
        "{}",
        wrong.stderr
    );
    assert!(wrong.stderr.contains("at \"db.test\", port 5432 failed") && wrong.stderr.contains("\"ann\""));
    assert!(!wrong.stderr.contains("wr0ng-one"));
    let none = guarded.dump("", None).code(1);
    assert!(none.stderr.contains("hint: give a password"), "{}", none.stderr);

    let file = guarded.files.path().join(".pgpass");
    fs::write(&file, "db.test:5432:postgres:ann:se\\:cret\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    logged_in(&guarded.dump("", None));
    // What others could read is not trusted, as with libpq.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    guarded.dump("", None).code(1);
    // The local socket of the same server is not what the file is about.
    drop(guarded.server);
}

#[test]
fn uris_services_and_the_environment_name_the_server() {
    let server = Server::start(15);
    server.psql("postgres", "CREATE TABLE proof (a int)");
    let proves = |command: &mut Command| {
        let run = Run::of(command).ok();
        assert!(run.stdout.contains("CREATE TABLE public.proof"));
    };
    proves(snapback().args(["dump", "-s", &server.url("postgres")]));
    proves(
        snapback()
            .args(["dump", "-s"])
            .env("PGHOST", server.host())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "postgres"),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("services");
    let service = format!("[mine]\nhost={}\nuser=postgres\ndbname=postgres\n", server.host());
    fs::write(&file, service).unwrap();
    proves(
        snapback()
            .args(["dump", "-s"])
            .env("PGSERVICEFILE", &file)
            .env("PGSERVICE", "mine"),
    );
    let missing = format!(
        "host={},{} user=postgres dbname=postgres",
        Path::new("/nowhere").display(),
        server.host()
    );
    proves(snapback().args(["dump", "-s", &missing]));
}

#[test]
fn what_cannot_be_reached_says_where_and_why() {
    let server = Server::start(15);
    let run = Run::of(snapback().args(["dump", "-h", "/nowhere", "-U", "ann", "shop"])).code(1);
    let words = "pg_dump: error: connection to server on socket \"/nowhere/.s.PGSQL.5432\" failed: ";
    assert!(run.stderr.starts_with(words), "{}", run.stderr);
    assert!(
        run.stderr.contains("(database \"shop\", user \"ann\")"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("hint: is the server running there"),
        "{}",
        run.stderr
    );
    let run = super::dump(&server, "no such", &[]).code(1);
    assert!(
        run.stderr.contains("database \"no such\" does not exist"),
        "{}",
        run.stderr
    );
}

#[test]
fn the_environment_says_how_values_are_written() {
    let server = Server::start(18);
    server.psql(
        "postgres",
        "CREATE TABLE t AS SELECT '2026-11-21 12:00:00Z'::timestamptz AS a",
    );
    let said = |command: &mut Command| {
        let run = command
            .env("PGTZ", "Asia/Tokyo")
            .env("PGOPTIONS", "-c TimeZone=America/Lima");
        super::stable(
            Run::of(run.args(server.connection_args("postgres")))
                .ok()
                .stdout
                .as_bytes(),
        )
    };
    let ours = said(snapback().arg("dump"));
    assert_eq!(ours, said(&mut server.tool("pg_dump")));
    assert!(String::from_utf8_lossy(&ours).contains("2026-11-21 21:00:00+09"));
}

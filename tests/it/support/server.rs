//! A throwaway PostgreSQL server on a private socket, run as a user who is not root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::disk::SmallDisk;
use super::program::Run;

/// Major versions that the matrix covers. All must be there: a missing one fails the run.
pub const VERSIONS: [u32; 5] = [14, 15, 16, 17, 18];

/// A running server; stopped when it is dropped.
pub struct Server {
    pub major: u32,
    dir: TempDir,
    postmaster: Child,
}

impl Server {
    /// Starts a fresh cluster of `major` with a superuser `postgres` who needs no password.
    pub fn start(major: u32) -> Server {
        Server::start_with(major, &[])
    }

    /// The same with settings, for example `["max_connections=20"]`.
    pub fn start_with(major: u32, settings: &[&str]) -> Server {
        Server::start_in(major, settings, None)
    }

    /// The same on a machine that has `locale`, for example `de_DE.UTF-8`, besides those of the C library.
    pub fn start_with_locale(major: u32, locale: &str) -> Server {
        Server::start_in(major, &[], Some(&folder_of_locale(locale)))
    }

    fn start_in(major: u32, settings: &[&str], locales: Option<&Path>) -> Server {
        let dir = folder();
        chown(dir.path());
        let template = template(major);
        run_as_postgres(Command::new("cp").arg("-a").arg(&template).arg(dir.path().join("data")));
        let mut server = Server {
            major,
            postmaster: spawn_postmaster(major, dir.path(), settings, locales),
            dir,
        };
        server.wait_until_ready();
        server
    }

    /// Starts a standby that follows this server.
    pub fn standby(&self) -> Server {
        let dir = folder();
        chown(dir.path());
        let mut copy = Command::new(self.bin("pg_basebackup"));
        copy.args(["-h", self.host(), "-p", "5432", "-U", "postgres"])
            .args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf", "-D"])
            .arg(dir.path().join("data"));
        run_as_postgres(&copy);
        let mut standby = Server {
            major: self.major,
            postmaster: spawn_postmaster(self.major, dir.path(), &[], None),
            dir,
        };
        standby.wait_until_ready();
        standby
    }

    /// A disk of so many MiB that the server can use for a tablespace.
    pub fn small_disk(&self, mib: u32) -> SmallDisk {
        let folder = self.dir.path().join("small");
        fs::create_dir(&folder).unwrap();
        chown(&folder);
        SmallDisk::mount(as_postgres, &folder, mib)
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let ready = Command::new(self.bin("pg_isready"))
                .arg("-q")
                .args(self.connection_args("postgres"))
                .status()
                .unwrap();
            if ready.success() {
                return;
            }
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            if let Some(status) = self.postmaster.try_wait().unwrap() {
                panic!("postgres {} ended with {status}: {}", self.major, log());
            }
            assert!(
                Instant::now() < deadline,
                "postgres {} does not start: {}",
                self.major,
                log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the server at once, as a crash would, and starts it again.
    pub fn crash_and_restart(&mut self) {
        self.stop();
        self.postmaster = spawn_postmaster(self.major, self.dir.path(), &[], None);
        self.wait_until_ready();
    }

    fn stop(&mut self) {
        // SIGQUIT: immediate shutdown of the postmaster and its children.
        let _ = Command::new("kill")
            .arg("-QUIT")
            .arg(self.postmaster.id().to_string())
            .status();
        let _ = self.postmaster.wait();
    }

    /// Seconds of processor that its sessions took which have ended.
    pub fn processor_seconds(&self) -> f64 {
        super::processor_seconds(self.postmaster.id(), true)
    }

    /// The folder of the socket; also a libpq `host`.
    pub fn host(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    /// A libpq URI of a database.
    pub fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// A libpq URI of a database for `user`.
    pub fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgresql://{user}@/{database}?host={}&port=5432", self.host())
    }

    /// `-h`, `-p`, `-U` and `-d` for the stock tools and `snapback dump`.
    pub fn connection_args(&self, database: &str) -> Vec<String> {
        ["-h", self.host(), "-p", "5432", "-U", "postgres", "-d", database]
            .map(str::to_owned)
            .to_vec()
    }

    /// The path of a stock tool of this version.
    pub fn bin(&self, tool: &str) -> PathBuf {
        bin_dir(self.major).join(tool)
    }

    /// A stock tool of this version, without the caller's PostgreSQL environment.
    pub fn tool(&self, tool: &str) -> Command {
        let mut command = Command::new(self.bin(tool));
        for (name, _) in std::env::vars() {
            if name.starts_with("PG") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Creates an empty database.
    pub fn create_database(&self, name: &str) {
        self.psql("postgres", &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"));
    }

    /// Runs SQL and returns what it prints, unaligned, without headers and without the last line feed.
    #[track_caller]
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let mut command = self.tool("psql");
        command
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1"])
            .args(self.connection_args(database))
            .args(["-c", sql]);
        Run::of(&mut command).ok().stdout.trim_end_matches('\n').to_owned()
    }

    /// Runs a file of SQL.
    #[track_caller]
    pub fn load(&self, database: &str, file: &Path) {
        let mut command = self.tool("psql");
        command
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1"])
            .args(self.connection_args(database))
            .arg("-f")
            .arg(file);
        Run::of(&mut command).ok();
    }

    /// What this version's pg_dump writes of a database.
    #[track_caller]
    pub fn pg_dump(&self, database: &str, options: &[&str]) -> Vec<u8> {
        let output = self
            .tool("pg_dump")
            .args(self.connection_args(database))
            .args(options)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "pg_dump: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where the executables of a major version are; `tests/servers` puts them there.
pub fn bin_dir(major: u32) -> PathBuf {
    if major == 15 {
        return PathBuf::from("/usr/lib/postgresql/15/bin");
    }
    let found = fs::read_dir(cache_dir()).ok().and_then(|entries| {
        let prefix = format!("postgresql-{major}.");
        entries.flatten().map(|entry| entry.path()).find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        })
    });
    found
        .unwrap_or_else(|| panic!("PostgreSQL {major} is not installed: run tests/servers"))
        .join("bin")
}

/// An address of this machine that no other test has, for a server that is reached over TCP.
pub fn own_address() -> String {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // A process runs one test, or, without nextest, all of them.
    let unique = std::process::id() * 4 + GIVEN.fetch_add(1, Ordering::Relaxed);
    let octets = (1 + unique % 250, unique / 250 % 250, 1 + unique / 62_500 % 250);
    format!("127.{}.{}.{}", octets.0, octets.1, octets.2)
}

/// Where `tests/servers` installs what Debian does not have.
pub fn cache_dir() -> PathBuf {
    if is_root() {
        return PathBuf::from("/var/cache/snapback-tests");
    }
    let home = || PathBuf::from(std::env::var("HOME").unwrap()).join(".cache");
    std::env::var("XDG_CACHE_HOME")
        .map_or_else(|_| home(), PathBuf::from)
        .join("snapback-tests")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs as `postgres` when the tests run as root: initdb and postgres refuse root.
pub(super) fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    // A server must not outlive the test that started it, even when that is killed.
    command.args(["--pdeathsig", "QUIT"]);
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command
        .arg("--")
        .arg(program)
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TZ", "UTC");
    command
}

fn run_as_postgres(command: &Command) {
    let mut wrapped = as_postgres(Path::new(command.get_program()));
    wrapped.args(command.get_args());
    Run::of(&mut wrapped).ok();
}

pub(super) fn chown(path: &Path) {
    if is_root() {
        Run::of(Command::new("chown").arg("postgres:postgres").arg(path)).ok();
    }
}

fn spawn_postmaster(major: u32, dir: &Path, settings: &[&str], locales: Option<&Path>) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = as_postgres(&bin_dir(major).join("postgres"));
    command.arg("-D").arg(dir.join("data")).arg("-k").arg(dir);
    for setting in [
        "listen_addresses=",
        "fsync=off",
        "full_page_writes=off",
        "autovacuum=off",
        "shared_buffers=64MB",
        "wal_level=logical",
        "max_prepared_transactions=4",
    ]
    .iter()
    .chain(settings)
    {
        command.arg("-c").arg(setting);
    }
    if let Some(locales) = locales {
        command.env("LOCPATH", locales);
    }
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A folder for a server: in memory where there is room, because each database that is created takes some hundred files.
fn folder() -> TempDir {
    const ROOM: u64 = 6 << 30;
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |it| it.f_bavail * it.f_frsize);
    let place = if free > ROOM { memory } else { Path::new("/tmp") };
    tempfile::Builder::new().prefix("sb").tempdir_in(place).unwrap()
}

/// Where what is made once for all tests is kept.
fn base() -> PathBuf {
    let base = PathBuf::from(if is_root() {
        "/var/tmp/snapback-tests".to_owned()
    } else {
        format!("{}/templates", cache_dir().display())
    });
    fs::create_dir_all(&base).unwrap();
    chown(&base);
    base
}

/// A folder with a locale, made of Debian's sources as `locale-gen` does it for the whole machine.
fn folder_of_locale(locale: &str) -> PathBuf {
    let folder = base().join("locales");
    let made = folder.join(locale);
    let (source, encoding) = locale.split_once('.').unwrap();
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join(".lock")).unwrap();
    lock.lock().unwrap();
    if !made.join("LC_MONETARY").exists() {
        Run::of(
            Command::new("localedef")
                .args(["-i", source, "-f", encoding])
                .arg(&made),
        )
        .ok();
    }
    folder
}

/// A cluster fresh from initdb, made once per version and copied for each test.
fn template(major: u32) -> PathBuf {
    let base = base();
    let lock = File::create(base.join(format!("{major}.lock"))).unwrap();
    lock.lock().unwrap();
    let template = base.join(major.to_string());
    if !template.join("PG_VERSION").exists() {
        let unfinished = base.join(format!("{major}.unfinished"));
        let _ = fs::remove_dir_all(&unfinished);
        let mut initdb = Command::new(bin_dir(major).join("initdb"));
        initdb
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "-D",
            ])
            .arg(&unfinished);
        run_as_postgres(&initdb);
        fs::rename(&unfinished, &template).unwrap();
    }
    template
}

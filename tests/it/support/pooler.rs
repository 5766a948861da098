//! PgBouncer in front of a server, handing each transaction to whichever server session is free.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Server;
use super::server::{as_postgres, chown};

/// A running pooler; stopped when it is dropped.
pub struct Pooler {
    dir: TempDir,
    process: Child,
}

impl Pooler {
    /// Starts one for all databases of `server`.
    pub fn start(server: &Server) -> Pooler {
        Pooler::before(server.host(), "")
    }

    /// The same for the server whose socket is in the folder `host`, with more settings.
    pub fn before(host: &str, settings: &str) -> Pooler {
        let dir = tempfile::Builder::new().prefix("sb").tempdir_in("/tmp").unwrap();
        let folder = dir.path().display();
        fs::write(
            dir.path().join("pgbouncer.ini"),
            format!(
                "[databases]\n* = host={host} port=5432 user=postgres\n[pgbouncer]\npool_mode = transaction\nauth_type = any\n\
                 listen_port = 5432\nunix_socket_dir = {folder}\nlogfile = {folder}/log\n{settings}\n"
            ),
        )
        .unwrap();
        chown(dir.path());
        let process = as_postgres("/usr/sbin/pgbouncer".as_ref())
            .arg("--quiet")
            .arg(dir.path().join("pgbouncer.ini"))
            .spawn()
            .unwrap();
        let mut pooler = Pooler { dir, process };
        pooler.wait_until_ready();
        pooler
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.dir.path().join(".s.PGSQL.5432").exists() {
            assert!(
                self.process.try_wait().unwrap().is_none() && Instant::now() < deadline,
                "pgbouncer does not start: {}",
                fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A libpq URI of a database, through the pool.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgresql://postgres@/{database}?host={}&port=5432",
            self.dir.path().display()
        )
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

//! Restores: the swap and what can happen to it, the whole story with the real program, and its bad days.

mod columns;
mod early;
mod encodings;
mod event_triggers;
mod extensions;
mod failures;
mod foreign;
mod foreign_roles;
mod from;
mod in_place;
mod in_place_tables;
mod keep_going;
mod kept;
mod kills;
mod late_rows;
mod many;
mod members;
mod packed;
mod proof;
mod public;
mod random;
mod rows;
mod search_path;
mod selection;
mod sending;
mod services;
mod settings;
mod signals;
mod story;
mod swap;
mod trouble;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use crate::support::{Run, Server, snapback};

/// The steps of a restore by swap, in their order.
pub const STEPS: [&str; 12] = [
    "recover",
    "check",
    "safety",
    "create",
    "pre-data",
    "data",
    "privileges",
    "analyse",
    "prove",
    "properties",
    "fence",
    "rename",
];

/// A server, and a folder with a configuration of the job `app` and its backups.
pub struct Site {
    pub server: Arc<Server>,
    folder: TempDir,
}

impl Site {
    /// With an empty database that the job backs up.
    pub fn new(major: u32, database: &str) -> Site {
        let site = Site::on(Server::start(major), database, "postgres");
        site.server.psql(
            "postgres",
            &format!(
                "CREATE DATABASE \"{}\" TEMPLATE template0",
                database.replace('"', "\"\"")
            ),
        );
        site
    }

    /// On a server that is there, as a role of it.
    pub fn on(server: impl Into<Arc<Server>>, database: &str, user: &str) -> Site {
        let server = server.into();
        let folder = tempfile::tempdir().unwrap();
        let escaped = database.replace('\\', "\\\\").replace('\'', "\\'");
        let config = format!(
            "[stores.default]\npath = \"backups\"\n\n[jobs.app]\nurl = '''host={} port=5432 user={user} dbname='{escaped}''''\n",
            server.host()
        );
        fs::write(folder.path().join("snapback.toml"), config).unwrap();
        Site { server, folder }
    }

    /// Adds a line to the configuration of the job.
    pub fn configure(&self, line: &str) {
        let file = self.folder.path().join("snapback.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap() + line + "\n").unwrap();
    }

    /// Replaces a part of the configuration.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let file = self.folder.path().join("snapback.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap().replace(from, to)).unwrap();
    }

    /// Puts another store in the place of the folder.
    pub fn use_store(&self, section: &str) {
        self.reconfigure("[stores.default]\npath = \"backups\"\n", section);
    }

    /// The program, in the folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = snapback();
        command.current_dir(self.folder.path()).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    /// Backs up and returns the id.
    #[track_caller]
    pub fn backup(&self) -> String {
        self.run(&["backup", "app"]).ok().stdout.trim().to_owned()
    }

    /// Restores and returns the report.
    #[track_caller]
    pub fn restore(&self, args: &[&str]) -> serde_json::Value {
        let all = [&["restore", "app", "--yes", "--json"], args].concat();
        serde_json::from_str(&self.run(&all).ok().stdout).unwrap()
    }

    /// The folder that the program runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder with the job's backups.
    pub fn backups(&self) -> PathBuf {
        self.folder.path().join("backups/app")
    }

    /// Names of all databases.
    pub fn databases(&self) -> Vec<String> {
        let names = self
            .server
            .psql("postgres", "SELECT datname FROM pg_database ORDER BY datname");
        names.lines().map(str::to_owned).collect()
    }
}

/// A file of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

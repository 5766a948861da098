//! Integration tests: real servers, the real binary, stock client tools as the oracle.

// clippy knows that tests may unwrap, but not that what tests share is test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod archive;
mod backup;
mod config;
mod copies;
mod daemon;
mod database;
mod deploy;
mod diff;
mod drill;
mod dump;
mod endurance;
mod equal;
mod equal_encodings;
mod equal_labels;
mod equal_options;
mod equal_random;
mod equal_round_trip;
mod escapes;
mod extract;
mod folders;
mod globals;
mod guard;
mod history;
mod huge_rows;
mod identity;
mod keyboard;
mod kubernetes;
mod machines;
mod manual;
mod package;
mod release;
mod restore;
mod retention_random;
mod s3;
mod scenarios;
mod sealed;
mod servers;
mod sqlite;
mod standby;
mod store;
mod stores;
mod support;
mod tables;
mod tidy;
mod turns;
mod urls;
mod watch;
mod words;

use support::{Server, VERSIONS};

#[test]
fn every_version_is_there() {
    for major in VERSIONS {
        let server = Server::start(major);
        let version: u32 = server.psql("postgres", "SHOW server_version_num").parse().unwrap();
        assert_eq!(version / 10_000, major);
    }
}

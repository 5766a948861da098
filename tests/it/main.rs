//! Integration tests: real servers, the real binary, stock client tools as the oracle.

mod config;
mod restore;
mod store;
mod support;
mod tidy;

use support::{Server, VERSIONS};

#[test]
fn every_version_is_there() {
    for major in VERSIONS {
        let server = Server::start(major);
        let version: u32 = server.psql("postgres", "SHOW server_version_num").parse().unwrap();
        assert_eq!(version / 10_000, major);
    }
}

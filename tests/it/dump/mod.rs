//! `snapback dump`: logins, options, rows, and what happens when something goes wrong meanwhile.

mod far;
mod inserts;
mod login;
mod meanwhile;
mod options;
mod refused;
mod rows;
mod subscriptions;
mod trouble;
mod verbose;

use std::process::Command;

use crate::support::{Run, Server, snapback};

/// `snapback dump` of a database of `server`, with `options`.
pub fn command(server: &Server, database: &str, options: &[&str]) -> Command {
    let mut command = snapback();
    command.arg("dump").args(server.connection_args(database)).args(options);
    command
}

pub fn dump(server: &Server, database: &str, options: &[&str]) -> Run {
    Run::of(&mut command(server, database, options))
}

/// Text without what differs from run to run.
pub fn stable(text: &[u8]) -> Vec<u8> {
    let dropped = ["-- Dumped", "\\restrict ", "\\unrestrict "];
    text.split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !dropped.iter().any(|start| line.starts_with(start.as_bytes())))
        .flatten()
        .copied()
        .collect()
}

/// Fails the test unless our plain dump is pg_dump's.
#[track_caller]
pub fn same_as_pg_dump(server: &Server, database: &str, options: &[&str]) {
    let ours = command(server, database, options).output().unwrap();
    assert!(ours.status.success(), "{}", String::from_utf8_lossy(&ours.stderr));
    let theirs = server.pg_dump(database, options);
    let (ours, theirs) = (stable(&ours.stdout), stable(&theirs));
    if ours != theirs {
        let (ours, theirs) = (String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
        let line = ours.lines().zip(theirs.lines()).position(|(a, b)| a != b);
        let around = |text: &str| -> String {
            let from = line.unwrap_or(0).saturating_sub(3);
            text.lines().skip(from).take(8).collect::<Vec<_>>().join("\n")
        };
        panic!(
            "{options:?}, line {line:?}\nours:\n{}\npg_dump's:\n{}",
            around(&ours),
            around(&theirs)
        );
    }
}

//! `snapback version`: what exactly is running, for reports of mistakes and for inventories.

use std::process::ExitCode;

use serde::Serialize;

use super::Globals;
use crate::engine::sqlite;
use crate::error::Result;

/// What a program is made of.
#[derive(Debug, Serialize)]
struct Version {
    snapback: &'static str,
    /// The commit it was built from, where whoever built it has said so.
    commit: Option<&'static str>,
    sqlite: &'static str,
    tls: String,
    architecture: &'static str,
}

/// Runs the verb.
///
/// # Errors
/// Standard output cannot be written to.
pub fn run(globals: &Globals) -> Result<ExitCode> {
    let version = Version {
        snapback: env!("CARGO_PKG_VERSION"),
        commit: option_env!("SNAPBACK_COMMIT"),
        sqlite: sqlite::version(),
        tls: format!("rustls {} (ring)", env!("SNAPBACK_RUSTLS")),
        architecture: std::env::consts::ARCH,
    };
    if globals.json {
        super::output::json(&version)?;
    } else {
        super::output::lines(&format!(
            "snapback {}\ncommit {}\nSQLite {}\n{}\n{}",
            version.snapback,
            version.commit.unwrap_or("not told at the build (SNAPBACK_COMMIT)"),
            version.sqlite,
            version.tls,
            version.architecture
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

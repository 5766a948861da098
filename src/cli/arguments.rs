//! The command line: clap's types, nothing else. The arguments of each verb stand with the verb.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};

use crate::engine::sqlite;

/// Backups of PostgreSQL and SQLite that can be proven, and restores that can be undone.
#[derive(Debug, Parser)]
#[command(name = "snapback", version = version(), about, propagate_version = true, max_term_width = 95)]
pub struct Cli {
    /// What all verbs share.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The versions of the program and of the SQLite in it.
fn version() -> &'static str {
    static VERSION: LazyLock<String> =
        LazyLock::new(|| format!("{} (SQLite {})", env!("CARGO_PKG_VERSION"), sqlite::version()));
    &VERSION
}

/// Options that every verb takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of all verbs")]
pub struct Globals {
    /// Configuration file [default: ./snapback.toml, then /etc/snapback/config.toml]
    #[arg(long, global = true, env = "SNAPBACK_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Report as JSON on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// File with the secret key that opens encrypted backups, besides the job's encryption.identity_file; may be repeated
    #[arg(long, global = true, env = "SNAPBACK_IDENTITY_FILE", value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// What to log: off, error, warn, info, debug, trace, or a filter of them
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Back up a job's database now
    Backup(super::backup::Args),
    /// List the backups that there are
    List(super::list::Args),
    /// Show all that is known of one backup
    Show(super::show::Args),
    /// Restore a backup: beside the live database first, then in its place
    Restore(Box<super::restore::Args>),
    /// Take back what a restore replaced
    Undo(super::undo::Args),
    /// Run a migration with a verified backup before it, and the way back when it fails
    Guard(Box<super::guard::Args>),
    /// Show in what a backup and the live database differ, or two backups
    Diff(super::diff::Args),
    /// Restore a backup into a scratch database, prove it, run checks, and drop it
    Drill(super::drill::Args),
    /// Take a part out of a backup: rows of a table, one row, a definition, all of it as SQL
    Extract(super::extract::Args),
    /// Copy a backup from one store of its job into another
    Copy(super::copy::Args),
    /// Delete the backups that no retention rule keeps
    Prune(super::prune::Args),
    /// Keep a backup whatever retention says
    Pin(super::pin::PinArgs),
    /// Let retention decide on a backup again
    Unpin(super::pin::UnpinArgs),
    /// Check that backups still are what their manifests say
    Verify(super::verify::Args),
    /// Say which jobs have a fresh, proven backup (exit code 13 when one has not)
    Status(super::status::Args),
    /// Try whether a channel reaches somebody
    Notify(super::notify::Args),
    /// Write the status page into one file
    Report(super::report::Args),
    /// Say what would go wrong at the next run
    Doctor(super::doctor::Args),
    /// Say what will run when
    Next(super::status::NextArgs),
    /// Show what was run, and what became of it
    History(super::history::Args),
    /// Make a key pair for encrypted backups
    Keygen(super::keygen::Args),
    /// Run all jobs by their schedules until told to end
    Serve(super::serve::Args),
    /// Check the configuration, or show what it comes to
    Config(super::config::Args),
    /// Print a script that completes command lines in a shell
    Completions(super::completions::Args),
    /// Say what this program is made of: its commit, SQLite's and TLS' versions
    Version,
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man(super::man::Args),
    /// Dump one database as pg_dump does, with pg_dump's options
    #[command(
        disable_help_flag = true,
        disable_version_flag = true,
        display_name = super::dump::PROGRAM,
        version = concat!("(PostgreSQL) 18.0 (Snapback ", env!("CARGO_PKG_VERSION"), ")"),
        args_override_self = true,
        infer_long_args = true
    )]
    Dump(Box<super::dump::Args>),
}

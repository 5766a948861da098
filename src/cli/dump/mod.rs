//! `snapback dump`: pg_dump with our engine.

mod args;
mod compress;
mod file;
mod filter;
pub mod getopt;
mod globals;
pub mod linked;
mod request;
mod verbose;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::archive::Format;
use crate::engine::postgres::connect::{self, Dsn, Refused};
use crate::engine::postgres::dump::{Request, dump_to};
use crate::engine::postgres::output::Target;
use crate::error::{Exit, Fail, Result, is_classified};
use crate::raw_text;
use crate::secret::Secret;
use crate::store::Local;

pub use args::Args;
use verbose::Verbose;

/// What the verb calls itself in what it says, so that scripts which read pg_dump's messages find them.
pub const PROGRAM: &str = "pg_dump";

/// Turns an argument in any encoding into text, from which [`raw_text::encode`] makes its bytes again: names of databases, roles
/// and tables need not be UTF-8, which is all that the parser takes.
pub fn as_text(argument: &mut OsString) {
    *argument = raw_text::decode(argument.as_bytes()).into();
}

/// A path that [`as_text`] made text of.
#[allow(clippy::unnecessary_wraps)] // as clap wants it
fn path(text: &str) -> std::result::Result<PathBuf, std::convert::Infallible> {
    Ok(raw_text::path(text))
}

/// Runs the verb.
///
/// # Errors
/// What keeps the dump from being complete.
pub async fn run(args: Args) -> Result<ExitCode> {
    let mut request = args.request()?;
    if globals::wanted(&args) {
        globals::check(&args)?;
    }
    let mut dsn = args.dsn()?;
    if let Some(text) = args.compress_as_the_server() {
        let wanted = args.compression(request.format);
        request.compress = compress::of_server(&dsn, request.format, text, wanted).await?;
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let work = async {
        match attempt(&dsn, &request, &args).await {
            Err(error) if wants_password(&error) && !args.no_password && std::io::stdin().is_terminal() => {
                dsn.password = Some(prompt_password()?);
                attempt(&dsn, &request, &args).await
            }
            other => other,
        }
    };
    tokio::select! {
        outcome = work => outcome.map(|()| ExitCode::SUCCESS),
        _ = interrupt.recv() => Err(interrupted()),
        _ = terminate.recv() => Err(interrupted()),
    }
}

fn interrupted() -> anyhow::Error {
    Fail::new(Exit::Interrupted, "interrupted; the unfinished dump was removed").into()
}

async fn attempt(dsn: &Dsn, request: &Request, args: &Args) -> Result<()> {
    let lost = |error| connect::lost(error, dsn, "while it was read");
    if globals::wanted(args) {
        return globals::write(dsn, request, args).await.map_err(lost);
    }
    let target = target(request, args.file.as_deref(), !args.no_sync)?;
    let progress = Verbose {
        verbose: request.verbose,
        connections: if request.parallel { request.jobs } else { 0 },
    };
    let dumped = dump_to(dsn, request, target, &progress).await;
    dumped.map(|_| ()).map_err(lost)
}

fn target(request: &Request, file: Option<&Path>, sync: bool) -> Result<Target> {
    match (request.format, file) {
        (Format::Directory, Some(folder)) => {
            file::check_folder(folder)?;
            Ok(Target::folder(Arc::new(Local::new(folder))))
        }
        (Format::Directory, None) => Err(Fail::new(Exit::Usage, "no output directory specified").into()),
        (_, Some(path)) => Ok(Target::one(file::create(path, sync)?)),
        (_, None) => Ok(Target::one(file::stdout())),
    }
}

/// Whether the login failed only because no password was given.
fn wants_password(error: &anyhow::Error) -> bool {
    error.to_string().contains("password missing")
}

fn prompt_password() -> Result<Secret> {
    Ok(Secret::new(rpassword::prompt_password("Password: ")?))
}

/// The system's words for a failure, without the number that Rust adds to them.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Tells why a dump failed: what the server refused as pg_dump does, with the statement; what says itself what it is in its own
/// words, and the statement after them.
pub fn tell(error: &anyhow::Error) {
    let refused = Refused::find(error).map(Refused::in_words_of_pg_dump);
    let first = match &refused {
        Some((first, _)) if !is_classified(error) => first.clone(),
        _ => format!("error: {error:#}"),
    };
    say(&first);
    for more in refused.into_iter().flat_map(|(_, more)| more) {
        say(&more);
    }
}

/// Says it on stderr: stdout may carry the dump.
fn say(text: &str) {
    super::to_stderr(&format!("{PROGRAM}: {text}"));
}

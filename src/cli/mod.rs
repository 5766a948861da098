//! The verbs of the command line: each asks the library, and prints for people or as JSON.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::{raw_text, redact};
use arguments::{Cli, Command};

use crate::error::{Exit, Result, exit_of, hint_of};
pub use arguments::Globals;

mod arenas;
mod arguments;
pub mod backup;
pub mod completions;
pub mod config;
mod confirm;
pub mod copy;
pub mod diff;
pub mod doctor;
pub mod drill;
pub mod dump;
pub mod extract;
pub mod guard;
pub mod history;
mod job_and_backup;
pub mod keygen;
pub mod list;
mod log;
pub mod man;
pub mod notify;
pub mod output;
pub mod pin;
pub mod progress;
pub mod prune;
pub mod report;
pub mod restore;
pub mod serve;
mod setup;
pub mod show;
pub mod status;
mod terminal;
pub mod undo;
pub mod verify;
pub mod version;

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let linked = dump::linked::is_linked(&args);
    if linked {
        args.insert(1, "dump".into());
    }
    let dumps = args.get(1).is_some_and(|verb| verb == "dump");
    if dumps {
        args.iter_mut().for_each(dump::as_text);
    }
    let mut command = Cli::command().mut_subcommand("dump", dump::getopt::like_getopt);
    if dumps {
        args = dump::getopt::values_apart(&command, args);
    }
    let parsed = command.try_get_matches_from_mut(&args);
    let mut cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) if linked && error.use_stderr() => return dump::linked::refuse(&command, &args, &error),
        Err(error) if dumps && error.use_stderr() => {
            let _ = refuse(&error);
            return code(dump::linked::exit(Exit::Usage));
        }
        Err(error) => return refuse(&error),
    };
    let mut program = "snapback";
    let mut as_exit: fn(Exit) -> Exit = |exit| exit;
    if let Command::Dump(args) = &mut cli.command {
        args.linked = linked;
        program = dump::PROGRAM;
        as_exit = dump::linked::exit;
    }
    if matches!(cli.command, Command::Serve(_)) {
        arenas::limit(&args);
    }
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            tell(program, &error);
            code(as_exit(exit_of(&error)))
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(verb(&cli.globals, cli.command));
    // What still runs in the background has nothing left to say.
    runtime.shutdown_background();
    outcome
}

async fn verb(globals: &Globals, command: Command) -> Result<ExitCode> {
    match command {
        Command::Backup(args) => backup::run(globals, args).await,
        Command::List(args) => list::run(globals, args).await,
        Command::Show(args) => show::run(globals, args).await,
        Command::Restore(args) => Box::pin(restore::run(globals, *args)).await,
        Command::Undo(args) => Box::pin(undo::run(globals, args)).await,
        Command::Guard(args) => guard::run(globals, *args).await,
        Command::Diff(args) => diff::run(globals, args).await,
        Command::Drill(args) => drill::run(globals, args).await,
        Command::Extract(args) => extract::run(globals, args).await,
        Command::Copy(args) => copy::run(globals, args).await,
        Command::Prune(args) => prune::run(globals, args).await,
        Command::Pin(args) => pin::pin(globals, args).await,
        Command::Unpin(args) => pin::unpin(globals, args).await,
        Command::Verify(args) => verify::run(globals, args).await,
        Command::Status(args) => status::run(globals, args).await,
        Command::Report(args) => report::run(globals, args).await,
        Command::Notify(args) => notify::run(globals, args).await,
        Command::Doctor(args) => doctor::run(globals, args).await,
        Command::Next(args) => status::next(globals, &args).await,
        Command::History(args) => history::run(globals, args).await,
        Command::Keygen(args) => keygen::run(&args),
        Command::Serve(args) => serve::run(globals, args).await,
        Command::Config(args) => config::run(globals, &args).await,
        Command::Completions(args) => completions::run(&args),
        Command::Version => version::run(globals),
        Command::Man(args) => man::run(&args),
        Command::Dump(args) => dump::run(*args).await,
    }
}

/// Says what is wrong with the command line, or what it asked for: help, the version. Arguments are repeated there, and may be
/// connection strings.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.render();
    let is_terminal = match error.use_stderr() {
        true => std::io::stderr().is_terminal(),
        false => std::io::stdout().is_terminal(),
    };
    let text = if is_terminal {
        text.ansi().to_string()
    } else {
        text.to_string()
    };
    let text = redact::secrets(&text);
    let _ = match error.use_stderr() {
        true => std::io::stderr().lock().write_all(text.as_bytes()),
        false => std::io::stdout().lock().write_all(text.as_bytes()),
    };
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Tells a person what failed, why, and what to do about it.
fn tell(program: &str, error: &anyhow::Error) {
    // A line that a name or a server's message brings along must not look like one of ours; pg_dump's are left as they are.
    let indented = |text: String| match program {
        dump::PROGRAM => text,
        _ => text.replace('\n', "\n  "),
    };
    match program {
        dump::PROGRAM => dump::tell(error),
        _ => to_stderr(&indented(format!("{program}: error: {error:#}"))),
    }
    if let Some(hint) = hint_of(error) {
        to_stderr(&indented(format!("{program}: hint: {hint}")));
    }
}

/// Writes a line whose names may be in any encoding, as people may see it. When nobody can read it, nothing is left to be done.
fn to_stderr(line: &str) {
    let line = [&raw_text::encode(&output::for_people(line)), b"\n".as_slice()].concat();
    let _ = std::io::stderr().lock().write_all(&line);
}

/// The process's exit code of `exit`.
#[must_use]
pub fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

//! The program under pg_dump's own name: scripts that call `pg_dump` may get a link to us, and then a command line
//! that is wrong is told and ends as they know it.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::PROGRAM;
use crate::error::Exit;

/// Whether the program was started under the name `pg_dump`.
pub fn is_linked(args: &[OsString]) -> bool {
    let name = args.first().and_then(|path| Path::new(path).file_name());
    name == Some(OsStr::new(PROGRAM))
}

/// What pg_dump exits with: it knows only one kind of failure. A signal still counts as one.
pub fn exit(exit: Exit) -> Exit {
    match exit {
        Exit::Interrupted => Exit::Interrupted,
        _ => Exit::Failure,
    }
}

/// Tells what is wrong with the command line `args` of `program`, as pg_dump does.
pub fn refuse(program: &clap::Command, args: &[OsString], error: &clap::Error) -> ExitCode {
    let name = args.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    crate::cli::to_stderr(&format!("{name}: {}", complaint(program, args, error)));
    crate::cli::to_stderr(&format!(
        "{PROGRAM}: hint: Try \"{PROGRAM} --help\" for more information."
    ));
    ExitCode::from(Exit::Failure as u8)
}

/// The words of the C library's `getopt_long` for what clap found.
fn complaint(program: &clap::Command, args: &[OsString], error: &clap::Error) -> String {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return error.kind().to_string();
    };
    // Of an option with a value clap also says what the value is: `--file <FILENAME>`.
    let option = option.split([' ', '=']).next().unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidValue => {
            let last = args.last().map(|last| last.to_string_lossy()).unwrap_or_default();
            match last.strip_prefix("--") {
                Some(_) => format!("option '{option}' requires an argument"),
                None => format!(
                    "option requires an argument -- '{}'",
                    last.chars().last().unwrap_or('-')
                ),
            }
        }
        ErrorKind::TooManyValues => format!("option '{option}' doesn't allow an argument"),
        ErrorKind::UnknownArgument => match option.strip_prefix("--") {
            Some(start) => match longer(program, start).as_slice() {
                [] => format!("unrecognized option '{}'", as_typed(args, option)),
                meant => format!("option '{option}' is ambiguous; possibilities: {}", meant.join(" ")),
            },
            None => format!("invalid option -- '{}'", option.trim_start_matches('-')),
        },
        other => format!("{other}: '{option}'"),
    }
}

/// The long options of a dump that begin with `start`: clap takes those for unknown that it cannot tell apart.
fn longer(program: &clap::Command, start: &str) -> Vec<String> {
    let dump = program.find_subcommand("dump");
    let options = dump.into_iter().flat_map(clap::Command::get_arguments);
    let names = options.filter_map(clap::Arg::get_long);
    let meant = names.filter(|name| name.starts_with(start));
    meant.map(|name| format!("'--{name}'")).collect()
}

/// The argument that gave the long option, with its value.
fn as_typed(args: &[OsString], option: &str) -> String {
    let typed = args.iter().map(|arg| arg.to_string_lossy());
    let mut matching = typed.filter(|arg| arg.split('=').next() == Some(option));
    matching
        .next()
        .map_or_else(|| option.to_owned(), std::borrow::Cow::into_owned)
}

//! psql's own commands, as far as dumps and scripts like them have them.

use super::REFUSED;
use crate::engine::postgres::connect::params;
use crate::error::{Exit, Fail, Result};

/// A command between statements.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// What follows is of this database.
    Connect(String),
    /// The client encoding is this one from here on.
    Encoding(String),
    /// It changes nothing of what is restored.
    Nothing,
    /// It only prints, or changes how psql prints.
    Prints(String),
    /// What follows counts only if this is true.
    If(bool),
    /// What follows counts if nothing before it did, and this is true.
    ElseIf(bool),
    /// What follows counts if nothing before it did.
    Else,
    /// The end of what an `\if` is about.
    EndIf,
}

/// What ends a statement instead of its semicolon.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is run, and what it gives is printed.
    Run,
    /// It is not run: only what it would give is printed.
    Describe(String),
}

/// Commands that only print, or change how psql prints; besides them all that begin with `d` or `l`, but for those of
/// large objects.
const PRINT: [&str; 26] = [
    "?",
    "C",
    "H",
    "T",
    "a",
    "conninfo",
    "copyright",
    "echo",
    "errverbose",
    "f",
    "h",
    "help",
    "o",
    "out",
    "p",
    "print",
    "pset",
    "qecho",
    "sf",
    "sf+",
    "sv",
    "sv+",
    "t",
    "timing",
    "warn",
    "x",
];

/// Reads a line that begins with a backslash.
///
/// # Errors
/// It does what only psql can do.
pub(super) fn parse(line: &str) -> Result<Command> {
    let text = line.trim().trim_start_matches('\\');
    let (name, arguments) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let arguments = arguments.trim();
    match name {
        "connect" | "c" => match database(arguments) {
            Some(database) => Ok(Command::Connect(database)),
            None => refuse("\\connect has more than the name of a database"),
        },
        "encoding" if !arguments.is_empty() => Ok(Command::Encoding(arguments.to_owned())),
        "encoding" => Ok(Command::Prints(shown(name))),
        "restrict" | "unrestrict" => Ok(Command::Nothing),
        // It is how statements are run here anyway.
        "set" if arguments.starts_with("ON_ERROR_STOP") => Ok(Command::Nothing),
        "set" if sets_printing(arguments) => Ok(Command::Prints(format!("\\set {arguments}"))),
        "if" => Ok(Command::If(truth(name, arguments)?)),
        "elif" => Ok(Command::ElseIf(truth(name, arguments)?)),
        "else" => Ok(Command::Else),
        "endif" => Ok(Command::EndIf),
        name if prints(name) => Ok(Command::Prints(shown(name))),
        name => refuse(&format!("there is the command \\{name}, which only psql understands")),
    }
}

/// Reads what stands in the place of a statement's semicolon, up to the end of its line.
///
/// # Errors
/// It does what only psql can do.
pub(super) fn ending(line: &str) -> Result<Ending> {
    let mut commands = line.split('\\').skip(1);
    let first = commands.next().unwrap_or_default();
    let name = first.split_whitespace().next().unwrap_or_default();
    for command in commands {
        if !matches!(parse(command)?, Command::Nothing | Command::Prints(_)) {
            return refuse("more than one command of psql stands behind a statement");
        }
    }
    match name {
        // A file or program that would get the output is none of a restore's.
        "g" | "gx" | "crosstabview" => Ok(Ending::Run),
        "gdesc" => Ok(Ending::Describe(shown(name))),
        name => refuse(&format!("there is the command \\{name} of psql inside of a statement")),
    }
}

fn refuse<T>(what: &str) -> Result<T> {
    Err(Fail::new(Exit::Usage, what).hint(REFUSED).into())
}

fn shown(name: &str) -> String {
    format!("\\{name}")
}

fn prints(name: &str) -> bool {
    let lists = name.starts_with(['d', 'l', 'z']) && (!name.starts_with("lo_") || name == "lo_list");
    lists || PRINT.contains(&name)
}

/// Variables that say what psql prints.
fn sets_printing(arguments: &str) -> bool {
    const VARIABLES: [&str; 8] = [
        "ECHO",
        "ECHO_HIDDEN",
        "HISTFILE",
        "PROMPT1",
        "QUIET",
        "SHOW_CONTEXT",
        "SHOW_ALL_RESULTS",
        "VERBOSITY",
    ];
    let name = arguments.split_whitespace().next();
    name.is_some_and(|name| VARIABLES.contains(&name)) && !arguments.contains('`')
}

/// Whether psql takes `value` for true: the beginning of a word is enough.
fn truth(command: &str, value: &str) -> Result<bool> {
    let value = value.to_ascii_lowercase();
    let begins = |words: &[&str]| !value.is_empty() && words.iter().any(|word| word.starts_with(&value));
    match value.as_str() {
        "1" | "on" => Ok(true),
        "0" | "of" | "off" => Ok(false),
        _ if begins(&["true", "yes"]) => Ok(true),
        _ if begins(&["false", "no"]) => Ok(false),
        _ => refuse(&format!("whether the \\{command} holds is known to psql only")),
    }
}

/// The database of `\connect name`, `"name"` or `-reuse-previous=on "dbname='name'"`.
fn database(arguments: &str) -> Option<String> {
    let text = arguments.trim_start_matches("-reuse-previous=on").trim_start();
    let word = match text.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?.replace("\"\"", "\""),
        None if text.contains(char::is_whitespace) => return None,
        None => text.to_owned(),
    };
    if !word.contains('=') {
        return (!word.is_empty() && word != "-").then_some(word);
    }
    let mut params = params(&word).ok()?;
    let name = params.remove("dbname")?;
    params.is_empty().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_in_the_ways_of_pg_dump() {
        for (line, name) in [
            ("\\connect app", "app"),
            ("\\c \"My \"\"App\"\r", "My \"App"),
            ("\\connect -reuse-previous=on \"dbname='a b'\"", "a b"),
            (
                "\\connect -reuse-previous=on \"dbname='it\\'s \"\"it\"\"'\"",
                "it's \"it\"",
            ),
        ] {
            assert_eq!(parse(line).unwrap(), Command::Connect(name.to_owned()), "{line}");
        }
        for line in [
            "\\connect",
            "\\connect a b",
            "\\connect -",
            "\\connect -reuse-previous=on \"dbname=a host=b\"",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        for line in ["\\restrict abc", "\\unrestrict abc", "\\set ON_ERROR_STOP on"] {
            assert_eq!(parse(line).unwrap(), Command::Nothing, "{line}");
        }
        let encoding = Command::Encoding("SQL_ASCII".to_owned());
        assert_eq!(parse("\\encoding SQL_ASCII").unwrap(), encoding);
        for line in [
            "\\i file",
            "\\set x 1",
            "\\set AUTOCOMMIT off",
            "\\copy t from f",
            "\\gexec",
            "\\g",
            "\\!",
            "\\lo_import f",
            "\\if :x",
            "\\if `id`",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_only_prints_is_known() {
        for line in [
            "\\d",
            "\\dt+ public.*",
            "\\x on",
            "\\l",
            "\\echo done",
            "\\pset pager off",
            "\\set QUIET on",
            "\\o /dev/null",
        ] {
            assert!(matches!(parse(line), Ok(Command::Prints(_))), "{line}");
        }
    }

    #[test]
    fn conditions_are_read_as_psql_reads_them() {
        for (line, holds) in [
            ("\\if true", true),
            ("\\if of", false),
            ("\\if Y", true),
            ("\\if 0", false),
        ] {
            assert_eq!(parse(line).unwrap(), Command::If(holds), "{line}");
        }
        assert_eq!(parse("\\elif no").unwrap(), Command::ElseIf(false));
    }

    #[test]
    fn statements_may_end_without_a_semicolon() {
        for line in ["\\g", "\\gx", "\\g /dev/null", "\\g \\echo done"] {
            assert_eq!(ending(line).unwrap(), Ending::Run, "{line}");
        }
        assert!(matches!(ending("\\gdesc"), Ok(Ending::Describe(_))));
        for line in ["\\gset", "\\gexec", "\\watch 1", "\\x", "\\g \\i file"] {
            assert!(ending(line).is_err(), "{line}");
        }
    }
}

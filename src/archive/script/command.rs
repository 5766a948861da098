//! psql's own commands, as far as dumps have them.

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
}

/// Commands that only change what psql shows.
const SHOWN: [&str; 7] = ["echo", "pset", "qecho", "restrict", "timing", "unrestrict", "warn"];

/// Reads a line that begins with a backslash.
///
/// # Errors
/// It does what only psql can do.
pub(super) fn parse(line: &str) -> Result<Command> {
    let text = line.trim().trim_start_matches('\\');
    let (name, arguments) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let refuse = |what: String| Err(Fail::new(Exit::Usage, what).hint(REFUSED).into());
    match name {
        "connect" | "c" => match database(arguments.trim()) {
            Some(database) => Ok(Command::Connect(database)),
            None => refuse("\\connect has more than the name of a database".to_owned()),
        },
        "encoding" if !arguments.trim().is_empty() => Ok(Command::Encoding(arguments.trim().to_owned())),
        // It is how statements are run here anyway.
        "set" if arguments.trim_start().starts_with("ON_ERROR_STOP") => Ok(Command::Nothing),
        name if SHOWN.contains(&name) => Ok(Command::Nothing),
        name => refuse(format!("there is the command \\{name}, which only psql understands")),
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
        for line in [
            "\\restrict abc",
            "\\unrestrict abc",
            "\\set ON_ERROR_STOP on",
            "\\echo done",
        ] {
            assert_eq!(parse(line).unwrap(), Command::Nothing, "{line}");
        }
        let encoding = Command::Encoding("SQL_ASCII".to_owned());
        assert_eq!(parse("\\encoding SQL_ASCII").unwrap(), encoding);
        for line in ["\\i file", "\\set x 1", "\\copy t from f", "\\gexec", "\\!"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}

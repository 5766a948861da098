//! The question before something is replaced.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use super::progress::Progress;
use crate::error::{Exit, Fail, Result};

/// How often a person may try.
const TRIES: usize = 2;

/// Asks a person to type the name of the database, twice at the most, and refuses where there is none to ask. Nothing else is
/// drawn while the question stands.
///
/// # Errors
/// [`Exit::Refused`]: the name was not typed.
pub fn confirm(progress: &Progress, database: &str, verb: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        let message = format!("the {verb} of {database:?} needs to be confirmed, and there is no terminal to ask on");
        return Err(Fail::new(Exit::Refused, message)
            .hint("add --yes to go ahead without being asked")
            .into());
    }
    progress.suspend(|| ask(database, verb))
}

fn ask(database: &str, verb: &str) -> Result<()> {
    for tried in 1..=TRIES {
        print(&format!("Type the name of the database ({database}) to go ahead: "))?;
        let mut typed = String::new();
        if io::stdin().lock().read_line(&mut typed)? == 0 {
            print("\n")?;
            break;
        }
        let typed = typed.trim();
        if typed == database {
            return Ok(());
        }
        if tried < TRIES {
            print(&match typed {
                "" => "Nothing was typed.\n".to_owned(),
                typed => format!("{typed:?} is not the name of the database.\n"),
            })?;
        }
    }
    let message = format!("the {verb} was not confirmed, and nothing was changed");
    Err(Fail::new(Exit::Refused, message)
        .hint(format!("type exactly {database}, or add --yes"))
        .into())
}

fn print(text: &str) -> Result<()> {
    let mut err = io::stderr().lock();
    err.write_all(super::output::for_people(text).as_bytes())?;
    Ok(err.flush()?)
}

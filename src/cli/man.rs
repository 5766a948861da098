//! `snapback man`: the manual pages, one for each verb and one for the configuration. Packages are made with it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::error::Result;

/// The configuration with all its keys: what snapback.toml(5) says.
const CONFIGURATION: &str = include_str!("../../config.example.toml");

/// Options of `snapback man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder that gets the pages; it is made where it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Runs the verb.
///
/// # Errors
/// A page cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    verbs(&program, "snapback", folder)?;
    write(folder, "snapback.toml.5", configuration(CONFIGURATION).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The page of a command, and those of the commands in it.
fn verbs(command: &clap::Command, name: &str, folder: &Path) -> Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        verbs(verb, &format!("{name}-{}", verb.get_name()), folder)?;
    }
    let mut page = Vec::new();
    let source = format!("Snapback {}", env!("CARGO_PKG_VERSION"));
    // One name and version for all: `dump` shows those of pg_dump to whoever asks it.
    let command = command
        .clone()
        .display_name(name.to_owned())
        .version(env!("CARGO_PKG_VERSION"));
    Man::new(command)
        .title(name)
        .source(source)
        .manual("Snapback")
        .render(&mut page)?;
    write(folder, &format!("{name}.1"), &page)
}

fn write(folder: &Path, name: &str, page: &[u8]) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// snapback.toml(5), made of the example: what stands above a key explains it.
fn configuration(example: &str) -> String {
    let mut page = format!(
        ".TH \"SNAPBACK.TOML\" 5 \"\" \"Snapback {}\" Snapback\n.SH NAME\nsnapback.toml \\- configuration of Snapback\n.SH DESCRIPTION\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut said: Vec<&str> = Vec::new();
    for line in example.lines() {
        let bare = line.strip_prefix('#').map_or(line, str::trim_start);
        if is_section(bare) {
            let _ = writeln!(page, ".SH \"{}\"", escaped(bare));
            paragraph(&mut page, &mut said);
        } else if is_key(bare) {
            // What is not set unless somebody sets it has no default to show, but an example.
            let kind = if line.starts_with('#') { " (example)" } else { "" };
            let _ = writeln!(page, ".TP\n\\fB{}\\fR{kind}", escaped(bare));
            for text in said.drain(..) {
                let _ = writeln!(page, "{}", escaped(text));
            }
        } else if bare.is_empty() {
            paragraph(&mut page, &mut said);
        } else {
            said.push(bare);
        }
    }
    paragraph(&mut page, &mut said);
    page.push_str(".SH \"SEE ALSO\"\n.BR snapback (1)\n");
    page
}

/// What was said so far, as a paragraph of its own.
fn paragraph(page: &mut String, said: &mut Vec<&str>) {
    if said.is_empty() {
        return;
    }
    page.push_str(".P\n");
    for text in said.drain(..) {
        let _ = writeln!(page, "{}", escaped(text));
    }
}

/// `[jobs.app]`
fn is_section(line: &str) -> bool {
    line.starts_with('[') && line.ends_with(']')
}

/// `keep_last = 10`
fn is_key(line: &str) -> bool {
    let name = line.split(" = ").next().unwrap_or_default();
    name.len() < line.len()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
}

/// Text that troff takes for nothing but text.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq");
    let text = text
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti");
    match text.starts_with('.') {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_stands_below_its_section_with_what_is_said_of_it() {
        let page = configuration(
            "# Intro.\n\n# Logs.\n[log]\n# How much.\nlevel = \"info\"\n# .dots and \\ are text\n# file = 'x'\n",
        );
        let wanted = "\
.P
Intro.
.SH \"[log]\"
.P
Logs.
.TP
\\fBlevel = \\(dqinfo\\(dq\\fR
How much.
.TP
\\fBfile = \\(aqx\\(aq\\fR (example)
\\&.dots and \\e are text
";
        assert!(page.contains(wanted), "{page}");
    }
}

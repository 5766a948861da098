//! `snapback completions`: what a shell needs to complete our command lines.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::Result;

/// Options of `snapback completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs the verb.
///
/// # Errors
/// Standard output cannot be written to.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "snapback", &mut script);
    super::output::raw(&script)?;
    Ok(ExitCode::SUCCESS)
}

//! Parses the command line, sets up logging and turns the outcome into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    snapback::cli::main()
}

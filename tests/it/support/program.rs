//! Running the built binary and the stock tools.

use std::process::{Command, Output};

/// The outcome of a run, its output as text.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(command: &mut Command) -> Run {
        Run::from(command.output().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    /// Fails the test unless the run succeeded.
    #[track_caller]
    pub fn ok(self) -> Run {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless the run ended with `code`.
    #[track_caller]
    pub fn code(self, code: i32) -> Run {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The built `snapback`, with none of the caller's PostgreSQL or Snapback environment.
pub fn snapback() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapback"));
    for (name, _) in std::env::vars() {
        if name.starts_with("PG") || name.starts_with("SNAPBACK") || name.starts_with("AWS_") || name == "DATABASE_URL"
        {
            command.env_remove(name);
        }
    }
    command
}

/// `openssl` with arguments that have no blanks in them.
#[track_caller]
pub fn openssl(arguments: &str) {
    Run::of(Command::new("openssl").args(arguments.split(' '))).ok();
}

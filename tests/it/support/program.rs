//! Running the built binary and the stock tools.

use std::fs;
use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

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

/// Runs a program, and returns the most memory that it had too, in KiB.
pub fn measured(command: &mut Command) -> (Run, u64) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Somebody has to read meanwhile, or the program would wait.
    let stdout = std::thread::spawn(move || read_all(stdout));
    let stderr = std::thread::spawn(move || read_all(stderr));
    let mut peak = 0;
    let status = loop {
        peak = peak.max(high_water(pid));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let run = Run::from(Output {
        status,
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    });
    (run, peak)
}

fn read_all(from: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// The most memory that a process has had so far, in KiB; 0 when it is gone.
pub fn high_water(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0)
}

/// Seconds of processor that a process took so far, or those of its children that have ended; 0 when it is gone.
pub fn processor_seconds(pid: u32, of_children: bool) -> f64 {
    /// Ticks of a second, as Linux tells them to programs on every machine that PostgreSQL is packaged for.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may have spaces in it. After it come utime, stime, cutime and cstime as the 12th to the 15th field.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(if of_children { 13 } else { 11 }).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// The built `snapback`, with none of the caller's PostgreSQL or Snapback environment.
pub fn snapback() -> Command {
    let built = || env!("CARGO_BIN_EXE_snapback").into();
    let mut command = Command::new(std::env::var_os("SNAPBACK_PROGRAM").unwrap_or_else(built));
    for (name, _) in std::env::vars() {
        if name.starts_with("PG") || name.starts_with("SNAPBACK") || name.starts_with("AWS_") || name == "DATABASE_URL"
        {
            command.env_remove(name);
        }
    }
    // The history of each configuration is a file of its own in there.
    command.env_remove("STATE_DIRECTORY");
    command.env("XDG_STATE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/state"));
    command
}

/// `openssl` with arguments that have no blanks in them.
#[track_caller]
pub fn openssl(arguments: &str) {
    Run::of(Command::new("openssl").args(arguments.split(' '))).ok();
}

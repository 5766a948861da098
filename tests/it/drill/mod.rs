//! Drills: a backup is restored where it is in nobody's way, proven, looked at by checks, and removed again.

mod daemon;
mod kills;
mod postgres;
mod sqlite;

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts a drill that stops at `step`, and waits until it is there.
fn paused_at(mut command: Command, step: &str) -> Child {
    command.args(["--log-level", "debug", "--pause-at", step]);
    started_until(command, step)
}

/// Starts a program that stops at `step`, and waits until its log says that it is there.
pub fn started_until(mut command: Command, step: &str) -> Child {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let (mut seen, mut buffer) = (String::new(), [0; 4096]);
    while !seen.contains(&format!("step={step}")) {
        assert!(Instant::now() < deadline, "never reached {step}: {seen}");
        let n = stderr.read(&mut buffer).unwrap();
        assert!(n > 0, "ended before {step}: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    // The pipe stays open, so that the program is not ended by writing to it.
    child.stderr = Some(stderr);
    child
}

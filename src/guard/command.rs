//! The command: it has our terminal, our signals and our environment.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, set_child_subreaper};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::Request;
use crate::error::{Exit, Fail, Result};

/// How long a command that took too long may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// What a shell says of a command that is not there, and of one that cannot be run; what `timeout` says of one that took too long.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;
const TOO_LONG: u8 = 124;

/// How the command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code as a shell gives it.
    pub exit: u8,
    how: String,
}

impl Ended {
    /// Whether it says that all went well.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.exit == 0
    }

    /// How it failed.
    #[must_use]
    pub fn why(&self) -> String {
        self.how.clone()
    }

    fn of(status: ExitStatus) -> Ended {
        match (status.code(), status.signal()) {
            (Some(code), _) => Ended {
                exit: u8::try_from(code).unwrap_or(1),
                how: format!("the command failed with exit code {code}"),
            },
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                Ended {
                    exit: u8::try_from(128 + signal).unwrap_or(1),
                    how: format!("the command was ended by signal {signal}"),
                }
            }
        }
    }
}

/// The signals that this process gets from now on.
pub struct Signals(Mutex<mpsc::UnboundedReceiver<Signal>>);

impl Signals {
    /// Takes them.
    ///
    /// # Errors
    /// There is no room for handlers.
    pub fn take() -> Result<Signals> {
        let (to, from) = mpsc::unbounded_channel();
        for (kind, sent) in [
            (SignalKind::interrupt(), Signal::INT),
            (SignalKind::terminate(), Signal::TERM),
            (SignalKind::hangup(), Signal::HUP),
            (SignalKind::quit(), Signal::QUIT),
        ] {
            let (mut signals, to) = (signal(kind)?, to.clone());
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if to.send(sent).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Signals(Mutex::new(from)))
    }

    /// Forgets those that came so far: they were for what has ended.
    pub async fn forget(&self) {
        let mut signals = self.0.lock().await;
        while signals.try_recv().is_ok() {}
    }

    /// Waits for the next one.
    pub async fn next(&self) {
        if self.0.lock().await.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Does `work`, which a signal cancels by `cancel`.
    pub async fn cancelling<T>(&self, cancel: &CancellationToken, work: impl Future<Output = T>) -> T {
        let mut signals = self.0.lock().await;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(_) = signals.recv() => cancel.cancel(),
            }
        }
    }
}

/// Makes sure that there is such a program, before anything is done for it.
///
/// # Errors
/// There is none, or it may not be run: with the exit code that a shell gives.
pub fn find_program(command: &[String]) -> Result<PathBuf, Fail> {
    let Some(name) = command.first() else {
        return Err(Fail::new(Exit::Usage, "no command is named").hint("snapback guard JOB -- COMMAND ARGUMENTS"));
    };
    let candidates: Vec<PathBuf> = match name.contains('/') {
        true => vec![PathBuf::from(name)],
        false => std::env::var_os("PATH")
            .map(|path| std::env::split_paths(&path).map(|folder| folder.join(name)).collect())
            .unwrap_or_default(),
    };
    let is_file = |path: &&PathBuf| fs::metadata(path).is_ok_and(|found| found.is_file());
    let is_program = |path: &Path| fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o111 != 0);
    let mut files = candidates.iter().filter(is_file);
    let first = files.clone().next();
    match (files.find(|path| is_program(path)), first) {
        (Some(program), _) => Ok(program.clone()),
        (None, Some(file)) => Err(Fail::new(
            Exit::CommandNotRun,
            format!("{} is no program that may be run", file.display()),
        )
        .hint("nothing was done; chmod +x makes a script one")),
        (None, None) => Err(Fail::new(Exit::CommandNotFound, format!("there is no command {name}"))
            .hint("nothing was done; with two commands or a pipe: -- sh -c 'one && two'")),
    }
}

/// Runs the command of `request` with these variables besides.
pub(super) async fn run(request: &Request<'_>, environment: &[(String, String)]) -> Result<Ended> {
    let program = find_program(request.command)?;
    // What it leaves behind when it takes too long is ours to end.
    let _ = set_child_subreaper(Some(rustix::process::getpid()));
    let mut command = Command::new(program);
    command.args(&request.command[1..]).envs(environment.iter().cloned());
    if request.quiet_output {
        use std::os::fd::AsFd as _;
        let stderr = std::io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .context("duplicating standard error")?;
        command.stdout(Stdio::from(stderr));
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let exit = match error.kind() {
                std::io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_RUN,
            };
            return Ok(Ended {
                exit,
                how: format!("the command could not be started: {error}"),
            });
        }
    };
    wait(&mut child, request).await
}

async fn wait(child: &mut Child, request: &Request<'_>) -> Result<Ended> {
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let mut signals = request.signals.0.lock().await;
    let deadline = tokio::time::sleep(request.timeout.unwrap_or(Duration::MAX));
    let mut deadline = std::pin::pin!(deadline);
    loop {
        tokio::select! {
            status = child.wait() => return Ok(Ended::of(status.context("waiting for the command")?)),
            Some(signal) = signals.recv() => {
                if let Some(pid) = pid.filter(|_| !is_from_keyboard(signal)) {
                    let _ = kill_process(pid, signal);
                }
            }
            () = &mut deadline, if request.timeout.is_some() => {
                end_all(Signal::TERM);
                if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                    end_all(Signal::KILL);
                    child.wait().await.context("waiting for the command")?;
                }
                // What it began may outlive it, and would write on.
                end_all(Signal::KILL);
                let seconds = request.timeout.unwrap_or_default().as_secs_f64();
                return Ok(Ended {
                    exit: TOO_LONG,
                    how: format!("the command took longer than {seconds} s and was ended"),
                });
            }
        }
    }
}

/// Whether the terminal has sent the signal: then the command, which is in the same group, has it already.
fn is_from_keyboard(signal: Signal) -> bool {
    if signal != Signal::INT && signal != Signal::QUIT {
        return false;
    }
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name: state, parent, group, session, terminal, the group that the terminal is for.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    matches!((fields.get(2), fields.get(5)), (Some(group), Some(front)) if group == front)
}

/// Sends a signal to all that this process has started, directly or not.
fn end_all(signal: Signal) {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let text = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
        if let Some(parent) = fields.nth(1).and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut next = vec![std::process::id()];
    while let Some(one) = next.pop() {
        for pid in children.remove(&one).unwrap_or_default() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, signal);
            }
            next.push(pid);
        }
    }
}

//! Who is told of runs: a program of the operator's. It gets the line of the history on its standard input, and in its
//! environment the job, what kind of news it is, and a sentence for people.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::backup::Report;
use crate::drill;
use crate::error::{Exit, Result, exit_of};
use crate::redact;

/// How long the program may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a run is to those who want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// There is no backup.
    Failed,
    /// A store lacks its copy.
    Incomplete,
    /// There is much less in the database than before.
    Collapsed,
    /// All is well again.
    Recovered,
    /// All is well.
    Fine,
}

impl News {
    /// What `outcome` is after a run that was `troubled`: that failed or was incomplete.
    pub fn of(outcome: &Result<Report>, troubled: bool) -> Self {
        match outcome {
            // Nothing is wrong where another run is in the way, or the daemon ends.
            Err(error) if matches!(exit_of(error), Exit::Busy | Exit::Interrupted) => News::Fine,
            Err(_) => News::Failed,
            Ok(report) if report.lacking().next().is_some() => News::Incomplete,
            Ok(report) if !report.collapsed.is_empty() => News::Collapsed,
            Ok(_) if troubled => News::Recovered,
            Ok(_) => News::Fine,
        }
    }

    fn name(self) -> &'static str {
        match self {
            News::Failed => "failed",
            News::Incomplete => "incomplete",
            News::Collapsed => "collapsed",
            News::Recovered => "recovered",
            News::Fine => "fine",
        }
    }
}

/// What there is to tell.
pub struct Notice {
    news: News,
    job: String,
    message: String,
    line: Vec<u8>,
}

impl Notice {
    /// Of a run of `job` with this `outcome`, whose line in the history is `line`.
    pub fn of(news: News, job: &str, outcome: &Result<Report>, line: Vec<u8>) -> Self {
        let what = match outcome {
            Err(error) if exit_of(error) == Exit::Busy => format!("skipped: {error:#}"),
            Err(error) => format!("no backup: {error:#}"),
            Ok(report) => {
                let lacking = report
                    .lacking()
                    .map(|(store, why)| format!("no copy in {store}: {why}"));
                let trouble: Vec<String> = lacking.chain(report.collapsed.iter().cloned()).collect();
                let again = if news == News::Recovered { " again" } else { "" };
                match trouble.is_empty() {
                    true => format!("backed up{again} as {}", report.manifest.id),
                    false => format!("backed up as {}, but {}", report.manifest.id, trouble.join("; ")),
                }
            }
        };
        Notice {
            news,
            job: job.to_owned(),
            message: redact::secrets(&format!("{job}: {what}")).into_owned(),
            line,
        }
    }

    /// Of a drill of `job`.
    pub fn of_drill(news: News, job: &str, outcome: &Result<drill::Report>, line: Vec<u8>) -> Self {
        let what = match outcome {
            Err(error) if matches!(exit_of(error), Exit::Busy | Exit::Interrupted) => {
                format!("drill skipped: {error:#}")
            }
            Err(error) => format!("drill failed: {error:#}"),
            Ok(report) => {
                let again = if news == News::Recovered { " again" } else { "" };
                format!(
                    "backup {} is restorable{again}, shown by a drill in {:.0} s",
                    report.backup, report.seconds
                )
            }
        };
        Notice {
            news,
            job: job.to_owned(),
            message: redact::secrets(&format!("{job}: {what}")).into_owned(),
            line,
        }
    }

    /// Runs `program`, which is a command with its arguments. That it fails is logged: nothing depends on it.
    pub async fn tell(self, program: Vec<String>) {
        let told = tokio::time::timeout(TIMEOUT, self.run(&program)).await;
        let told = told.unwrap_or_else(|_| Err(anyhow::anyhow!("it did not end within {TIMEOUT:?}")));
        if let Err(error) = told {
            let program = program.join(" ");
            tracing::error!(job = self.job, "nobody was told by `{program}`: {error:#}");
        }
    }

    async fn run(&self, program: &[String]) -> Result<()> {
        let (name, args) = program.split_first().context("there is no program")?;
        let mut command = Command::new(name);
        command
            .args(args)
            .env("SNAPBACK_JOB", &self.job)
            .env("SNAPBACK_NEWS", self.news.name())
            .env("SNAPBACK_MESSAGE", &self.message)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("starting it")?;
        if let Some(mut input) = child.stdin.take() {
            // A program that does not want to read it may have ended already.
            let _ = input.write_all(&self.line).await;
        }
        let output = child.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().next_back().unwrap_or_default();
        ensure!(output.status.success(), "{} {last}", output.status);
        Ok(())
    }
}

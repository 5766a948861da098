//! Programs of the operator's around a run: before it, after it, when it fails, and in any case. They find the facts of the run in
//! their environment.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use super::{Report, Request};
use crate::error::{Exit, Result, exit_of};
use crate::job::Hooks;
use crate::manifest::{BackupId, Kind};
use crate::redact;
use crate::shelf::Shelf;

/// What a hook can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Before,
    After,
    OnFailure,
    Finally,
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Moment::Before => "before",
            Moment::After => "after",
            Moment::OnFailure => "on_failure",
            Moment::Finally => "finally",
        }
    }

    fn program(self, hooks: &Hooks) -> &[String] {
        match self {
            Moment::Before => &hooks.before,
            Moment::After => &hooks.after,
            Moment::OnFailure => &hooks.on_failure,
            Moment::Finally => &hooks.finally,
        }
    }
}

/// Runs `running` with the job's hooks around it. A safety snapshot is a part of a restore, and has none.
///
/// # Errors
/// As `running`, or the hook before it failed: then it was not begun.
pub(super) async fn around(request: &Request<'_>, running: impl Future<Output = Result<Report>>) -> Result<Report> {
    if request.kind == Kind::Safety {
        return running.await;
    }
    let mut outcome = match hook(request, Moment::Before, None).await {
        Ok(()) => running.await,
        Err(error) => {
            record(request, &error).await;
            Err(error)
        }
    };
    // That another run is in the way is no failure, and nothing was begun.
    if matches!(&outcome, Err(error) if exit_of(error) == Exit::Busy) {
        let _ = hook(request, Moment::Finally, Some(&outcome)).await;
        return outcome;
    }
    let moment = if outcome.is_ok() {
        Moment::After
    } else {
        Moment::OnFailure
    };
    for moment in [moment, Moment::Finally] {
        if let Err(error) = hook(request, moment, Some(&outcome)).await {
            tracing::warn!(job = request.job.name, "{error:#}");
            if let Ok(report) = &mut outcome {
                report.afterwards.push(format!("{error:#}"));
            }
        }
    }
    outcome
}

/// Leaves a record of a run that could not even begin.
async fn record(request: &Request<'_>, error: &anyhow::Error) {
    let now = request.clock.now();
    let failure = super::failure(
        request,
        BackupId::at(now),
        redact::secrets(&format!("{error:#}")).into_owned(),
    );
    for destination in &request.job.destinations {
        if let Err(error) = Shelf::new(request.job, destination).record_failure(&failure).await {
            tracing::warn!(
                job = request.job.name,
                "the failure is not recorded in {}: {error:#}",
                destination.name
            );
        }
    }
}

/// Runs the hook of this moment, if there is one.
async fn hook(request: &Request<'_>, moment: Moment, outcome: Option<&Result<Report>>) -> Result<()> {
    let job = request.job;
    let program = moment.program(&job.hooks);
    let Some((name, args)) = program.split_first() else {
        return Ok(());
    };
    let about = || format!("the hook {} of job {} ({name})", moment.name(), job.name);
    let mut command = Command::new(name);
    command
        .args(args)
        .env("SNAPBACK_HOOK", moment.name())
        .env("SNAPBACK_JOB", &job.name)
        .env("SNAPBACK_KIND", request.kind.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    match outcome {
        None => {}
        Some(Ok(report)) => {
            let manifest = &report.manifest;
            let lacks = report.lacking().next().is_some();
            command
                .env("SNAPBACK_OUTCOME", if lacks { "incomplete" } else { "ok" })
                .env("SNAPBACK_BACKUP", manifest.id.to_string())
                .env("SNAPBACK_BYTES", manifest.archive.bytes.to_string())
                .env("SNAPBACK_ROWS", manifest.rows().to_string())
                .env("SNAPBACK_SECONDS", format!("{:.3}", report.seconds))
                .env("SNAPBACK_STORES", report.stores().collect::<Vec<_>>().join(","));
        }
        Some(Err(error)) => {
            command
                .env("SNAPBACK_OUTCOME", "failed")
                .env("SNAPBACK_EXIT", (exit_of(error) as u8).to_string())
                .env("SNAPBACK_ERROR", redact::secrets(&format!("{error:#}")).as_ref());
        }
    }
    let running = async {
        let output = command.spawn().context("starting it")?.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().next_back().unwrap_or_default();
        ensure!(output.status.success(), "{} {last}", output.status);
        Ok(())
    };
    let timeout = job.hooks.timeout;
    let ran = tokio::select! {
        ran = tokio::time::timeout(timeout, running) => {
            ran.unwrap_or_else(|_| Err(anyhow::anyhow!("it did not end within {} s", timeout.as_secs())))
        }
        () = request.cancel.cancelled(), if moment == Moment::Before => Err(anyhow::anyhow!("the run was cancelled")),
    };
    ran.with_context(about)
}

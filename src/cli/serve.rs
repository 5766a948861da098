//! `snapback serve`: the daemon.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::backup::cancelled_by_signals;
use crate::cli::Globals;
use crate::clock::Clock;
use crate::daemon::{self, Surroundings};
use crate::error::{Exit, Fail, Result};

/// Options of `snapback serve`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
///
/// # Errors
/// The configuration is wrong, or no job has a schedule.
pub async fn run(globals: &Globals, _args: Args) -> Result<ExitCode> {
    let config = globals.daemon_config()?;
    let templates = config.servers.iter().map(|(server, _)| &server.template);
    let mut all = config.jobs.iter().chain(templates);
    if all.all(|job| job.schedule.is_none() && job.drill.schedule.is_none()) {
        return Err(
            Fail::new(Exit::Usage, "no job has a schedule, so there is nothing to serve")
                .hint("set jobs.NAME.schedule; `snapback backup` runs a job by hand")
                .into(),
        );
    }
    let shutdown = cancelled_by_signals()?;
    let (ask, reload) = mpsc::channel(1);
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // One request that waits is enough for any number of signals.
            let _ = ask.try_send(());
        }
    });
    let globals = globals.clone();
    let surroundings = Surroundings {
        clock: Clock::system(),
        shutdown,
        reload,
        heartbeat: None,
        load: Box::new(move || globals.load()),
    };
    daemon::run(config, surroundings).await?;
    Ok(ExitCode::SUCCESS)
}

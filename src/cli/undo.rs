//! `snapback undo`: the database that a restore replaced is live again.

use std::process::ExitCode;

use chrono::Utc;
use tokio_util::sync::CancellationToken;

use super::confirm::confirm;
use super::output;
use super::progress::Progress;
use super::restore::undo_command::undo_command;
use super::restore::{Go, WAIT, go, missing, pause_at, sqlite, watch};
use crate::archive::options::RestoreOptions;
use crate::cli::Globals;
use crate::clock::Clock;
use crate::config::environment;
use crate::config::value::Span;
use crate::engine::postgres::target::Target;
use crate::error::Result;
use crate::find::FromOther;
use crate::guard;
use crate::job::{Job, SourceConfig};
use crate::replaced::Kept;
use crate::restore::postgres::origin::Origin;
use crate::restore::postgres::plan::Mode;
use crate::restore::postgres::run::{Prepared, Request};
use crate::restore::postgres::turn;
use crate::restore::postgres::undo::{self, Way};
use crate::watch::history::{Facts, Recorder, Recording, Verb};

/// Options of `snapback undo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job whose restore to undo, or an SQLite file; may be left out when there is only one job
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Undo a restore that went to another database: the same connection string or job as in its own --to
    #[arg(long, value_name = "URL|JOB")]
    to: Option<String>,
    /// The kept database to take back [default: the newest]
    #[arg(long, value_name = "DATABASE")]
    kept: Option<String>,
    /// Only show what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    /// How long to wait for a backup of the job that is under way
    #[arg(long, value_name = "TIME", default_value = WAIT)]
    wait: Span,
    #[command(flatten)]
    tolerance: missing::Failures,
    /// Stop for ever at a step: for tests, which kill the undo there
    #[arg(long, hide = true, value_name = "STEP")]
    pause_at: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// There is nothing to take back, it was not confirmed, or the swap failed.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_to(&mut args.job, args.to.as_deref()).await?;
    let named = args.job.as_deref();
    let job = match &args.to {
        Some(to) => {
            let beside = named.map(|name| config.job(Some(name))).transpose()?;
            config.destination(to, beside, &environment(), Utc::now())?
        }
        None => config.job(named)?.for_restores(),
    };
    guard::tell_of_killed(&job, &|text| Progress::new(false).warn(&text)).await;
    let recorder = match args.dry_run {
        true => Recorder::default(),
        false => globals.recorder(&config),
    };
    let recording = recorder.begin(&job.name, Verb::Undo, Facts::default());
    let outcome = Box::pin(undo(globals, &args, &job, &recording)).await;
    recording.end_noted(&outcome);
    outcome
}

async fn undo(globals: &Globals, args: &Args, job: &Job, recording: &Recording) -> Result<ExitCode> {
    if let SourceConfig::Sqlite(location) = &job.source {
        let asked = sqlite::Asked::undo(job, location, args.kept.as_deref(), args.wait.duration()).await?;
        let how = sqlite::How {
            dry_run: args.dry_run,
            yes: args.yes,
            verb: "undo",
            pause_at: args.pause_at.as_deref(),
            noted: recording.noted(),
        };
        return sqlite::go(globals, asked, how).await;
    }
    let dsn = job.source.dsn()?;
    let database = dsn.database.clone();
    let target = Target::new(dsn);
    match undo::way(&target, job, &database, args.kept.as_deref()).await? {
        Way::Swap(kept) => swap(globals, args, (job, &target), &database, kept, recording).await,
        Way::InPlace(safety) => in_place(globals, args, job, &safety.to_string(), recording).await,
    }
}

/// Takes a restore in place back: its safety snapshot is restored in place.
async fn in_place(globals: &Globals, args: &Args, job: &Job, safety: &str, recording: &Recording) -> Result<ExitCode> {
    if !globals.json {
        output::line(&format!(
            "the last restore of job {} was made in place; its safety snapshot {safety} takes it back, in place too",
            job.name
        ))?;
    }
    let progress = Progress::new(!globals.json);
    let cancel = CancellationToken::new();
    let request = Request {
        origin: Origin::Backup {
            job,
            id: safety,
            from_other: FromOther::Refused,
        },
        job,
        mode: Mode::InPlace,
        options: RestoreOptions::default(),
        create_roles: false,
        back: true,
        safety: true,
        force: false,
        from_other: FromOther::Refused,
        wait: args.wait.duration(),
        tolerance: args.tolerance.tolerance(),
        copy_of: None,
        accept_missing: args.tolerance.accept_missing(),
        jobs: None,
        clock: Clock::system(),
        watch: watch(&progress, pause_at(args.pause_at.as_deref())?, recording),
        cancel: cancel.clone(),
    };
    let mut prepared = Prepared::new(request).await?;
    let how = Go {
        dry_run: args.dry_run,
        confirm: (!args.yes).then_some("undo"),
        cancel,
        back: undo_command(
            args.job.as_deref().or(args.to.is_none().then_some(&job.name)),
            args.to.as_deref(),
        ),
        noted: recording.noted(),
    };
    go(globals, &mut prepared, &progress, how).await
}

/// Takes a restore by swap back.
async fn swap(
    globals: &Globals,
    args: &Args,
    (job, target): (&Job, &Target),
    database: &str,
    kept: Kept,
    recording: &Recording,
) -> Result<ExitCode> {
    if args.dry_run && globals.json {
        output::json(&kept)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !globals.json {
        output::line(&format!(
            "{} on {target} will be replaced by {}, which was live until it was replaced {}; what is live now will be kept",
            database,
            kept.name,
            output::ago(kept.since, Utc::now())
        ))?;
    }
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let progress = Progress::new(!globals.json);
    if !args.yes {
        confirm(&progress, database, "undo")?;
    }
    let watch = watch(&progress, pause_at(args.pause_at.as_deref())?, recording);
    turn::wait(job, args.wait.duration(), &|text| progress.warn(&text)).await?;
    let undone = undo::undo(target, database, &kept.name, Utc::now(), &watch).await;
    progress.end();
    let undone = undone?;
    if globals.json {
        output::json(&undone)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!(
        "{} is again what it was before the restore (swapped in {} ms)",
        undone.database, undone.away_ms
    ))?;
    if let Some(kept) = &undone.kept {
        output::line(&format!(
            "what was live until now is kept as {kept}; another undo brings it back"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `snapback status`: which jobs have a fresh, proven backup; `snapback next`: what will run when.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::output::{self, Table};
use crate::cli::Globals;
use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::watch::history::{Run, Verb};
use crate::watch::status::{Asked, JobStatus, status};

/// Options of `snapback status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Jobs to look at; all without
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Also ask the servers for databases that restores have replaced
    #[arg(long)]
    servers: bool,
}

/// Runs the verb. The exit code is 13 where a job is not fresh.
///
/// # Errors
/// There is no such job, or the configuration is wrong.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let config = globals.config_for_all(&mut args.jobs).await?;
    let jobs = config.jobs_named(&args.jobs)?;
    let sections = config.sections_named(&args.jobs);
    let recorder = globals.recorder(&config);
    let now = Utc::now();
    let asked = Asked {
        history: recorder.history().map(AsRef::as_ref),
        now,
        servers: args.servers,
        sections: &sections,
    };
    let status = status(&jobs, asked).await;
    if globals.json {
        output::json(&status)?;
    } else {
        output::line(&status.sentence)?;
        if !status.jobs.is_empty() {
            output::lines(&table(&status.jobs, now))?;
        }
        for server in &status.servers {
            for problem in &server.problems {
                output::line(&format!("{}: {problem}", server.server))?;
            }
        }
        for job in &status.jobs {
            for problem in &job.problems {
                output::line(&format!("{}: {problem}", job.job))?;
            }
            if let Some(hint) = job
                .last_failure
                .as_ref()
                .filter(|it| !it.over)
                .and_then(|it| it.hint.as_ref())
            {
                output::line(&format!("{}: hint: {hint}", job.job))?;
            }
        }
    }
    Ok(match status.fresh && !status.jobs.is_empty() {
        true => ExitCode::SUCCESS,
        false => super::code(Exit::NotFresh),
    })
}

fn table(jobs: &[JobStatus], now: DateTime<Utc>) -> String {
    let mut table = Table::new(&[
        "JOB", "FRESH", "NEWEST", "PROVEN", ">SIZE", ">ROWS", ">TOOK", "NEXT RUN", "NOW",
    ]);
    for job in jobs {
        let newest = job.newest.as_ref();
        let proven = newest.and_then(|newest| newest.proven.as_ref());
        table.row([
            job.job.clone(),
            if job.fresh { "yes" } else { "NO" }.to_owned(),
            newest.map_or_else(|| "none".to_owned(), |newest| output::ago(newest.at, now)),
            proven.map_or_else(String::new, |proven| {
                format!("{}, {}", proven.words(), output::ago(proven.at, now))
            }),
            newest.map(|newest| output::bytes(newest.bytes)).unwrap_or_default(),
            newest.map(|newest| output::count(newest.rows)).unwrap_or_default(),
            newest.map(|newest| output::seconds(newest.seconds)).unwrap_or_default(),
            match job.next_run {
                None if job.gone => "none: gone".to_owned(),
                next => next.map(|next| local(next, &job.zone)).unwrap_or_default(),
            },
            job.running.iter().map(going).collect::<Vec<_>>().join(", "),
        ]);
    }
    table.render()
}

/// What a run does now.
fn going(run: &Run) -> String {
    let step = run.reached.as_ref().map_or("", |reached| reached.step.as_str());
    let share = run.reached.as_ref().filter(|reached| reached.total > 0);
    let share = share.map(|reached| format!(" {} %", (reached.done * 100 / reached.total).min(100)));
    format!("{} {step}{}", run.verb.name(), share.unwrap_or_default())
        .trim_end()
        .to_owned()
}

/// A time in the zone of a job, with its offset.
fn local(time: DateTime<Utc>, zone: &str) -> String {
    let zone: Tz = zone.parse().unwrap_or_default();
    time.with_timezone(&zone).format("%a %Y-%m-%d %H:%M %Z").to_string()
}

/// Options of `snapback next`.
#[derive(Debug, clap::Args)]
pub struct NextArgs {
    /// Job; all jobs that have a schedule without
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// How many runs of each job
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    number: u16,
}

/// What programs read.
#[derive(Serialize)]
struct Due<'a> {
    job: &'a str,
    /// `backup` or `drill`.
    verb: &'static str,
    schedule: &'a str,
    window: Option<String>,
    jitter_seconds: f64,
    #[serde(skip)]
    described: String,
    zone: String,
    /// The instant.
    at: DateTime<Utc>,
    /// The same in the job's zone, with its offset.
    local: String,
}

/// Runs `snapback next`.
///
/// # Errors
/// There is no such job, or none has a schedule.
pub async fn next(globals: &Globals, args: &NextArgs) -> Result<ExitCode> {
    let config = globals.config().await?;
    let jobs: Vec<&Job> = match &args.job {
        Some(name) => config.jobs_named(std::slice::from_ref(name))?,
        None => config.jobs.iter().collect(),
    };
    let now = Utc::now();
    let mut due: Vec<Due<'_>> = Vec::new();
    for job in jobs {
        let schedules = [(Verb::Backup, &job.schedule), (Verb::Drill, &job.drill.schedule)];
        for (verb, schedule) in schedules {
            let Some(schedule) = schedule else { continue };
            let times = std::iter::successors(schedule.next_after(now), |time| schedule.next_after(*time));
            due.extend(times.take(usize::from(args.number)).map(|at| {
                Due {
                    job: &job.name,
                    verb: verb.name(),
                    schedule: schedule.text(),
                    window: schedule.window().map(|window| window.to_string()),
                    jitter_seconds: schedule.jitter().as_seconds_f64(),
                    described: schedule.described(),
                    zone: job.zone.to_string(),
                    at,
                    local: at
                        .with_timezone(&job.zone)
                        .to_rfc3339_opts(chrono::SecondsFormat::Secs, false),
                }
            }));
        }
    }
    due.sort_by_key(|due| due.at);
    if globals.json {
        output::json(&due)?;
        return Ok(ExitCode::SUCCESS);
    }
    if due.is_empty() {
        return Err(Fail::new(Exit::NotFound, "no job has a schedule")
            .hint("set jobs.NAME.schedule; `snapback backup` runs a job by hand")
            .into());
    }
    let mut table = Table::new(&["NEXT RUN", "JOB", "RUNS", "SCHEDULE"]);
    for due in &due {
        table.row([
            local(due.at, &due.zone),
            due.job.to_owned(),
            due.verb.to_owned(),
            due.described.clone(),
        ]);
    }
    output::lines(&table.render())?;
    Ok(ExitCode::SUCCESS)
}

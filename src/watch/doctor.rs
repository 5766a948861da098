//! A checkup: what would go wrong at the next run, found before it. It reads, and in each store it writes and deletes one small object.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::status::{Asked, JobStatus, StoreStatus, span, status};
use crate::checkup::{Finding, Severity};
use crate::engine::postgres::checkup;
use crate::engine::postgres::connect::Dsn;
use crate::engine::sqlite::open;
use crate::error::{Result, hint_of};
use crate::job::{Destination, Job, KnownDatabases, ServerJobs, SourceConfig};
use crate::store;

/// What was found of a job.
#[derive(Clone, Debug, Serialize)]
pub struct Checkup {
    /// The job.
    pub job: String,
    /// The worst of it.
    pub severity: Severity,
    /// All of it, the worst first.
    pub findings: Vec<Finding>,
}

/// How long a server may take to take a connection, and a store to take, give and delete a few bytes.
const PATIENCE: Duration = Duration::from_secs(20);

/// How far the clock of a store may be from ours.
const CLOCKS: TimeDelta = TimeDelta::minutes(2);

/// Looks at everything that the next run of `job` needs.
pub async fn examine(job: &Job, asked: Asked<'_>) -> Checkup {
    let status = status(&[job], asked).await;
    let mut findings = match job.gone {
        true => vec![Finding::warning(
            "database",
            "it is not on its server any more; its backups stay, and none is added",
            format!(
                "`snapback prune {}` applies retention; a folder is deleted by hand",
                job.name
            ),
        )],
        false => database(job, asked.now).await,
    };
    for destination in &job.destinations {
        findings.extend(try_store(job, destination, asked.now).await);
    }
    if let Some(of_job) = status.job(&job.name) {
        findings.extend(of_status(of_job));
    }
    findings.extend(keys(job));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Checkup {
        job: job.name.clone(),
        severity: findings.first().map_or(Severity::Fine, |finding| finding.severity),
        findings,
    }
}

/// What is found of a section for a whole server: whether the server tells which databases it has.
#[must_use]
pub fn examine_server(server: &ServerJobs, known: &KnownDatabases) -> Checkup {
    let finding = match &known.trouble {
        Some(trouble) => Finding::error(
            "databases",
            format!("the server did not tell which databases it has: {trouble}"),
            trouble
                .hint
                .as_deref()
                .unwrap_or("new databases are not backed up until it does"),
        ),
        None if known.databases.is_empty() => Finding::warning(
            "databases",
            "the server has none that is to be backed up",
            "see the keys databases and exclude",
        ),
        None => Finding::fine(
            "databases",
            format!(
                "{} are backed up: {}",
                known.databases.len(),
                known.databases.join(", ")
            ),
        ),
    };
    Checkup {
        job: server.name().to_owned(),
        severity: finding.severity,
        findings: vec![finding],
    }
}

fn failed(about: &str, error: &anyhow::Error, hint: &str) -> Finding {
    Finding::error(about, format!("{error:#}"), hint_of(error).unwrap_or(hint))
}

async fn database(job: &Job, now: DateTime<Utc>) -> Vec<Finding> {
    match &job.source {
        SourceConfig::Postgres(_) => match job.source.dsn() {
            Ok(dsn) => {
                let patient = dsn.connect_timeout.map_or(PATIENCE, |limit| limit.min(PATIENCE));
                let dsn = Dsn {
                    connect_timeout: Some(patient),
                    ..dsn
                };
                checkup::checkup(&dsn, now).await
            }
            Err(error) => vec![failed("connection", &error, "see the job's password keys")],
        },
        SourceConfig::Sqlite(location) => {
            let looked = open::find(location.path()).and_then(|found| {
                open::for_reading(&found, Duration::from_secs(5))?;
                Ok(found.network())
            });
            vec![match looked {
                Ok(None) => Finding::fine("database", format!("{location} can be read")),
                Ok(Some(network)) => Finding::warning(
                    "database",
                    format!("{location} lies on {network}, where locks cannot be relied on"),
                    "keep databases of SQLite on a local disk",
                ),
                Err(error) => failed("database", &error, "see the job's url"),
            }]
        }
    }
}

/// Writes, reads, lists and deletes a small object.
async fn try_store(job: &Job, destination: &Destination, now: DateTime<Utc>) -> Vec<Finding> {
    let about = format!("store {}", destination.name);
    let begun = Instant::now();
    let tried = tokio::time::timeout(PATIENCE, try_object(job, destination, now)).await;
    let tried = tried.unwrap_or_else(|_| Err(anyhow::anyhow!("it has not answered for {} s", PATIENCE.as_secs())));
    match tried {
        Ok(drift) => {
            let took = begun.elapsed().as_millis();
            let place = &destination.store;
            let mut findings = vec![Finding::fine(
                &about,
                format!("{place} can be written to, read, listed and deleted from ({took} ms)"),
            )];
            if drift.abs() > CLOCKS {
                findings.push(Finding::warning(
                    &about,
                    format!("its clock and ours are {} apart", span(drift.abs().as_seconds_f64())),
                    "set both by NTP: schedules and retention go by the clock",
                ));
            }
            findings
        }
        Err(error) => vec![failed(&about, &error, "see the store's keys in the configuration")],
    }
}

/// How far the store's clock is ahead.
async fn try_object(job: &Job, destination: &Destination, now: DateTime<Utc>) -> Result<TimeDelta> {
    let store = destination.store.as_ref();
    let folder = format!("{}/", job.name);
    let path = format!("{folder}checkup-{}-{}", std::process::id(), now.timestamp_millis());
    let text = Bytes::from_static(b"snapback doctor\n");
    let put = store::put(store, &path, text.clone()).await;
    let checked = async {
        put?;
        let read = store.read(&path, 0..text.len() as u64).await?;
        anyhow::ensure!(read == text, "it does not give back what was written");
        let listed = store.list(&folder).await?;
        let found = listed.into_iter().find(|meta| meta.path == path);
        let found = found.ok_or_else(|| anyhow::anyhow!("it does not list what was written"))?;
        Ok(found.modified - Utc::now())
    };
    let checked = checked.await;
    let deleted = store.delete(&path).await;
    let drift = checked?;
    deleted?;
    Ok(drift)
}

fn of_status(job: &JobStatus) -> Vec<Finding> {
    let mut findings = Vec::new();
    match (&job.why, &job.newest) {
        (Some(why), _) => findings.push(Finding::warning(
            "backups",
            why.clone(),
            format!("`snapback backup {}` takes one", job.job),
        )),
        (None, Some(newest)) => findings.push(Finding::fine(
            "backups",
            format!("the newest good one is {} old", span(newest.age_seconds)),
        )),
        (None, None) => {}
    }
    match (job.next_run, &job.schedule) {
        (Some(next), Some(schedule)) => findings.push(Finding::fine(
            "schedule",
            format!(
                "{schedule} in {}: next at {}",
                job.zone,
                next.with_timezone(&job.zone.parse().unwrap_or(Tz::UTC))
                    .format("%Y-%m-%d %H:%M %Z")
            ),
        )),
        _ if job.gone => {}
        _ => findings.push(Finding::warning(
            "schedule",
            "the job runs by hand only",
            "set schedule, unless a timer runs it",
        )),
    }
    for store in &job.stores {
        findings.extend(room(job, store));
        let (all, next) = (store.restorable, store.deletes_next.len() as u64);
        if next > 1 && next * 2 > all {
            findings.push(Finding::warning(
                "retention",
                format!("after the next run {next} of {all} backups in {} go", store.store),
                format!("`snapback prune {} --dry-run` says which and why", job.job),
            ));
        }
    }
    let foreign: Vec<&str> = job
        .running
        .iter()
        .filter(|run| run.run == 0)
        .map(|run| run.by.as_str())
        .collect();
    if !foreign.is_empty() {
        findings.push(Finding::warning(
            "others",
            format!("somebody else is at work on this job: {}", foreign.join(", ")),
            "one daemon per job is enough; the job's lock keeps them apart",
        ));
    }
    findings
}

/// Whether the next backups have room, by the size of the newest.
fn room(job: &JobStatus, store: &StoreStatus) -> Option<Finding> {
    let (room, newest) = (store.room?, job.newest.as_ref()?);
    let about = format!("store {}", store.store);
    let fits = room / newest.bytes.max(1);
    Some(match fits {
        0 => Finding::error(
            &about,
            "it has no room for another backup",
            "free some, or let retention keep less",
        ),
        1..=3 => Finding::warning(
            &about,
            format!("it has room for {fits} more backups as large as the newest"),
            "free some, or let retention keep less",
        ),
        _ => Finding::fine(&about, format!("{} are free", indicatif::HumanBytes(room))),
    })
}

/// Whether backups can be encrypted, and opened where that is configured.
fn keys(job: &Job) -> Option<Finding> {
    let encryption = job.encryption.as_ref()?;
    Some(match encryption.recipients() {
        Err(error) => failed("encryption", &error, "see the job's encryption section"),
        Ok(_) if job.keys.identity_files.is_empty() => Finding::fine(
            "encryption",
            "whom backups are for is known; no secret key is on this machine, as it should be",
        ),
        Ok(_) => Finding::fine("encryption", "whom backups are for is known, and a secret key is named"),
    })
}

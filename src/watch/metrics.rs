//! The metrics: computed from the status at each scrape, so that series go with their jobs and nothing depends on how long the
//! daemon runs. Labels are `job`, `store` and `kind`, never ids.

use std::fs;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::status::{JobStatus, Status};
use crate::error::Result;

/// What metrics are told as.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfJob {
    job: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfStore {
    job: String,
    store: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfKind {
    job: String,
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfVersion {
    version: String,
}

type Value = Gauge<f64, AtomicU64>;

/// Metrics on their way.
#[derive(Default)]
struct Metrics(Registry);

impl Metrics {
    fn family<L, K>(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (L, K)>)
    where
        L: Clone + std::fmt::Debug + std::hash::Hash + Eq + EncodeLabelSet + Send + Sync + 'static,
        K: Into<Option<f64>>,
    {
        let family = Family::<L, Value>::default();
        for (labels, value) in values {
            if let Some(value) = value.into() {
                family.get_or_create(&labels).set(value);
            }
        }
        self.0.register(name, help, family);
    }

    fn of_jobs(&mut self, name: &str, help: &str, status: &Status, value: impl Fn(&JobStatus) -> Option<f64>) {
        let label = |job: &JobStatus| OfJob { job: job.job.clone() };
        self.family(name, help, status.jobs.iter().map(|job| (label(job), value(job))));
    }

    fn of_stores(
        &mut self,
        name: &str,
        help: &str,
        status: &Status,
        value: impl Fn(&super::status::StoreStatus) -> Option<f64>,
    ) {
        let mut values = Vec::new();
        for job in &status.jobs {
            for store in &job.stores {
                let labels = OfStore {
                    job: job.job.clone(),
                    store: store.store.clone(),
                };
                values.push((labels, value(store)));
            }
        }
        self.family(name, help, values);
    }

    fn one(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Value::default();
        gauge.set(value);
        self.0.register(name, help, gauge);
    }
}

fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

#[allow(clippy::cast_precision_loss)] // Prometheus knows no other numbers
fn number(value: u64) -> f64 {
    value as f64
}

#[allow(clippy::cast_precision_loss)]
fn instant(time: chrono::DateTime<chrono::Utc>) -> f64 {
    time.timestamp() as f64
}

/// The metrics of `status` as OpenMetrics text.
///
/// # Errors
/// None is known.
pub fn metrics(status: &Status) -> Result<String> {
    let mut all = Metrics::default();
    of_backups(&mut all, status);
    of_runs(&mut all, status);
    of_stores(&mut all, status);
    let version = OfVersion {
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    all.family("snapback_build_info", "The running version", [(version, 1.0)]);
    all.one(
        "snapback_status_timestamp_seconds",
        "When all of this was true",
        instant(status.at),
    );
    of_process(&mut all);
    let mut text = String::new();
    text::encode(&mut text, &all.0)?;
    Ok(text)
}

fn of_backups(all: &mut Metrics, status: &Status) {
    all.of_jobs(
        "snapback_backup_fresh",
        "Whether the newest good backup is young enough; 0 also where there is none",
        status,
        |job| Some(truth(job.fresh)),
    );
    all.of_jobs(
        "snapback_backup_last_success_timestamp_seconds",
        "The instant that the newest good backup is of",
        status,
        |job| job.newest.as_ref().map(|newest| instant(newest.at)),
    );
    all.of_jobs(
        "snapback_backup_max_age_seconds",
        "How old the newest good backup may be",
        status,
        |job| job.max_age_seconds,
    );
    all.of_jobs(
        "snapback_backup_duration_seconds",
        "How long the export of the newest good backup took",
        status,
        |job| job.newest.as_ref().map(|newest| newest.seconds),
    );
    all.of_jobs(
        "snapback_backup_size_bytes",
        "Size of the newest good backup",
        status,
        |job| job.newest.as_ref().map(|newest| number(newest.bytes)),
    );
    all.of_jobs(
        "snapback_backup_rows",
        "Rows in the newest good backup",
        status,
        |job| job.newest.as_ref().map(|newest| number(newest.rows)),
    );
    all.of_jobs(
        "snapback_backup_proven_timestamp_seconds",
        "When the newest good backup was last proven",
        status,
        |job| {
            let proven = job.newest.as_ref()?.proven.as_ref()?;
            Some(instant(proven.at))
        },
    );
    all.of_jobs(
        "snapback_schedule_interval_seconds",
        "The longest time between two runs by the schedule",
        status,
        |job| job.interval_seconds,
    );
    all.of_jobs(
        "snapback_schedule_next_run_timestamp_seconds",
        "When the job runs next",
        status,
        |job| job.next_run.map(instant),
    );
    all.of_jobs(
        "snapback_kept_databases",
        "Databases that restores replaced and that are kept",
        status,
        |job| job.kept.as_ref().map(|kept| number(kept.len() as u64)),
    );
}

fn of_runs(all: &mut Metrics, status: &Status) {
    all.of_jobs(
        "snapback_failing",
        "Whether the last run failed and none has succeeded since",
        status,
        |job| Some(truth(job.last_failure.as_ref().is_some_and(|failure| !failure.over))),
    );
    all.of_jobs(
        "snapback_last_failure_timestamp_seconds",
        "When a run failed last",
        status,
        |job| job.last_failure.as_ref().map(|failure| instant(failure.at)),
    );
    let (mut outcomes, mut running, mut progress) = (Vec::new(), Vec::new(), Vec::new());
    for job in &status.jobs {
        let of = |kind: &str| OfKind {
            job: job.job.clone(),
            kind: kind.to_owned(),
        };
        outcomes.extend(job.outcomes.iter().map(|(kind, count)| (of(kind), number(*count))));
        for run in &job.running {
            running.push((of(run.verb.name()), 1.0));
            let reached = run.reached.as_ref().filter(|reached| reached.total > 0);
            let ratio = reached.map(|reached| (number(reached.done) / number(reached.total)).min(1.0));
            progress.push((of(run.verb.name()), ratio));
        }
    }
    all.family(
        "snapback_backup_runs",
        "Backups of the last 30 days by their outcome",
        outcomes,
    );
    all.family("snapback_running", "Runs that are under way", running);
    all.family("snapback_run_progress_ratio", "How far the step of a run is", progress);
}

fn of_stores(all: &mut Metrics, status: &Status) {
    all.of_stores(
        "snapback_backup_restorable",
        "Backups that could be restored now",
        status,
        |store| store.error.is_none().then(|| number(store.restorable)),
    );
    all.of_stores(
        "snapback_store_fresh",
        "Whether the newest good backup in the store is young enough",
        status,
        |store| Some(truth(store.fresh)),
    );
    all.of_stores(
        "snapback_store_last_success_timestamp_seconds",
        "The instant that the newest good backup in the store is of",
        status,
        |store| store.newest.map(|id| instant(id.time())),
    );
    all.of_stores(
        "snapback_store_reachable",
        "Whether the store can be read",
        status,
        |store| Some(truth(store.error.is_none())),
    );
    all.of_stores(
        "snapback_store_read_seconds",
        "How long it took to see what the store has",
        status,
        |store| store.seconds,
    );
    all.of_stores(
        "snapback_store_used_bytes",
        "What the job's archives in the store come to",
        status,
        |store| store.error.is_none().then(|| number(store.bytes)),
    );
    all.of_stores(
        "snapback_store_room_bytes",
        "What is free in the store, where that can be known",
        status,
        |store| store.room.map(number),
    );
    all.of_stores(
        "snapback_retention_deletes_next",
        "Backups that retention deletes after the next run",
        status,
        |store| store.error.is_none().then(|| number(store.deletes_next.len() as u64)),
    );
}

/// What the kernel says of this process.
fn of_process(all: &mut Metrics) {
    let read = |file: &str| fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let page = rustix::param::page_size() as u64;
    let pages = read("statm")
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    if let Some(pages) = pages {
        let help = "Memory of the process";
        all.one("process_resident_memory_bytes", help, number(pages * page));
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        all.one(
            "process_open_fds",
            "Open files of the process",
            number(files.count() as u64),
        );
    }
    let stat = read("stat");
    // The name of the program stands in brackets, and may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    if let (Some(user), Some(system)) = (field(11), field(12)) {
        let spent = Counter::<f64, AtomicU64>::default();
        spent.inc_by(number(user + system) / number(ticks));
        all.0
            .register("process_cpu_seconds", "Processor time of the process", spent);
    }
}

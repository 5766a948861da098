//! `[jobs.NAME]`: from what was written to a job.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::mistakes::{Mistake, Mistakes};
use super::store::Opened;
use super::value::Span;
use super::{Environment, about, encryption, impossible, raw, server};
use crate::engine::postgres::connect::Dsn;
use crate::engine::postgres::dump::Request;
use crate::engine::postgres::options::DumpOptions;
use crate::engine::postgres::snapshot::{Encoding, SessionOptions};
use crate::engine::source;
use crate::engine::sqlite::location::Location;
use crate::error::{Exit, Fail, Result};
use crate::job::{Connection, Connections, Destination, Drills, Hooks, Job, Password, SourceConfig};
use crate::retention::Policy;
use crate::schedule::{Schedule, Window};
use crate::seal::Compression;
use crate::store::Limited;

/// More connections than this help no server.
const MOST_CONNECTIONS: u32 = 64;

/// What a job is made with besides what was written of it.
pub(super) struct Around<'a> {
    /// The stores that could be opened.
    pub(super) stores: &'a BTreeMap<String, Opened>,
    /// All stores that were written.
    pub(super) written: &'a BTreeMap<String, raw::Store>,
    pub(super) environment: &'a Environment,
    pub(super) now: DateTime<Utc>,
    /// How many connections there may be to one server.
    pub(super) most: Option<u32>,
    /// Those of each server that a job is on.
    pub(super) of_servers: RefCell<BTreeMap<String, Connections>>,
}

impl Around<'_> {
    /// The connections of the server that `source` is on, where they are limited.
    fn connections(&self, source: &SourceConfig) -> Option<Connections> {
        let SourceConfig::Postgres(connection) = source else {
            return None;
        };
        let most = self.most?;
        let places: Vec<String> = connection.url.hosts.iter().map(ToString::to_string).collect();
        let mut of_servers = self.of_servers.borrow_mut();
        let of_server = of_servers.entry(places.join(","));
        Some(of_server.or_insert_with(|| Connections::new(most)).clone())
    }
}

/// When something runs, as it was written.
struct When<'a> {
    /// Of the schedule, the window and the jitter.
    keys: [&'a str; 3],
    text: Option<&'a str>,
    window: Option<&'a str>,
    jitter: Span,
    /// The job.
    name: &'a str,
}

/// Makes sense of a schedule with its window and its jitter. `None`: some of it is wrong.
fn when(written: &When<'_>, zone: Tz, now: DateTime<Utc>, mistakes: &mut Mistakes) -> Option<Option<Schedule>> {
    let [schedule, window, jitter] = written.keys.map(|key| format!("jobs.{}.{key}", written.name));
    let parsed = written.text.map(|text| Schedule::parse(text, zone, now)).transpose();
    let parsed = mistakes.keep(parsed.map_err(|fail| about(&schedule)(fail).into()));
    let within = written.window.map(str::parse::<Window>).transpose();
    let within = mistakes.keep(within.map_err(|why| impossible(&window, &why)));
    if written.jitter.delta() >= TimeDelta::days(1) {
        mistakes.keep::<()>(Err(impossible(&jitter, "must be less than a day")));
    }
    let spread = |it: Schedule| it.spread(within.flatten(), written.jitter.delta(), written.name);
    Some(parsed?.map(spread))
}

/// Variables with which libpq finds a database that no URL names.
const LIBPQ: [&str; 4] = ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE"];

/// Makes sense of `[jobs.NAME]`. What is impossible is one mistake more, with its key.
pub(super) fn job(name: &str, raw: &raw::Job, around: &Around<'_>, mistakes: &mut Mistakes) -> Option<Job> {
    let key = |key: &str| format!("jobs.{name}.{key}");
    let zone = raw.time_zone.parse::<Tz>().map_err(|_| {
        let why = format!("{:?} is not a time zone such as Europe/Berlin", raw.time_zone);
        impossible(&key("time_zone"), &why)
    });
    let zone = mistakes.keep(zone);
    let zone_or_utc = zone.unwrap_or(Tz::UTC);
    let schedule = when(
        &When {
            keys: ["schedule", "window", "jitter"],
            text: raw.schedule.as_deref(),
            window: raw.window.as_deref(),
            jitter: raw.jitter,
            name,
        },
        zone_or_utc,
        around.now,
        mistakes,
    );
    let drill_schedule = when(
        &When {
            keys: ["drill_schedule", "drill_window", "drill_jitter"],
            text: raw.drill_schedule.as_deref(),
            window: raw.drill_window.as_deref(),
            jitter: raw.drill_jitter,
            name,
        },
        zone_or_utc,
        around.now,
        mistakes,
    );
    let policy = raw.retention.as_ref().map_or_else(Policy::default, policy);
    mistakes.keep(policy.check().map_err(|fail| about(&key("retention"))(fail).into()));
    let password = mistakes.keep(password(raw, around.environment, &key));
    let source_of = |url: &str| source(url, around.environment, password.clone());
    let (url_key, url) = match &raw.server_url {
        Some(server) => ("server_url", server.expose()),
        None => ("url", raw.url.expose()),
    };
    if raw.server_url.is_some() {
        server::check(raw, &key, mistakes);
    }
    let source = mistakes.keep_about(&key(url_key), source_of(url));
    let connections = source.as_ref().and_then(|source| around.connections(source));
    let restore_source = raw.restore_url.as_ref().map(|url| source_of(url.expose()));
    let restore_source = mistakes.keep_about(&key("restore_url"), restore_source.transpose());
    let drill_source = raw.drill_url.as_ref().map(|url| source_of(url.expose()));
    let drill_source = mistakes.keep_about(&key("drill_url"), drill_source.transpose());
    if let (Some(source), Some(Some(drill))) = (&source, &drill_source) {
        mistakes.keep(drills_fit(source, drill).map_err(|why| impossible(&key("drill_url"), why)));
    }
    if raw.attempts == 0 {
        mistakes.keep::<()>(Err(impossible(&key("attempts"), "must be at least 1")));
    }
    if raw.nice > NICEST {
        mistakes.keep::<()>(Err(impossible(
            &key("nice"),
            "must be from 0 (as the service) to 19 (only when nobody else computes)",
        )));
    }
    let has_replicas = source.as_ref().is_none_or(|source| source.engine().is_postgres());
    if raw.max_replica_lag.is_some() && !has_replicas {
        mistakes.keep::<()>(Err(impossible(
            &key("max_replica_lag"),
            "a file of SQLite has no replicas",
        )));
    }
    let destinations = mistakes.keep(destinations(raw, around, &policy, &key("stores")));
    let mut dump = dump(&raw.dump, &key, mistakes);
    if let (Some(connections), Some(dump)) = (&connections, &mut dump) {
        connections.limit(dump, u32::from(raw.max_replica_lag.is_some()));
    }
    let encryption = raw.encryption.as_ref();
    let encrypted = encryption.map(|raw| encryption::encryption(raw, &|name| key(&format!("encryption.{name}"))));
    let encrypted = mistakes.keep(encrypted.transpose());
    Some(Job {
        name: name.to_owned(),
        former: None,
        section: None,
        gone: false,
        restore_source: restore_source?,
        source: source?,
        connections,
        stall_timeout: Some(raw.stall_timeout.duration()).filter(|limit| !limit.is_zero()),
        attempts: raw.attempts,
        nice: raw.nice,
        max_replica_lag: raw.max_replica_lag.map(Span::duration),
        destinations: destinations?,
        schedule: schedule?,
        zone: zone?,
        run_missed: raw.run_missed,
        max_age: raw.max_age.map(Span::delta),
        hooks: Hooks {
            before: raw.hooks.before.0.clone(),
            after: raw.hooks.after.0.clone(),
            on_failure: raw.hooks.on_failure.0.clone(),
            finally: raw.hooks.finally.0.clone(),
            timeout: raw.hooks.timeout.duration(),
        },
        timeout: raw.timeout.map(Span::duration),
        globals: raw.globals,
        prune: raw.prune,
        drill: Drills {
            schedule: drill_schedule?,
            checks: raw.drill_checks.0.clone(),
            source: drill_source?,
        },
        keep_replaced: raw.keep_replaced.delta(),
        dump: dump?,
        auto_compress: raw.dump.compress == AUTO,
        encryption: encrypted?,
        keys: encryption.map(encryption::keys).unwrap_or_default(),
    })
}

/// How the database is reached.
fn source(url: &str, environment: &Environment, password: Option<Password>) -> Result<SourceConfig> {
    if let Some(location) = Location::parse(source::unwrap(url))? {
        return match password {
            None | Some(Password::Elsewhere) => Ok(SourceConfig::Sqlite(location)),
            Some(_) => Err(Fail::new(Exit::Usage, "a database file has no password").into()),
        };
    }
    let elsewhere = || {
        LIBPQ
            .iter()
            .any(|name| environment.get(*name).is_some_and(|value| !value.is_empty()))
    };
    if source::unwrap(url).is_empty() && !elsewhere() {
        let fail = Fail::new(Exit::Usage, "no database is named");
        return Err(fail
            .hint("set url, or PGHOST, PGSERVICE or PGDATABASE in the environment")
            .into());
    }
    Ok(SourceConfig::Postgres(Box::new(Connection {
        url: Dsn::parse(url)?,
        password: password.unwrap_or(Password::Elsewhere),
    })))
}

/// Whether drills of `source` can go to `drill`.
fn drills_fit(source: &SourceConfig, drill: &SourceConfig) -> Result<(), &'static str> {
    match (source, drill) {
        (SourceConfig::Postgres(_), SourceConfig::Postgres(_)) => Ok(()),
        (SourceConfig::Postgres(_), SourceConfig::Sqlite(_)) => {
            Err("the job is of PostgreSQL, and this is a file of SQLite")
        }
        (SourceConfig::Sqlite(_), _) => {
            Err("drills of SQLite are made in a temporary file; TMPDIR names the folder for those")
        }
    }
}

fn password(raw: &raw::Job, environment: &Environment, key: &dyn Fn(&str) -> String) -> Result<Password> {
    let given = raw.password.clone().map(Password::Given);
    let file = raw.password_file.clone().map(Password::File);
    let credential = raw.password_credential.as_ref().map(|name| {
        let folder = environment.get("CREDENTIALS_DIRECTORY").ok_or_else(|| {
            impossible(
                &key("password_credential"),
                "there are no systemd credentials here: CREDENTIALS_DIRECTORY is not set; beside the running service it is \
                 /run/credentials/snapback.service",
            )
        })?;
        Ok::<_, anyhow::Error>(Password::File(PathBuf::from(folder).join(name)))
    });
    let mut all = [given, file, credential.transpose()?].into_iter().flatten();
    let first = all.next().unwrap_or(Password::Elsewhere);
    if all.next().is_some() {
        let why = "set only one of password, password_file and password_credential";
        return Err(impossible(&key("password"), why));
    }
    Ok(first)
}

/// The stores that a job names. What is near is read first, so folders go before buckets, and each kind stays in the
/// order that was written.
fn destinations(raw: &raw::Job, around: &Around<'_>, policy: &Policy, key: &str) -> Result<Vec<Destination>> {
    let (names, rate) = (&raw.stores, raw.max_upload_rate.map(|rate| rate.0));
    let usage = |message: String| impossible(key, &message);
    if names.0.is_empty() {
        return Err(usage("a job needs a store for its backups".to_owned()));
    }
    let mut found: Vec<Destination> = Vec::new();
    for name in &names.0 {
        let Some(opened) = around.stores.get(name) else {
            // What is wrong with a store is told where it is written.
            if around.written.contains_key(name) {
                continue;
            }
            return Err(usage(format!("there is no store {name:?} (a section [stores.{name}])")));
        };
        if found.iter().any(|other| other.name == *name) {
            return Err(usage(format!("{name:?} is named twice")));
        }
        found.push(Destination {
            name: name.clone(),
            store: match rate {
                None => Arc::clone(&opened.store),
                rate => Arc::new(Limited::new(Arc::clone(&opened.store), rate, None)),
            },
            policy: opened.policy.clone().unwrap_or_else(|| policy.clone()),
        });
    }
    found.sort_by_key(|destination| !destination.store.is_local());
    Ok(found)
}

/// The policy that was written: only what is set applies.
pub(super) fn policy(raw: &raw::Retention) -> Policy {
    let none = Policy::none();
    Policy {
        keep_last: raw.keep_last.unwrap_or(0),
        keep_hourly: raw.keep_hourly.unwrap_or(0),
        keep_daily: raw.keep_daily.unwrap_or(0),
        keep_weekly: raw.keep_weekly.unwrap_or(0),
        keep_monthly: raw.keep_monthly.unwrap_or(0),
        keep_yearly: raw.keep_yearly.unwrap_or(0),
        keep_within: raw.keep_within.map(Span::delta),
        keep_safety: raw.keep_safety.map_or(none.keep_safety, Span::delta),
        keep_guard: raw.keep_guard.map_or(none.keep_guard, Span::delta),
        minimum: raw.minimum.unwrap_or(none.minimum),
    }
}

/// The least urgent that a thread can be.
const NICEST: u8 = 19;

/// `dump.compress` where nothing is configured.
const AUTO: &str = "auto";

fn dump(raw: &raw::Dump, key: &dyn Fn(&str) -> String, mistakes: &mut Mistakes) -> Option<Request> {
    if raw.jobs > MOST_CONNECTIONS {
        mistakes.add(Mistake::new(
            &key("dump.jobs"),
            format!("must be at most {MOST_CONNECTIONS}"),
        ));
    }
    // What it comes to is only known when the server is.
    let text = if raw.compress == AUTO { "gzip" } else { &raw.compress };
    let compress = text.parse::<Compression>();
    let compress = mistakes.keep(compress.map_err(|fail| about(&key("dump.compress"))(fail).into()));
    let options = DumpOptions {
        include_schemas: raw.schemas.0.clone(),
        exclude_schemas: raw.exclude_schemas.0.clone(),
        include_tables: raw.tables.0.clone(),
        exclude_tables: raw.exclude_tables.0.clone(),
        exclude_table_data: raw.exclude_table_data.0.clone(),
        large_objects: (!raw.large_objects).then_some(false),
        // A pattern that no longer matches anything must not make an empty backup.
        strict_names: true,
        ..DumpOptions::default()
    };
    let session = SessionOptions {
        encoding: raw.encoding.clone().map_or(Encoding::Own, Encoding::Named),
        role: raw.role.clone(),
        lock_wait_timeout: Some(raw.lock_wait_timeout.duration().as_millis().to_string()),
        ..SessionOptions::default()
    };
    Some(Request {
        options,
        session,
        compress: compress?,
        jobs: connections(raw.jobs),
        max_lock_wait: Some(raw.max_lock_wait.duration()).filter(|wait| !wait.is_zero()),
        ..Request::default()
    })
}

/// How many connections read at once; 0 means as many as there are processors, but at most four: more of
/// them slow the server down for others.
fn connections(configured: u32) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(4),
        jobs => jobs as usize,
    }
}

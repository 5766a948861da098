//! `[jobs.NAME]`: from what was written to a job.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::store::Opened;
use super::value::{List, Span};
use super::{Environment, about, encryption, impossible, raw};
use crate::engine::postgres::connect::Dsn;
use crate::engine::postgres::dump::Request;
use crate::engine::postgres::options::DumpOptions;
use crate::engine::postgres::snapshot::{Encoding, SessionOptions};
use crate::engine::sqlite::location::Location;
use crate::error::{Exit, Fail, Result};
use crate::job::{Connection, Destination, Job, Password, SourceConfig};
use crate::retention::Policy;
use crate::schedule::Schedule;
use crate::seal::Compression;

/// More connections than this help no server.
const MOST_CONNECTIONS: u32 = 64;

/// Makes sense of `[jobs.NAME]`.
///
/// # Errors
/// A value is impossible; the error names its key.
pub fn job(
    name: &str,
    raw: &raw::Job,
    stores: &BTreeMap<String, Opened>,
    environment: &Environment,
    now: DateTime<Utc>,
) -> Result<Job> {
    let key = |key: &str| format!("jobs.{name}.{key}");
    let zone: Tz = raw.time_zone.parse().map_err(|_| {
        let why = format!("{:?} is not a time zone such as Europe/Berlin", raw.time_zone);
        impossible(&key("time_zone"), &why)
    })?;
    let schedule = raw.schedule.as_deref().map(|text| Schedule::parse(text, zone, now));
    let schedule = schedule.transpose().map_err(about(&key("schedule")))?;
    let policy = raw.retention.as_ref().map_or_else(Policy::default, policy);
    policy.check().map_err(about(&key("retention")))?;
    Ok(Job {
        name: name.to_owned(),
        source: source(raw, environment, &key)?,
        destinations: destinations(&raw.stores, stores, &policy).map_err(about(&key("stores")))?,
        schedule,
        zone,
        run_missed: raw.run_missed,
        timeout: raw.timeout.map(Span::duration),
        globals: raw.globals,
        prune: raw.prune,
        keep_replaced: raw.keep_replaced.delta(),
        dump: dump(&raw.dump, &key)?,
        encryption: (raw.encryption.as_ref())
            .map(|raw| encryption::encryption(raw, &|name| key(&format!("encryption.{name}"))))
            .transpose()?,
        keys: raw.encryption.as_ref().map(encryption::keys).unwrap_or_default(),
    })
}

fn source(raw: &raw::Job, environment: &Environment, key: &dyn Fn(&str) -> String) -> Result<SourceConfig> {
    let about_url = || format!("configuration: {}", key("url"));
    let password = password(raw, environment, key)?;
    if let Some(location) = Location::parse(raw.url.expose()).with_context(about_url)? {
        if !matches!(password, Password::Elsewhere) {
            return Err(impossible(&key("password"), "a database file has no password"));
        }
        return Ok(SourceConfig::Sqlite(location));
    }
    Ok(SourceConfig::Postgres(Box::new(Connection {
        url: Dsn::parse(raw.url.expose()).with_context(about_url)?,
        password,
    })))
}

fn password(raw: &raw::Job, environment: &Environment, key: &dyn Fn(&str) -> String) -> Result<Password> {
    let given = raw.password.clone().map(Password::Given);
    let file = raw.password_file.clone().map(Password::File);
    let credential = raw.password_credential.as_ref().map(|name| {
        let folder = environment.get("CREDENTIALS_DIRECTORY").ok_or_else(|| {
            impossible(
                &key("password_credential"),
                "there are no systemd credentials here (CREDENTIALS_DIRECTORY is not set)",
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
fn destinations(names: &List, stores: &BTreeMap<String, Opened>, policy: &Policy) -> Result<Vec<Destination>, Fail> {
    let usage = |message: String| Fail::new(Exit::Usage, message);
    if names.0.is_empty() {
        return Err(usage("a job needs a store for its backups".to_owned()));
    }
    let mut found: Vec<Destination> = Vec::new();
    for name in &names.0 {
        let opened = stores
            .get(name)
            .ok_or_else(|| usage(format!("there is no store {name:?} (a section [stores.{name}])")))?;
        if found.iter().any(|other| other.name == *name) {
            return Err(usage(format!("{name:?} is named twice")));
        }
        found.push(Destination {
            name: name.clone(),
            store: Arc::clone(&opened.store),
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
        minimum: raw.minimum.unwrap_or(none.minimum),
    }
}

fn dump(raw: &raw::Dump, key: &dyn Fn(&str) -> String) -> Result<Request> {
    if raw.jobs > MOST_CONNECTIONS {
        return Err(impossible(
            &key("dump.jobs"),
            &format!("must be at most {MOST_CONNECTIONS}"),
        ));
    }
    raw.compress
        .parse::<Compression>()
        .map_err(about(&key("dump.compress")))?;
    let options = DumpOptions {
        include_schemas: raw.schemas.0.clone(),
        exclude_schemas: raw.exclude_schemas.0.clone(),
        include_tables: raw.tables.0.clone(),
        exclude_tables: raw.exclude_tables.0.clone(),
        exclude_table_data: raw.exclude_table_data.0.clone(),
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
    Ok(Request {
        options,
        session,
        compress: (raw.compress.parse()).map_err(|error: Fail| impossible(&key("dump.compress"), &error.message))?,
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

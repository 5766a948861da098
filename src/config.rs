//! The configuration: file, then `SNAPBACK__…` environment, then flags, into one validated [`Config`].
//!
//! Every error names the key that it is about. With no file at all, `DATABASE_URL` is the one job and
//! `./backups` the one store.

mod encryption;
mod http;
mod job;
mod mistakes;
mod notify;
mod outside;
pub mod rate;
pub mod raw;
mod read;
mod server;
mod state;
pub mod store;
pub mod value;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Utc};

use crate::engine::postgres::connect::Dsn;
use crate::engine::source;
use crate::engine::source::SourceKind;
use crate::engine::sqlite::location::Location;
use crate::error::{Exit, Fail, Result};
use crate::job::{FEWEST, Job, KnownDatabases, ServerJobs, SourceConfig, job_letter, name_of};
use crate::store::S3;
use crate::watch::http::{Access, Listen};
use crate::watch::notify::Channel;
use job::Around;
use mistakes::{Mistake, Mistakes};
use raw::Raw;
use store::Opened;
use value::{ConnectionString, List};

/// The environment, as a value: tests have their own.
pub type Environment = BTreeMap<String, String>;

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["snapback.toml", "/etc/snapback/config.toml"];

/// Name of the store that jobs use when they name none; and what older versions called the one job that `DATABASE_URL` makes.
const DEFAULT: &str = "default";

/// A configuration that makes sense.
#[derive(Clone)]
pub struct Config {
    /// The file that it came from.
    pub file: Option<PathBuf>,
    /// As it was written, with defaults; prints without secrets.
    pub raw: Raw,
    /// The file with the history of runs, if there is to be one.
    pub history: Option<PathBuf>,
    /// Where the status page is, if there is one, and for whom.
    pub http: Option<(Listen, Access)>,
    /// Through which somebody is told.
    pub channels: Vec<Channel>,
    /// The jobs, by name.
    pub jobs: Vec<Job>,
    /// The sections for whole servers, each with what is known of its databases: their jobs are among the others.
    pub servers: Vec<(ServerJobs, KnownDatabases)>,
    /// The stores, by name.
    pub stores: BTreeMap<String, Opened>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("file", &self.file)
            .field("raw", &self.raw)
            .finish_non_exhaustive()
    }
}

/// The environment of this process; what is not Unicode is none of ours.
#[must_use]
pub fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl Config {
    /// Reads the configuration: `file`, else `$SNAPBACK_CONFIG`, else the usual places, else none.
    ///
    /// # Errors
    /// The file cannot be read, or a key is unknown, has a wrong type or an impossible value.
    pub fn load(file: Option<&Path>, environment: &Environment, now: DateTime<Utc>) -> Result<Config> {
        let file = find(file, environment)?;
        let (mut raw, mistakes) = read::read(file.as_deref(), environment)?;
        let mut former = None;
        if raw.jobs.is_empty()
            && let Some(url) = environment
                .get("DATABASE_URL")
                .filter(|url| !source::unwrap(url).is_empty())
        {
            let job = raw::Job {
                url: ConnectionString::new(url),
                ..raw::Job::default()
            };
            // A URL that makes no sense is told of when the job is made.
            let name = match Location::parse(source::unwrap(url)).context("DATABASE_URL")? {
                Some(file) => plain_name(&file.stem()),
                None => Dsn::parse(url).map_or_else(|_| DEFAULT.to_owned(), |dsn| name_of(&dsn.database)),
            };
            former = (name != DEFAULT).then(|| DEFAULT.to_owned());
            raw.jobs.insert(name, job);
        }
        if file.is_none() && raw.stores.is_empty() {
            let path = PathBuf::from("backups");
            let store = raw::Store {
                path: Some(path),
                ..raw::Store::default()
            };
            raw.stores.insert(DEFAULT.to_owned(), store);
        }
        let mut config = validate(file, raw, mistakes, environment, now)?;
        if former.is_some() {
            config.jobs.iter_mut().for_each(|job| job.former.clone_from(&former));
        }
        Ok(config)
    }

    /// Makes a job for the database file that is `named`, if it is one: without configuration its backups go to the default
    /// store. Returns the name of the job, which is a configured one where that has the same file.
    ///
    /// # Errors
    /// It is a database in memory, or there is no store.
    pub fn adopt(&mut self, named: &str, environment: &Environment, now: DateTime<Utc>) -> Result<Option<String>> {
        if self.jobs.iter().any(|job| job.name == named) {
            return Ok(None);
        }
        let location = match Location::parse(named)? {
            Some(location) => location,
            None if Path::new(named).is_file() => Location::new(named),
            None => return Ok(None),
        };
        let has_it = |job: &&Job| matches!(&job.source, SourceConfig::Sqlite(other) if other.is_same(&location));
        if let Some(job) = self.jobs.iter().find(has_it) {
            return Ok(Some(job.name.clone()));
        }
        if !self.stores.contains_key(DEFAULT) {
            let message = format!("backups of {location} need a store, and there is no [stores.{DEFAULT}]");
            return Err(Fail::new(Exit::Usage, message)
                .hint("add that store, or a job with the url of this database")
                .into());
        }
        let name = self.free_name(plain_name(&location.stem()));
        let raw = raw::Job {
            url: ConnectionString::new(format!("sqlite:{named}")),
            ..raw::Job::default()
        };
        let mut job = self.make(&name, &raw, environment, now)?;
        job.source = SourceConfig::Sqlite(location);
        self.jobs.push(job);
        Ok(Some(name))
    }

    /// A job that is not in the file, with the stores of this configuration.
    fn make(&self, name: &str, raw: &raw::Job, environment: &Environment, now: DateTime<Utc>) -> Result<Job> {
        let around = Around {
            stores: &self.stores,
            written: &self.raw.stores,
            environment,
            now,
            most: self.raw.daemon.max_connections_per_server,
            of_servers: RefCell::default(),
        };
        let mut mistakes = Mistakes::default();
        let job = job::job(name, raw, &around, &mut mistakes);
        mistakes.end(job)
    }

    /// The job called `name`, or the only one.
    ///
    /// # Errors
    /// There is no such job, or there are several and none was named.
    pub fn job(&self, name: Option<&str>) -> Result<&Job> {
        match (name, self.jobs.as_slice()) {
            (None, []) if !self.servers.is_empty() => Err(self.no_database().into()),
            (_, []) if self.servers.is_empty() => Err(Fail::new(Exit::Usage, "no job is configured")
                .hint("set DATABASE_URL, or write a snapback.toml (see config.example.toml)")
                .into()),
            (Some(name), jobs) => jobs.iter().find(|job| job.name == name).ok_or_else(|| {
                if let Some(error) = self.misplaced_url(name).or_else(|| self.is_a_server(name)) {
                    return error.into();
                }
                Fail::new(Exit::NotFound, format!("there is no job {name:?}"))
                    .hint(format!("the jobs are {}", self.job_names()))
                    .into()
            }),
            (None, [job]) => Ok(job),
            (None, _) => Err(Fail::new(Exit::Usage, "there are several jobs: name one")
                .hint(format!("the jobs are {}", self.job_names()))
                .into()),
        }
    }

    /// Why there is no job although there are sections for whole servers.
    fn no_database(&self) -> Fail {
        let trouble = self.troubles().next().map(|(_, trouble)| trouble.clone());
        trouble.unwrap_or_else(|| {
            Fail::new(Exit::NotFound, "no database of any server is to be backed up")
                .hint("see the keys databases and exclude")
        })
    }

    /// The jobs called so; all of them where none is named. The name of a section for a whole server means all of its databases.
    ///
    /// # Errors
    /// There is no such job, or none at all.
    pub fn jobs_named(&self, names: &[String]) -> Result<Vec<&Job>> {
        match names {
            [] if self.jobs.is_empty() && self.servers.is_empty() => self.job(None).map(|job| vec![job]),
            [] => Ok(self.jobs.iter().collect()),
            names => {
                let mut jobs = Vec::new();
                for name in names {
                    let of_server: Vec<&Job> = self.jobs_of(name).collect();
                    match of_server.is_empty() {
                        true => jobs.push(self.job(Some(name))?),
                        false => jobs.extend(of_server),
                    }
                }
                Ok(jobs)
            }
        }
    }

    /// What is wrong with a connection string where the name of a job belongs. It shows nothing of it.
    fn misplaced_url(&self, name: &str) -> Option<Fail> {
        if !name.contains("://") {
            return None;
        }
        let kind = SourceKind::of(name);
        Some(match kind {
            SourceKind::Other(_) => kind.unsupported(),
            SourceKind::Postgres | SourceKind::Sqlite => {
                Fail::new(Exit::Usage, "this is a connection string, and not the name of a job").hint(format!(
                    "set DATABASE_URL to it, or name one of the jobs: {}",
                    self.job_names()
                ))
            }
        })
    }

    /// Any bucket, to read from what others have put there: with the settings of a store that is in the bucket, or else with those of
    /// the AWS chain.
    ///
    /// # Errors
    /// A value of the store is impossible.
    pub fn bucket(&self, name: &str) -> Result<S3> {
        store::bucket(&self.raw.stores, name)
    }

    /// What `[JOB] [BACKUP]` on a command line means: with one job its name may be left out, so that a single word which is
    /// not its name is a backup's, and without a backup the newest is meant.
    ///
    /// # Errors
    /// As [`Config::job`].
    pub fn job_and_backup<'a>(&self, first: Option<&'a str>, second: Option<&'a str>) -> Result<(&Job, &'a str)> {
        let is_job = |name: &str| self.jobs.iter().any(|job| job.name == name);
        match (first, second) {
            (Some(only), None) if !is_job(only) && self.jobs.len() == 1 => Ok((self.job(None)?, only)),
            (first, second) => Ok((self.job(first)?, second.unwrap_or("latest"))),
        }
    }

    /// What `--to` names: a job, or a connection string. The latter becomes a job of its own, whose safety snapshots
    /// go to the stores of `beside`, encrypted as its backups are, or else to the default one.
    ///
    /// # Errors
    /// It is neither, or there is no store.
    pub fn destination(
        &self,
        to: &str,
        beside: Option<&Job>,
        environment: &Environment,
        now: DateTime<Utc>,
    ) -> Result<Cow<'_, Job>> {
        if self.section_of(to).is_some() {
            return Ok(Cow::Borrowed(self.job(Some(to))?));
        }
        let file = Location::parse(to).context("--to")?;
        if file.is_none() && !to.contains(['=', ':']) {
            return Ok(Cow::Borrowed(self.job(Some(to))?));
        }
        let mut raw = raw::Job {
            url: ConnectionString::new(to),
            ..raw::Job::default()
        };
        if let Some(job) = beside {
            raw.stores = List(job.destinations.iter().map(|it| it.name.clone()).collect());
        } else if !self.stores.contains_key(DEFAULT) {
            let message = format!("safety snapshots need a store, and there is no [stores.{DEFAULT}]");
            return Err(Fail::new(Exit::Usage, message).into());
        }
        let name = match file {
            Some(file) => self.name_for(&file.stem()),
            None => self.name_for(&Dsn::parse(to).context("--to")?.database),
        };
        let mut job = self.make(&name, &raw, environment, now)?;
        job.source.log_notes(&job.name);
        if let Some(beside) = beside {
            job.encryption.clone_from(&beside.encryption);
            job.keys.clone_from(&beside.keys);
        }
        Ok(Cow::Owned(job))
    }

    /// The name of a job that is not configured: the same for the same database, and no configured one's.
    fn name_for(&self, database: &str) -> String {
        self.free_name(plain_name(&format!("to-{}", database.replace('_', "-"))))
    }

    /// `name`, or where a job has it, one that begins so.
    fn free_name(&self, mut name: String) -> String {
        while self.jobs.iter().any(|job| job.name == name) {
            name.push('_');
        }
        name
    }

    fn job_names(&self) -> String {
        let names: Vec<&str> = self.jobs.iter().map(|job| job.name.as_str()).collect();
        names.join(", ")
    }
}

/// `text` with what names of jobs may have.
fn plain_name(text: &str) -> String {
    let mut name: String = text.chars().map(job_letter).take(60).collect();
    if name.starts_with('-') || name.is_empty() {
        name.insert_str(0, "db");
    }
    name
}

/// The file to read; one that was named must be there.
fn find(named: Option<&Path>, environment: &Environment) -> Result<Option<PathBuf>> {
    let named = named
        .map(Path::to_owned)
        .or_else(|| environment.get("SNAPBACK_CONFIG").map(PathBuf::from));
    if let Some(file) = named {
        if let Err(error) = std::fs::File::open(&file) {
            let message = format!("cannot read the configuration {}: {error}", file.display());
            return Err(Fail::new(Exit::Usage, message).into());
        }
        return Ok(Some(file));
    }
    Ok(PLACES.iter().map(PathBuf::from).find(|place| place.is_file()))
}

/// Turns what was written into what is meant.
fn validate(
    file: Option<PathBuf>,
    mut raw: Raw,
    mut mistakes: Mistakes,
    environment: &Environment,
    now: DateTime<Utc>,
) -> Result<Config> {
    let folder = file.as_deref().and_then(Path::parent).map(Path::to_owned);
    make_absolute(&mut raw, folder.as_deref());
    if raw.daemon.max_concurrent_jobs == 0 {
        mistakes.add(Mistake::new("daemon.max_concurrent_jobs", "must be at least 1"));
    }
    if raw.daemon.max_connections_per_server.is_some_and(|most| most < FEWEST) {
        let why = format!("must be at least {FEWEST}: what one backup needs");
        mistakes.add(Mistake::new("daemon.max_connections_per_server", why));
    }
    if raw.daemon.notify.0.first().is_some_and(String::is_empty) {
        mistakes.add(Mistake::new("daemon.notify", "must begin with a program"));
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&raw.log.level) {
        mistakes.add(Mistake::new("log.level", format!("{:?}: {error}", raw.log.level)));
    }
    let http = mistakes.keep(http::http(&raw.http)).flatten();
    let mut stores = BTreeMap::new();
    for (name, store) in &raw.stores {
        mistakes.keep(check_name("stores", name));
        if let Some(store) = mistakes.keep(store::open(name, store)) {
            stores.insert(name.clone(), store);
        }
    }
    let channels = notify::channels(&raw.notify, &raw.jobs, now, &mut mistakes);
    let (mut jobs, mut servers) = (Vec::new(), Vec::new());
    let around = Around {
        stores: &stores,
        written: &raw.stores,
        environment,
        now,
        most: raw.daemon.max_connections_per_server,
        of_servers: RefCell::default(),
    };
    for (name, written) in &raw.jobs {
        mistakes.keep(check_name("jobs", name));
        let Some(made) = job::job(name, written, &around, &mut mistakes) else {
            continue;
        };
        if written.server_url.is_none() {
            jobs.push(within(made, folder.as_deref()));
            continue;
        }
        let server = server::section(made, written);
        let known = KnownDatabases {
            databases: server.named().map(str::to_owned).collect(),
            ..KnownDatabases::default()
        };
        jobs.extend(server.jobs(&known));
        servers.push((server, known));
    }
    jobs.sort_by(|one: &Job, other: &Job| one.name.cmp(&other.name));
    mistakes.end(Some(Config {
        http,
        channels,
        history: state::history(raw.daemon.state.as_deref(), file.as_deref(), environment),
        file,
        raw,
        jobs,
        servers,
        stores,
    }))
}

/// The job, with the path of its database relative to `folder`.
fn within(mut job: Job, folder: Option<&Path>) -> Job {
    let sources = [Some(&mut job.source), job.restore_source.as_mut()];
    for source in sources.into_iter().flatten() {
        if let (SourceConfig::Sqlite(location), Some(folder)) = (source, folder) {
            *location = location.within(folder);
        }
    }
    job
}

/// Relative paths in a file are relative to it: a service has no current folder that anybody thinks of.
fn make_absolute(raw: &mut Raw, folder: Option<&Path>) {
    let absolute = |path: &mut PathBuf| {
        if let Some(folder) = folder {
            *path = folder.join(&*path);
        }
    };
    for store in raw.stores.values_mut() {
        // An empty one is a mistake, not the folder.
        store
            .path
            .as_mut()
            .filter(|path| !path.as_os_str().is_empty())
            .map(absolute);
        if let Some(s3) = &mut store.s3 {
            for file in [&mut s3.access_key_file, &mut s3.secret_key_file, &mut s3.ca_file] {
                file.as_mut().map(absolute);
            }
        }
    }
    for channel in raw.notify.values_mut() {
        let files = [
            &mut channel.url_file,
            &mut channel.key_file,
            &mut channel.secret_file,
            &mut channel.token_file,
            &mut channel.password_file,
        ];
        files.into_iter().flatten().for_each(absolute);
    }
    for job in raw.jobs.values_mut() {
        job.password_file.as_mut().map(absolute);
        if let Some(it) = &mut job.encryption {
            for file in [&mut it.recipients_file, &mut it.passphrase_file, &mut it.identity_file] {
                file.as_mut().map(absolute);
            }
        }
    }
    raw.daemon.history.as_mut().map(absolute);
    raw.http.token_file.as_mut().map(absolute);
    if raw
        .daemon
        .state
        .as_ref()
        .is_some_and(|state| *state != Path::new(state::NONE))
    {
        raw.daemon.state.as_mut().map(absolute);
    }
}

/// Names become folders, parts of file names and of environment variables.
fn check_name(section: &str, name: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > 63 || !name.bytes().all(fine) || name.starts_with('-') {
        let message = "a name has 1 to 63 small letters, digits, '-' and '_'";
        return Err(impossible(&format!("{section}.{name}"), message));
    }
    Ok(())
}

/// The same failure, with the key that it is about.
fn about(key: &str) -> impl Fn(Fail) -> Mistake {
    move |fail| Mistake::new(key, fail.message).hint(fail.hint)
}

/// The error of a value that cannot be.
fn impossible(key: &str, why: &str) -> anyhow::Error {
    Mistake::new(key, why).into()
}

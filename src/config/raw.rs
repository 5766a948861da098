//! The configuration as it is written, with its defaults: what the file and the environment may say.
//!
//! `config show` prints these types, and a test holds `config.example.toml` against them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::rate::Rate;
use super::store::RawS3;
use super::value::{ConnectionString, List, Span, Statements};
use crate::secret::Secret;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raw {
    /// `[log]`.
    pub log: Log,
    /// `[daemon]`.
    pub daemon: Daemon,
    /// `[http]`.
    pub http: Http,
    /// `[notify.NAME]`.
    pub notify: BTreeMap<String, Notify>,
    /// `[stores.NAME]`.
    pub stores: BTreeMap<String, Store>,
    /// `[jobs.NAME]`.
    pub jobs: BTreeMap<String, Job>,
}

/// `[log]`: what is logged, and how.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A level, or a filter as `tracing` understands it.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            level: "info".to_owned(),
            format: LogFormat::Human,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
    /// Straight to journald, with fields.
    Journald,
}

/// `[daemon]`: how `snapback serve` works.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Daemon {
    /// How many jobs may run at once.
    pub max_concurrent_jobs: u32,
    /// How many connections the runs of all jobs may have to one server.
    pub max_connections_per_server: Option<u32>,
    /// How long runs may go on after SIGTERM before they are cancelled.
    pub shutdown_timeout: Span,
    /// Folder for the history; `none` keeps none.
    pub state: Option<PathBuf>,
    /// How long runs are remembered.
    pub keep_history: Span,
    /// File that gets one JSON line per run.
    pub history: Option<PathBuf>,
    /// Program, with its arguments, that is told of runs.
    pub notify: List,
    /// Of which runs it is told.
    pub notify_on: NotifyOn,
}

/// Of which runs somebody is told.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum NotifyOn {
    /// Of those that failed, lack a copy, or found that the database has collapsed; and of the first good one after that.
    #[default]
    Trouble,
    /// Of all.
    All,
}

impl Default for Daemon {
    fn default() -> Self {
        Daemon {
            max_concurrent_jobs: 2,
            max_connections_per_server: None,
            shutdown_timeout: Span::seconds(90),
            state: None,
            keep_history: Span::seconds(365 * 86_400),
            history: None,
            notify: List::default(),
            notify_on: NotifyOn::default(),
        }
    }
}

/// `[http]`: the status page, metrics and API of `snapback serve`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port, or the path of a socket; without it there is no page.
    pub listen: Option<String>,
    /// File whose first line is a token that requests must have.
    pub token_file: Option<PathBuf>,
    /// Addresses and networks that may ask; all without.
    pub allow_from: List,
}

/// `[notify.NAME]`: a channel through which somebody is told.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// What it is: a preset, `webhook`, `ping`, `email` or `command`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address of the service, which is often a secret.
    pub url: Option<Secret>,
    /// File whose first line it is.
    pub url_file: Option<PathBuf>,
    /// Kinds of news.
    pub on: List,
    /// Jobs; all without.
    pub jobs: List,
    /// How long it says nothing of what it has told already.
    pub remind_every: Option<Span>,
    /// After how many failures in a row it tells of them.
    pub after_failures: u32,
    /// Cron expression: when it tells how all jobs are.
    pub digest: Option<String>,
    /// IANA name of the time zone of `digest`.
    pub time_zone: String,
    /// Method of the request.
    pub method: Option<String>,
    /// What its body is.
    pub content_type: Option<String>,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// Its body, a template.
    pub body: Option<String>,
    /// Recipients of a mail, or the chat.
    pub to: List,
    /// Key of the service.
    pub key: Option<Secret>,
    /// File whose first line it is.
    pub key_file: Option<PathBuf>,
    /// Key that the body is signed with.
    pub secret: Option<Secret>,
    /// File whose first line it is.
    pub secret_file: Option<PathBuf>,
    /// Bearer token.
    pub token: Option<Secret>,
    /// File whose first line it is.
    pub token_file: Option<PathBuf>,
    /// Mail server.
    pub smtp: Option<String>,
    /// Who logs in there.
    pub user: Option<String>,
    /// With which password.
    pub password: Option<Secret>,
    /// File whose first line it is.
    pub password_file: Option<PathBuf>,
    /// Sender of a mail.
    pub from: Option<String>,
    /// Program, with its arguments.
    pub command: List,
}

impl Default for Notify {
    fn default() -> Self {
        Notify {
            kind: "webhook".to_owned(),
            url: None,
            url_file: None,
            on: List::default(),
            jobs: List::default(),
            remind_every: None,
            after_failures: 1,
            digest: None,
            time_zone: "UTC".to_owned(),
            method: None,
            content_type: None,
            headers: BTreeMap::new(),
            body: None,
            to: List::default(),
            key: None,
            key_file: None,
            secret: None,
            secret_file: None,
            token: None,
            token_file: None,
            smtp: None,
            user: None,
            password: None,
            password_file: None,
            from: None,
            command: List::default(),
        }
    }
}

/// `[stores.NAME]`: where backups live.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// A folder.
    pub path: Option<PathBuf>,
    /// Or a bucket.
    pub s3: Option<RawS3>,
    /// The most that is written into it in a second.
    pub max_upload_rate: Option<Rate>,
    /// The most that is read out of it in a second.
    pub max_download_rate: Option<Rate>,
    /// What to keep in this store, instead of what its jobs say.
    pub retention: Option<Retention>,
}

/// `[jobs.NAME]`: a database and what becomes of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Job {
    /// URI or keyword string; what it leaves open comes from libpq's environment and `~/.pgpass`.
    pub url: ConnectionString,
    /// Instead of one database a whole server: each of its databases is a job.
    pub server_url: Option<ConnectionString>,
    /// Which databases of that server: names, and patterns with `*` and `?`.
    pub databases: List,
    /// Which of these are left out.
    pub exclude: List,
    /// Where restores go to, when backups are taken from a standby: the primary. URI or keyword string.
    pub restore_url: Option<ConnectionString>,
    /// Password of the database role.
    pub password: Option<Secret>,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Name of the systemd credential whose first line is the password.
    pub password_credential: Option<String>,
    /// Names of the stores; `store` is the short form for one.
    #[serde(alias = "store")]
    pub stores: List,
    /// Cron expression; without one the job runs by hand only.
    pub schedule: Option<String>,
    /// How much later runs may start: each job by another time, so that not all begin at once.
    pub jitter: Span,
    /// Times of day in which scheduled runs may start.
    pub window: Option<String>,
    /// IANA name of the time zone of schedule and retention.
    pub time_zone: String,
    /// Whether a run that was missed while the daemon was down is made up for at its start.
    pub run_missed: bool,
    /// How old the newest good backup may be: older is not fresh.
    pub max_age: Option<Span>,
    /// The most that its runs write into each store in a second.
    pub max_upload_rate: Option<Rate>,
    /// How much less urgent than the rest of the process what its backups compute is, as nice(1) counts.
    pub nice: u8,
    /// A backup reads no further while a replica of its server is more than this behind.
    pub max_replica_lag: Option<Span>,
    /// Cancels a run that takes longer.
    pub timeout: Option<Span>,
    /// Cancels a run in which no byte has moved for so long; 0 never does.
    pub stall_timeout: Span,
    /// How often a run is begun, when what fails is temporary.
    pub attempts: u32,
    /// Whether roles and tablespaces are stored beside the archive.
    pub globals: bool,
    /// Whether retention is applied after each successful run.
    pub prune: bool,
    /// Cron expression: when the newest backup is restored into a scratch database, to prove that it can be.
    pub drill_schedule: Option<String>,
    /// How much later drills may start.
    pub drill_jitter: Span,
    /// Times of day in which scheduled drills may start.
    pub drill_window: Option<String>,
    /// SQL that must give true in what a drill restored.
    pub drill_checks: Statements,
    /// The server that drills restore to; the job's own without.
    pub drill_url: Option<ConnectionString>,
    /// What to keep.
    pub retention: Option<Retention>,
    /// How long a database that a restore replaced is kept on the server.
    pub keep_replaced: Span,
    /// What is run around its runs.
    pub hooks: Hooks,
    /// What to dump, and how.
    pub dump: Dump,
    /// Whom to encrypt for.
    pub encryption: Option<Encryption>,
}

impl Default for Job {
    fn default() -> Self {
        Job {
            url: ConnectionString::new(""),
            server_url: None,
            databases: List(vec!["*".to_owned()]),
            exclude: List::default(),
            restore_url: None,
            password: None,
            password_file: None,
            password_credential: None,
            stores: List(vec!["default".to_owned()]),
            schedule: None,
            jitter: Span::seconds(0),
            window: None,
            time_zone: "UTC".to_owned(),
            run_missed: true,
            max_age: None,
            max_upload_rate: None,
            nice: 0,
            max_replica_lag: None,
            timeout: None,
            stall_timeout: Span::seconds(1800),
            attempts: 3,
            globals: true,
            prune: true,
            drill_schedule: None,
            drill_jitter: Span::seconds(0),
            drill_window: None,
            drill_checks: Statements::default(),
            drill_url: None,
            retention: None,
            keep_replaced: Span::seconds(7 * 86_400),
            hooks: Hooks::default(),
            dump: Dump::default(),
            encryption: None,
        }
    }
}

/// `[jobs.NAME.retention]` and `[stores.NAME.retention]`: restic's keys.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// The newest so many.
    pub keep_last: Option<u32>,
    /// One of each of so many hours.
    pub keep_hourly: Option<u32>,
    /// One of each of so many days.
    pub keep_daily: Option<u32>,
    /// One of each of so many weeks.
    pub keep_weekly: Option<u32>,
    /// One of each of so many months.
    pub keep_monthly: Option<u32>,
    /// One of each of so many years.
    pub keep_yearly: Option<u32>,
    /// All that are at most so much older than the newest.
    pub keep_within: Option<Span>,
    /// Safety snapshots that are at most so much older than the newest backup.
    pub keep_safety: Option<Span>,
    /// Backups of `snapback guard` that are at most so much older than the newest backup.
    pub keep_guard: Option<Span>,
    /// Never fewer than this.
    pub minimum: Option<u32>,
}

/// `[jobs.NAME.hooks]`: programs, with their arguments, around the runs of a job.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// Before each run, which is not begun when it fails.
    pub before: List,
    /// After each run that made a backup.
    pub after: List,
    /// After each run that failed.
    pub on_failure: List,
    /// After each run.
    pub finally: List,
    /// How long each of them may take.
    pub timeout: Span,
}

impl Default for Hooks {
    fn default() -> Self {
        Hooks {
            before: List::default(),
            after: List::default(),
            on_failure: List::default(),
            finally: List::default(),
            timeout: Span::seconds(600),
        }
    }
}

/// `[jobs.NAME.dump]`: pg_dump's options that make sense in a backup.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dump {
    /// `--compress`: method and level; `auto` takes what pg_restore of the server's major reads and packs best.
    pub compress: String,
    /// `--jobs`: how many connections read at once; 0 chooses by the processors.
    pub jobs: u32,
    /// `--schema`.
    pub schemas: List,
    /// `--exclude-schema`.
    pub exclude_schemas: List,
    /// `--table`.
    pub tables: List,
    /// `--exclude-table`.
    pub exclude_tables: List,
    /// `--exclude-table-data`.
    pub exclude_table_data: List,
    /// Whether large objects are dumped; `false` is `--no-large-objects`.
    pub large_objects: bool,
    /// `--role`.
    pub role: Option<String>,
    /// `--encoding`.
    pub encoding: Option<String>,
    /// `--lock-wait-timeout`.
    pub lock_wait_timeout: Span,
    /// The dump gives way when its locks make others wait longer than this; 0 never does.
    pub max_lock_wait: Span,
}

impl Default for Dump {
    fn default() -> Self {
        Dump {
            compress: "auto".to_owned(),
            jobs: 0,
            schemas: List::default(),
            exclude_schemas: List::default(),
            tables: List::default(),
            exclude_tables: List::default(),
            exclude_table_data: List::default(),
            large_objects: true,
            role: None,
            encoding: None,
            lock_wait_timeout: Span::seconds(60),
            max_lock_wait: Span::seconds(30),
        }
    }
}

/// `[jobs.NAME.encryption]`: whom backups are encrypted for, and what opens them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Encryption {
    /// Public keys: `age1…`, `ssh-ed25519 …`, `ssh-rsa …`.
    pub recipients: Option<List>,
    /// File with public keys, one per line.
    pub recipients_file: Option<PathBuf>,
    /// Instead: file whose first line is a passphrase; it opens the backups too.
    pub passphrase_file: Option<PathBuf>,
    /// File with secret keys, where restores run.
    pub identity_file: Option<PathBuf>,
    /// Whether manifests keep names of tables and their row counts to themselves.
    pub encrypt_manifest: bool,
}

impl Default for Encryption {
    fn default() -> Self {
        Encryption {
            recipients: None,
            recipients_file: None,
            passphrase_file: None,
            identity_file: None,
            encrypt_manifest: true,
        }
    }
}

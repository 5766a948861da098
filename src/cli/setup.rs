//! What verbs start from: the configuration, and a log that is readable, JSON, or goes straight to journald.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::terminal;
use crate::cli::Globals;
use crate::config::raw::{Log, LogFormat};
use crate::config::{Config, environment};
use crate::error::{Exit, Fail, Result};

impl Globals {
    /// The configuration that the command line asks for, with a log for a person who ran one verb: warnings
    /// and worse, unless more is asked for.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn config(&self) -> Result<Config> {
        self.config_for(&mut None)
    }

    /// The same with a job for the database file that is `named` where a job's name could be; `named` becomes the name of
    /// that job.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn config_for(&self, named: &mut Option<String>) -> Result<Config> {
        let config = self.load_for(named)?;
        let level = self.log_level.clone().unwrap_or_else(|| "warn".to_owned());
        init(&Log {
            level,
            ..config.raw.log.clone()
        })?;
        warn_of_exposed(&config);
        Ok(config)
    }

    /// The same with the log that the configuration asks for: for the daemon.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn daemon_config(&self) -> Result<Config> {
        let config = self.load()?;
        init(&config.raw.log)?;
        warn_of_exposed(&config);
        Ok(config)
    }

    /// The configuration as file, environment and flags have it now.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn load(&self) -> Result<Config> {
        self.load_for(&mut None)
    }

    fn load_for(&self, named: &mut Option<String>) -> Result<Config> {
        let (environment, now) = (environment(), chrono::Utc::now());
        let mut config = Config::load(self.config.as_deref(), &environment, now)?;
        if let Some(name) = named
            && let Some(job) = config.adopt(name, &environment, now)?
        {
            *named = Some(job);
        }
        if let Some(level) = &self.log_level {
            config.raw.log.level.clone_from(level);
        }
        for job in &mut config.jobs {
            job.keys.identity_files.extend(self.identity.iter().cloned());
        }
        Ok(config)
    }
}

/// Says which secret keys are no secret on this machine.
fn warn_of_exposed(config: &Config) {
    let files: BTreeSet<&Path> = config.jobs.iter().flat_map(|job| job.keys.exposed()).collect();
    for file in files {
        let file = file.display();
        tracing::warn!("{file} opens backups, and others than its owner may read it: chmod 600 {file}");
    }
}

/// Sets up the process's log.
fn init(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|error| Fail::new(Exit::Usage, format!("log level {:?}: {error}", log.level)))?;
    // The timer tells of each of its jobs, which are of no use to anybody but us; and where credentials were looked for in
    // vain is in the error, in words.
    let quiet = ["tokio_cron_scheduler=warn", "aws_config::meta=error"];
    let filter = quiet.into_iter().try_fold(filter, |filter, quiet| {
        let quiet = quiet.parse().context("a directive of ours")?;
        anyhow::Ok(filter.add_directive(quiet))
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    match log.format {
        LogFormat::Human => registry.with(lines.with_ansi(terminal::has_colour())).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Journald => {
            let journal =
                tracing_journald::layer().context("journald cannot be reached (log.format = \"journald\")")?;
            registry.with(journal).try_init()
        }
    }
    .context("the log is set up already")
}

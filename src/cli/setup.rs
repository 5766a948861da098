//! What verbs start from: the configuration, and a log.

use std::collections::BTreeSet;
use std::path::Path;

use super::log::init;
use crate::cli::Globals;
use crate::clock::Clock;
use crate::config::raw::Log;
use crate::config::{Config, environment};
use crate::error::Result;
use crate::watch::history::Recorder;

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
        say_what_is_odd(&config);
        Ok(config)
    }

    /// The same where several jobs may be `named`: the first may be a file.
    ///
    /// # Errors
    /// As [`Globals::config_for`].
    pub fn config_for_all(&self, named: &mut [String]) -> Result<Config> {
        let mut first = named.first().cloned();
        let config = self.config_for(&mut first)?;
        if let (Some(named), Some(job)) = (named.first_mut(), first) {
            *named = job;
        }
        Ok(config)
    }

    /// The same with the log that the configuration asks for: for the daemon.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn daemon_config(&self) -> Result<Config> {
        let config = self.load()?;
        init(&config.raw.log)?;
        say_what_is_odd(&config);
        Ok(config)
    }

    /// The configuration as file, environment and flags have it now.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn load(&self) -> Result<Config> {
        self.load_for(&mut None)
    }

    /// What takes note of the runs of this command.
    #[must_use]
    pub fn recorder(&self, config: &Config) -> Recorder {
        let keep = config.raw.daemon.keep_history.delta();
        Recorder::open(config.history.as_deref(), keep, &Clock::system())
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

/// Says what was left out of connection strings, and which secret keys are no secret on this machine.
fn say_what_is_odd(config: &Config) {
    for job in &config.jobs {
        job.source.log_notes(&job.name);
    }
    let files: BTreeSet<&Path> = config.jobs.iter().flat_map(|job| job.keys.exposed()).collect();
    for file in files {
        let file = file.display();
        tracing::warn!("{file} opens backups, and others than its owner may read it: chmod 600 {file}");
    }
}

//! What verbs start from: the configuration, and a log.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::future::join_all;

use super::log::init;
use crate::cli::Globals;
use crate::clock::Clock;
use crate::config::raw::Log;
use crate::config::{Config, environment};
use crate::error::Result;
use crate::job::ServerJobs;
use crate::servers;
use crate::watch::history::Recorder;

impl Globals {
    /// The configuration that the command line asks for, with a log for a person who ran one verb: warnings
    /// and worse, unless more is asked for.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub async fn config(&self) -> Result<Config> {
        self.config_for(&mut None).await
    }

    /// The same with a job for the database file that is `named` where a job's name could be; `named` becomes the name of
    /// that job. Servers of sections for whole servers are asked which databases they have, where that can matter to `named`.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub async fn config_for(&self, named: &mut Option<String>) -> Result<Config> {
        self.config_of(named.as_mut().into_iter().collect()).await
    }

    /// The same where another job may be named by `to`.
    ///
    /// # Errors
    /// As [`Globals::config_for`].
    pub async fn config_to(&self, named: &mut Option<String>, to: Option<&str>) -> Result<Config> {
        let mut to = to.map(str::to_owned);
        self.config_of(named.as_mut().into_iter().chain(&mut to).collect())
            .await
    }

    /// The same where several jobs may be `named`: the first may be a file.
    ///
    /// # Errors
    /// As [`Globals::config_for`].
    pub async fn config_for_all(&self, named: &mut [String]) -> Result<Config> {
        self.config_of(named.iter_mut().collect()).await
    }

    async fn config_of(&self, mut named: Vec<&mut String>) -> Result<Config> {
        let mut first = named.first().map(|first| first.to_string());
        let mut config = self.load_for(&mut first)?;
        if let (Some(named), Some(job)) = (named.first_mut(), first) {
            **named = job;
        }
        let level = self.log_level.clone().unwrap_or_else(|| "warn".to_owned());
        init(&Log {
            level,
            ..config.raw.log.clone()
        })?;
        say_what_is_odd(&config);
        let named: Vec<&str> = named.iter().map(|name| name.as_str()).collect();
        look_at_servers(&mut config, &named).await;
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
        // `main.db` is a job of the section `main`, and no file.
        if let Some(name) = named
            && config.section_of(name).is_none()
            && let Some(job) = config.adopt(name, &environment, now)?
        {
            *named = Some(job);
        }
        if let Some(level) = &self.log_level {
            config.raw.log.level.clone_from(level);
        }
        let templates = config.servers.iter_mut().map(|(server, _)| &mut server.template);
        for job in config.jobs.iter_mut().chain(templates) {
            job.keys.identity_files.extend(self.identity.iter().cloned());
        }
        Ok(config)
    }
}

/// Asks the servers of sections for whole servers which databases they have: those that a name can be about, or all.
async fn look_at_servers(config: &mut Config, named: &[&str]) {
    let is_plain = |name: &&str| {
        config
            .jobs
            .iter()
            .any(|job| job.section.is_none() && job.name == **name)
    };
    if !named.is_empty() && named.iter().all(is_plain) {
        return;
    }
    // Any other word may be a backup's, of the only job that there is.
    let of_section = |name: &str| config.section_of(name).map(ServerJobs::name);
    let all = named.iter().any(|name| !is_plain(name) && of_section(name).is_none()) || named.is_empty();
    let asked = config.servers.iter().map(|(server, _)| server);
    let is_asked = |server: &&ServerJobs| all || named.iter().any(|name| of_section(name) == Some(server.name()));
    let asked = asked.filter(|server| server.asks()).filter(is_asked);
    let looking = asked.map(async |server| (server.name().to_owned(), servers::look(server).await));
    for (section, known) in join_all(looking).await {
        if let Some(trouble) = &known.trouble {
            let hint = trouble.hint.as_deref();
            tracing::warn!(
                job = section,
                hint,
                "which databases there are is not known, but for those with backups: {trouble}"
            );
        }
        config.take(&section, known);
    }
}

/// Says what was left out of connection strings, and which secret keys are no secret on this machine.
fn say_what_is_odd(config: &Config) {
    for job in config.jobs.iter().filter(|job| job.section.is_none()) {
        job.source.log_notes(&job.name);
    }
    for (server, _) in &config.servers {
        server.template.source.log_notes(server.name());
    }
    let files: BTreeSet<&Path> = config.jobs.iter().flat_map(|job| job.keys.exposed()).collect();
    for file in files {
        let file = file.display();
        tracing::warn!("{file} opens backups, and others than its owner may read it: chmod 600 {file}");
    }
}

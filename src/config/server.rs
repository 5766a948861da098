//! Sections for whole servers: `server_url`, `databases` and `exclude`.

use super::mistakes::{Mistake, Mistakes};
use super::{Config, raw};
use crate::engine::source::SourceKind;
use crate::error::Fail;
use crate::job::{BETWEEN, Job, KnownDatabases, ServerJobs, ambiguous};

/// Looks for what cannot be in such a section.
pub(super) fn check(raw: &raw::Job, key: &dyn Fn(&str) -> String, mistakes: &mut Mistakes) {
    let server = raw.server_url.as_ref().map_or("", |url| url.expose());
    if !raw.url.expose().is_empty() {
        mistakes.add(Mistake::new(&key("server_url"), "set only one of url and server_url"));
    }
    if SourceKind::of(server) == SourceKind::Sqlite {
        let why = "it is a file of SQLite, and only a PostgreSQL server has several databases";
        mistakes.add(Mistake::new(&key("server_url"), why));
    }
    if raw.databases.0.is_empty() {
        let hint = "[\"*\"] means all of them".to_owned();
        mistakes.add(Mistake::new(&key("databases"), "names none").hint(Some(hint)));
    }
}

/// The section, made of the job that stands for all of its databases.
pub(super) fn section(template: Job, raw: &raw::Job) -> ServerJobs {
    ServerJobs {
        template,
        databases: raw.databases.0.clone(),
        exclude: raw.exclude.0.clone(),
    }
}

impl Config {
    /// Takes the jobs of the section `name` from what is known of its databases.
    pub fn take(&mut self, name: &str, known: KnownDatabases) {
        let Some((server, before)) = self.servers.iter_mut().find(|(server, _)| server.name() == name) else {
            return;
        };
        self.jobs.retain(|job| job.section.as_deref() != Some(name));
        self.jobs.extend(server.jobs(&known));
        self.jobs.sort_by(|one, other| one.name.cmp(&other.name));
        *before = known;
    }

    /// The section of a whole server that is called so.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&ServerJobs> {
        let mut servers = self.servers.iter().map(|(server, _)| server);
        servers.find(|server| server.name() == name)
    }

    /// The sections that these names of jobs are of; all of them where none is named.
    #[must_use]
    pub fn sections_named(&self, names: &[String]) -> Vec<(ServerJobs, KnownDatabases)> {
        let is_named = |section: &str| names.iter().any(|name| name.split(BETWEEN).next() == Some(section));
        let named = self.servers.iter();
        named
            .filter(|(server, _)| names.is_empty() || is_named(server.name()))
            .cloned()
            .collect()
    }

    /// The section that a name of a job, or of a section, is of.
    #[must_use]
    pub fn section_of(&self, name: &str) -> Option<&ServerJobs> {
        self.server(name.split(BETWEEN).next().unwrap_or(name))
    }

    /// The jobs of the databases of a section.
    pub fn jobs_of(&self, section: &str) -> impl Iterator<Item = &Job> {
        self.jobs
            .iter()
            .filter(move |job| job.section.as_deref() == Some(section))
    }

    /// Why the servers of sections did not tell which databases they have, each with its section.
    pub fn troubles(&self) -> impl Iterator<Item = (&str, &Fail)> {
        let troubles = self.servers.iter();
        troubles.filter_map(|(server, known)| Some((server.name(), known.trouble.as_ref()?)))
    }

    /// The error of one who names the section where one of its jobs is meant.
    pub(super) fn is_a_server(&self, name: &str) -> Option<Fail> {
        let server = self.server(name)?;
        let trouble = self.troubles().find(|(section, _)| *section == server.name());
        let jobs: Vec<&str> = self.jobs_of(name).map(|job| job.name.as_str()).collect();
        match (trouble, jobs.is_empty()) {
            (Some((_, trouble)), true) => Some(trouble.clone()),
            _ => Some(ambiguous(name, &jobs)),
        }
    }
}

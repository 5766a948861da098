//! Sections for whole servers: before the runs of their databases the server is asked which there are. New ones get their first run
//! then, and those that are gone get none.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::{JoinError, JoinSet};

use super::Daemon;
use super::timer::Firing;
use crate::config::Config;
use crate::error::Result;
use crate::job::{Job, KnownDatabases, ServerJobs};
use crate::watch::history::{Facts, Verb};

/// What firings of sections are called: no job has a blank in its name.
const PREFIX: &str = "server ";

/// For how long the answer of a server is good enough for a run.
const GOOD_FOR: TimeDelta = TimeDelta::seconds(60);

/// How long after a server did not answer it is asked again.
const ASK_AGAIN: TimeDelta = TimeDelta::minutes(5);

/// The sections for whole servers.
#[derive(Default)]
pub(super) struct Servers {
    sections: BTreeMap<String, Section>,
    pub(super) looks: JoinSet<(String, KnownDatabases)>,
}

/// A section and where it stands.
struct Section {
    server: ServerJobs,
    known: KnownDatabases,
    /// When the server was last asked.
    asked: Option<DateTime<Utc>>,
    looking: bool,
    /// Since when nobody has looked who wanted runs: a database that is new since then gets one.
    due: Option<DateTime<Utc>>,
    /// Jobs whose time has come, and that wait for the server's answer.
    waiting: BTreeSet<String>,
    /// When the server is asked next.
    next: Option<DateTime<Utc>>,
}

impl Servers {
    /// Takes over the sections of a configuration, and gives it the jobs of the databases that are known already.
    pub(super) fn adopt(&mut self, config: &mut Config) {
        let mut old = std::mem::take(&mut self.sections);
        for (server, known) in std::mem::take(&mut config.servers) {
            let name = server.name().to_owned();
            let before = old.remove(&name).filter(|_| server.asks());
            let known = before.as_ref().map_or(known, |before| {
                let mut known = before.known.clone();
                known.databases.retain(|database| server.wants(database));
                known.gone.retain(|database| server.wants(database));
                known
            });
            if before.is_some() {
                config.jobs.retain(|job| job.section.as_deref() != Some(&name));
                config.jobs.extend(server.jobs(&known));
            }
            let section = Section {
                server,
                known,
                asked: None,
                looking: false,
                due: before.as_ref().and_then(|before| before.due),
                waiting: before.map(|before| before.waiting).unwrap_or_default(),
                next: None,
            };
            self.sections.insert(name, section);
        }
    }

    /// The sections, with what is known of their databases.
    pub(super) fn sections(&self) -> Vec<(ServerJobs, KnownDatabases)> {
        let sections = self.sections.values();
        sections
            .map(|section| (section.server.clone(), section.known.clone()))
            .collect()
    }

    /// Asks the server of a section on the side.
    fn look(&mut self, name: &str) {
        let Some(section) = self.sections.get_mut(name) else {
            return;
        };
        if section.looking || !section.server.asks() {
            return;
        }
        section.looking = true;
        let server = section.server.clone();
        self.looks
            .spawn(async move { (server.name().to_owned(), crate::servers::look(&server).await) });
    }
}

impl Daemon {
    /// Asks all servers on the side, so that none of them keeps the daemon from anything.
    pub(super) fn look_at_servers(&mut self) {
        for name in self.servers.sections.keys().cloned().collect::<Vec<_>>() {
            self.servers.look(&name);
        }
    }

    /// Computes when each server is to be asked next, and arms its timer.
    pub(super) fn schedule_servers(&mut self) {
        for name in self.servers.sections.keys().cloned().collect::<Vec<_>>() {
            self.schedule_server(&name);
        }
    }

    fn schedule_server(&mut self, name: &str) {
        let now = self.clock.now();
        let Some(section) = self.servers.sections.get_mut(name) else {
            return;
        };
        let schedule = section
            .server
            .template
            .schedule
            .as_ref()
            .filter(|_| section.server.asks());
        section.next = schedule.and_then(|schedule| schedule.even().next_after(now));
        if let Some(next) = section.next {
            self.timer.arm(&format!("{PREFIX}{name}"), next, now);
        }
    }

    /// Whether a firing is one of a section; then its server is asked, if its time has really come.
    pub(super) fn fire_server(&mut self, firing: &Firing) -> bool {
        let Some(name) = firing.job.strip_prefix(PREFIX) else {
            return false;
        };
        let now = self.clock.now();
        let section = self.servers.sections.get_mut(name);
        if let Some(section) = section.filter(|section| section.next == Some(firing.due)) {
            if now >= firing.due {
                section.due = Some(section.due.unwrap_or(firing.due));
                self.servers.look(name);
            }
            self.schedule_server(name);
        }
        true
    }

    /// Whether a run whose time has come waits until its server has said which databases there are.
    pub(super) fn waits_for_server(&mut self, firing: &Firing) -> bool {
        let now = self.clock.now();
        let Some(scheduled) = self.jobs.get(&firing.job) else {
            return false;
        };
        let section = scheduled.job.section.clone();
        let Some((name, section)) =
            section.and_then(|name| Some((name.clone(), self.servers.sections.get_mut(&name)?)))
        else {
            return false;
        };
        let is_known = section
            .asked
            .is_some_and(|asked| asked <= now && now - asked < GOOD_FOR && !section.looking);
        if is_known || !section.server.asks() {
            return false;
        }
        section.waiting.insert(firing.job.clone());
        section.due = Some(section.due.unwrap_or(firing.due));
        self.servers.look(&name);
        true
    }

    /// Servers whose time has long come, that did not answer, or that would be asked sooner by what the clock says now.
    pub(super) fn look_after_servers(&mut self) {
        let now = self.clock.now();
        for name in self.servers.sections.keys().cloned().collect::<Vec<_>>() {
            let Some(section) = self.servers.sections.get(&name) else {
                continue;
            };
            let next = section.server.template.schedule.as_ref();
            let next = next.and_then(|schedule| schedule.even().next_after(now));
            match section.next {
                Some(due) if due < now - super::OVERDUE => {
                    let job = format!("{PREFIX}{name}");
                    self.fire_server(&Firing { job, due });
                }
                Some(due) if next.is_some_and(|next| next < due) => self.schedule_server(&name),
                _ => {}
            }
            let section = self.servers.sections.get(&name);
            let is_silent = section.is_some_and(|section| {
                section.known.trouble.is_some() && section.asked.is_none_or(|asked| now - asked > ASK_AGAIN)
            });
            if is_silent {
                self.servers.look(&name);
            }
        }
    }

    /// A server has answered, or not: its jobs are those of its databases.
    pub(super) fn looked_at_server(&mut self, looked: Result<(String, KnownDatabases), JoinError>) {
        let (name, mut known) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                tracing::error!("a server was not asked for its databases: {error}");
                self.servers
                    .sections
                    .values_mut()
                    .for_each(|section| section.looking = false);
                return;
            }
        };
        let now = self.clock.now();
        let Some(section) = self.servers.sections.get_mut(&name) else {
            return;
        };
        section.looking = false;
        // It may have been asked for before the configuration was reread.
        known.databases.retain(|database| section.server.wants(database));
        known.gone.retain(|database| section.server.wants(database));
        let first = section.asked.is_none();
        section.asked = Some(now);
        let due = section.due.take();
        let waiting = std::mem::take(&mut section.waiting);
        let before = std::mem::replace(&mut section.known, known.clone());
        let (server, known) = (section.server.clone(), known);
        let was: BTreeSet<&String> = before.databases.iter().collect();
        let new = known.databases.iter().filter(|database| !was.contains(database));
        let new: Vec<String> = new.map(|database| server.job_name(database)).collect();
        say(&name, first, &new, &before, &known);
        if due.is_some() || first || before.trouble.is_some() != known.trouble.is_some() {
            let recording = self.recorder.begin(&name, Verb::Discover, Facts::default());
            let outcome = known.trouble.clone().map_or(Ok(()), |trouble| Err(trouble.into()));
            self.notifier
                .teller()
                .ended(recording.end(&outcome, |()| Facts::default()));
        }
        let others = self.jobs.values().map(|scheduled| scheduled.job.as_ref());
        let mut jobs: Vec<Job> = others
            .filter(|job| job.section.as_deref() != Some(&name))
            .cloned()
            .collect();
        jobs.extend(server.jobs(&known));
        self.put(jobs);
        for job in server.jobs(&known) {
            self.schedule_again(&job.name);
        }
        for job in &new {
            self.begin_new(job, due);
        }
        for job in waiting.iter().filter(|job| !new.contains(job)) {
            if self.jobs.get(job).is_some_and(|scheduled| !scheduled.job.gone) {
                self.begin(job, due);
            }
        }
    }

    /// The first run of a job that has just become known: at once where that of the section was `due`, or a little later by its jitter.
    fn begin_new(&mut self, job: &str, due: Option<DateTime<Utc>>) {
        let now = self.clock.now();
        let schedule = self.jobs.get(job).and_then(|it| it.job.schedule.as_ref());
        let first = due.and_then(|due| schedule?.next_after(due - TimeDelta::seconds(1)));
        match first {
            Some(first) if first <= now => self.begin(job, Some(first)),
            _ => self.make_up_of(job),
        }
    }
}

/// What the log says of what has changed.
fn say(name: &str, first: bool, new: &[String], before: &KnownDatabases, known: &KnownDatabases) {
    match &known.trouble {
        Some(trouble) => {
            let hint = trouble.hint.as_deref();
            tracing::error!(
                job = name,
                hint,
                "the server did not tell which databases it has: {trouble}"
            );
        }
        None if first => tracing::info!(job = name, databases = known.databases.len(), "its databases are known"),
        None => {}
    }
    if !first {
        new.iter().for_each(|job| tracing::info!(job, "the database is new"));
    }
    let was: BTreeSet<&String> = before.gone.iter().collect();
    for database in known.gone.iter().filter(|database| !was.contains(database)) {
        tracing::warn!(
            job = name,
            "the database {database} is gone from the server; its backups stay"
        );
    }
}

//! The daemon: runs every job by its schedule, one run of a job at a time, a bounded number at once.
//!
//! It ends when it is told to and all runs have ended: they may finish within a deadline, then they are
//! cancelled. A configuration that cannot be used is refused when it is reread, and the old one goes on.

mod drills;
mod history;
mod log;
mod missed;
mod notify;
mod page;
mod servers;
mod systemd;
mod timer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::backup::{self, Event, Report, Request, Step, Watch};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::raw::NotifyOn;
use crate::error::Result;
use crate::job::Job;
use crate::manifest::Kind;
use crate::restore;
use crate::watch::history::{Facts, Recorder, Verb};
use crate::watch::http::{Access, Listen, View};
use crate::watch::notify::Notifier;
use drills::Drills;
use log::log;
use notify::{News, Notice};
use page::Page;
use servers::Servers;
use timer::{Firing, Timer};

/// How long a cancelled run may take to clear away what it began.
const CANCEL_GRACE: Duration = Duration::from_secs(20);

/// How long notices may take when the daemon ends.
const NOTICE_GRACE: Duration = Duration::from_secs(10);

/// How often it is looked whether all jobs are fresh.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A firing that is later than this was lost by the timer.
const OVERDUE: TimeDelta = TimeDelta::seconds(5);

/// What the daemon is given from outside.
pub struct Surroundings {
    /// The time.
    pub clock: Clock,
    /// Ends the daemon.
    pub shutdown: CancellationToken,
    /// Asks it to reread the configuration.
    pub reload: mpsc::Receiver<()>,
    /// How often it looks after everything; without it as systemd wants.
    pub heartbeat: Option<Duration>,
    /// Reads the configuration.
    pub load: Box<dyn Fn() -> Result<Config> + Send + Sync>,
}

/// Runs the jobs of `config` until it is told to end.
///
/// # Errors
/// The timer fails. A run that fails is logged and does not end the daemon.
pub async fn run(config: Config, mut surroundings: Surroundings) -> Result<()> {
    let (timer, mut fired) = Timer::start().await?;
    let (missed, mut found_missed) = mpsc::unbounded_channel();
    let page = config.http.clone();
    let mut daemon = Daemon::new(config, surroundings.clock.clone(), timer);
    daemon.missed = Some(missed);
    daemon.show(page).await;
    daemon.schedule_all();
    daemon.make_up();
    daemon.look_at_servers();
    let mut told = daemon.status();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "serving {told}");
    systemd::ready(&told);
    let mut heartbeat = tokio::time::interval(surroundings.heartbeat.unwrap_or_else(systemd::heartbeat));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = surroundings.shutdown.cancelled() => break,
            Some(firing) = fired.recv() => daemon.fire(&firing),
            Some(job) = found_missed.recv() => daemon.begin(&job, None),
            Some(ended) = daemon.runs.join_next_with_id() => daemon.ended(ended),
            Some(ended) = daemon.drills.runs.join_next_with_id() => daemon.drill_ended(ended),
            Some(_) = daemon.notices.join_next() => {}
            Some(looked) = daemon.servers.looks.join_next() => daemon.looked_at_server(looked),
            Some(()) = surroundings.reload.recv() => daemon.reload(&*surroundings.load).await,
            _ = heartbeat.tick() => {
                systemd::alive();
                daemon.view.beat();
                daemon.look();
                daemon.fire_overdue();
                daemon.follow_clock();
                daemon.look_after_drills();
                daemon.look_after_servers();
            }
        }
        let status = daemon.status();
        if status != told {
            systemd::status(&status);
            told = status;
        }
    }
    daemon.stop(heartbeat).await;
    Ok(())
}

/// A scheduled job and where it stands.
struct Scheduled {
    job: Arc<Job>,
    next: Option<DateTime<Utc>>,
    running: bool,
    /// Its last run failed, or a store lacks its copy.
    troubled: bool,
}

/// What became of a run; `None`: it was not begun.
type Outcome = Option<Result<Report>>;

struct Daemon {
    clock: Clock,
    timer: Timer,
    jobs: BTreeMap<String, Scheduled>,
    runs: JoinSet<Outcome>,
    drills: Drills,
    servers: Servers,
    /// Hears of jobs that have missed a run.
    missed: Option<mpsc::UnboundedSender<String>>,
    /// Whose run each task is: a task that panicked cannot say it itself.
    running: BTreeMap<Id, String>,
    permits: Arc<Semaphore>,
    /// A file that gets a line per run.
    lines: Option<PathBuf>,
    recorder: Recorder,
    view: Arc<View>,
    page: Option<Page>,
    notifier: Notifier,
    /// Whether there is any channel.
    tells: bool,
    /// When it was last looked how all jobs are.
    looked: Option<Instant>,
    notify: (Vec<String>, NotifyOn),
    /// Notices that are on their way.
    notices: JoinSet<()>,
    shutdown_timeout: Duration,
    /// Runs that wait for their turn don't begin any more.
    closing: CancellationToken,
    /// Runs that are under way are cancelled.
    cancel: CancellationToken,
}

impl Daemon {
    fn new(config: Config, clock: Clock, timer: Timer) -> Self {
        let view = Arc::new(View::new(clock.clone()));
        let mut daemon = Daemon {
            clock: clock.clone(),
            timer,
            jobs: BTreeMap::new(),
            runs: JoinSet::new(),
            drills: Drills::default(),
            servers: Servers::default(),
            missed: None,
            running: BTreeMap::new(),
            permits: Arc::new(Semaphore::new(0)),
            lines: None,
            recorder: Recorder::default(),
            view,
            page: None,
            notifier: Notifier::start(clock.clone()),
            tells: false,
            looked: None,
            notify: (Vec::new(), NotifyOn::default()),
            notices: JoinSet::new(),
            shutdown_timeout: Duration::ZERO,
            closing: CancellationToken::new(),
            cancel: CancellationToken::new(),
        };
        daemon.adopt(config);
        daemon
    }

    /// Takes over a configuration; runs that are under way keep what they began with.
    fn adopt(&mut self, config: Config) {
        let settings = &config.raw.daemon;
        self.permits = Arc::new(Semaphore::new(settings.max_concurrent_jobs as usize));
        self.lines.clone_from(&settings.history);
        self.recorder = Recorder::open(config.history.as_deref(), settings.keep_history.delta(), &self.clock);
        self.notify = (settings.notify.0.clone(), settings.notify_on);
        self.shutdown_timeout = settings.shutdown_timeout.duration();
        let mut config = config;
        self.servers.adopt(&mut config);
        self.put(std::mem::take(&mut config.jobs));
        self.tells = !config.channels.is_empty();
        self.notifier.adopt(config.channels, self.recorder.clone());
    }

    /// From now on these are the jobs; what is known of those that stay is kept.
    fn put(&mut self, jobs: Vec<Job>) {
        let mut old = std::mem::take(&mut self.jobs);
        for job in jobs {
            let old = old.remove(&job.name);
            let scheduled = Scheduled {
                running: old.as_ref().is_some_and(|job| job.running),
                troubled: old.as_ref().is_some_and(|job| job.troubled),
                next: old.and_then(|job| job.next),
                job: Arc::new(job),
            };
            self.jobs.insert(scheduled.job.name.clone(), scheduled);
        }
        let jobs = self.jobs.values().map(|scheduled| Arc::clone(&scheduled.job));
        self.view
            .adopt(jobs.collect(), self.servers.sections(), self.recorder.clone());
    }

    /// Looks on the side how all jobs are, for those who want to be told.
    fn look(&mut self) {
        let is_due = self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        if self.tells && is_due {
            self.looked = Some(Instant::now());
            let (view, teller) = (Arc::clone(&self.view), self.notifier.teller());
            tokio::spawn(async move { teller.status(view.status().await) });
        }
    }

    /// Serves the page where it is wanted.
    async fn show(&mut self, wanted: Option<(Listen, Access)>) {
        self.page = Page::instead(self.page.take(), wanted, &self.view).await;
    }

    /// One line on the whole, for the log and `systemctl status`.
    fn status(&self) -> String {
        let next = self
            .jobs
            .values()
            .filter_map(|it| Some((it.next?, &it.job)))
            .min_by_key(|(time, _)| *time);
        let next = next.map_or_else(String::new, |(time, job)| {
            let time = time.with_timezone(&job.zone).format("%Y-%m-%d %H:%M:%S %Z");
            format!(", next: {} at {time}", job.name)
        });
        let (jobs, running) = (self.jobs.len(), self.runs.len());
        let noun = if jobs == 1 { "job" } else { "jobs" };
        format!("{jobs} {noun}, {running} running{next}")
    }

    /// Arms the timers of all jobs.
    fn schedule_all(&mut self) {
        for name in self.jobs.keys().cloned().collect::<Vec<_>>() {
            self.schedule_again(&name);
        }
        self.schedule_servers();
    }

    /// Schedules a job and its drill by what is known now. A time that has come stays, for its timer is about to fire: who computes
    /// a later one instead makes the job miss it.
    fn schedule_again(&mut self, name: &str) {
        let now = self.clock.now();
        let has_come =
            |it: &Scheduled| !it.job.gone && it.job.schedule.is_some() && it.next.is_some_and(|next| next <= now);
        if !self.jobs.get(name).is_some_and(has_come) {
            self.schedule(name);
        }
        self.schedule_drill_again(name);
    }

    /// Makes up for what was missed while nobody was there, of all jobs.
    fn make_up(&self) {
        self.jobs.keys().for_each(|name| self.make_up_of(name));
    }

    /// Looks on the side what restores have left that were killed, and whether a run was missed while nobody was there. Stores may be
    /// slow or away, and no backup waits for another job's.
    fn make_up_of(&self, name: &str) {
        let (Some(scheduled), Some(missed)) = (self.jobs.get(name), self.missed.clone()) else {
            return;
        };
        if scheduled.job.gone {
            return;
        }
        self.maintain(name);
        let (job, clock, closing) = (Arc::clone(&scheduled.job), self.clock.clone(), self.closing.clone());
        tokio::spawn(async move {
            let has_missed = tokio::select! {
                has_missed = missed::has_missed_a_run(&job, &clock) => has_missed,
                () = closing.cancelled() => false,
            };
            if has_missed {
                // Nobody listens any more when the daemon ends.
                let _ = missed.send(job.name.clone());
            }
        });
    }

    /// Looks on the side what a restore of the job may have left when it was killed.
    fn maintain(&self, name: &str) {
        if let Some(Scheduled { job, .. }) = self.jobs.get(name) {
            let (job, now) = (Arc::clone(job), self.clock.now());
            tokio::spawn(async move {
                let _connections = job.may_ask().await;
                restore::clean_up_after_killed(&job, now).await;
            });
        }
    }

    /// Computes when a job is due next and arms its timer.
    fn schedule(&mut self, name: &str) {
        let now = self.clock.now();
        let Some(scheduled) = self.jobs.get_mut(name) else {
            return;
        };
        let schedule = scheduled.job.schedule.as_ref();
        scheduled.next = schedule.and_then(|schedule| schedule.next_after(now));
        if let Some(next) = scheduled.next {
            tracing::debug!(job = name, %next, "scheduled");
            self.timer.arm(name, next, now);
        }
    }

    /// A timer fired: runs the job if its time has really come.
    fn fire(&mut self, firing: &Firing) {
        if self.fire_drill(firing) || self.fire_server(firing) {
            return;
        }
        let now = self.clock.now();
        if self.jobs.get(&firing.job).is_none_or(|it| it.next != Some(firing.due)) {
            // The job is gone, or is due at another time since the configuration was reread.
            return;
        }
        if now >= firing.due && !self.waits_for_server(firing) {
            self.begin(&firing.job, Some(firing.due));
        }
        self.schedule(&firing.job);
    }

    /// Schedules anew what would be due sooner by what the clock says now: it was ahead, perhaps by years, and was set back.
    fn follow_clock(&mut self) {
        let now = self.clock.now();
        let is_late = |scheduled: &Scheduled| {
            let schedule = scheduled.job.schedule.as_ref();
            let next = schedule.and_then(|schedule| schedule.next_after(now));
            next.is_some_and(|next| scheduled.next.is_some_and(|planned| next < planned))
        };
        let late = self.jobs.iter().filter(|(_, scheduled)| is_late(scheduled));
        for name in late.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            tracing::warn!(job = name, "the clock was set back: scheduling anew");
            self.schedule(&name);
        }
    }

    /// Fires the jobs whose time has long come: no backup shall depend on a timer alone.
    fn fire_overdue(&mut self) {
        let limit = self.clock.now() - OVERDUE;
        let firing = |(name, scheduled): (&String, &Scheduled)| {
            let due = scheduled.next.filter(|next| *next < limit)?;
            let job = name.clone();
            Some(Firing { job, due })
        };
        for firing in self.jobs.iter().filter_map(firing).collect::<Vec<_>>() {
            tracing::warn!(job = firing.job, "the timer is late");
            self.fire(&firing);
        }
    }

    /// Begins a run as soon as there is room for it, unless another daemon has made the one that was `due`.
    fn begin(&mut self, name: &str, due: Option<DateTime<Utc>>) {
        let Some(scheduled) = self.jobs.get_mut(name) else {
            return;
        };
        if scheduled.running {
            tracing::warn!(job = name, "skipped: the run before is still under way");
            return;
        }
        scheduled.running = true;
        let (job, clock) = (Arc::clone(&scheduled.job), self.clock.clone());
        let (permits, closing, cancel) = (Arc::clone(&self.permits), self.closing.clone(), self.cancel.clone());
        let (recorder, teller) = (self.recorder.clone(), self.notifier.teller());
        let run = self.runs.spawn(async move {
            let permit = tokio::select! {
                biased;
                () = closing.cancelled() => {
                    tracing::info!(job = job.name, "not begun: the daemon ends");
                    return None;
                }
                permit = permits.acquire_owned() => permit,
            };
            if let Some(due) = due
                && missed::is_made(&job, due, clock.now()).await
            {
                tracing::info!(job = job.name, "skipped: another daemon has made this backup");
                return None;
            }
            let watched = job.name.clone();
            let recording = recorder.begin(&job.name, Verb::Backup, Facts::of_kind(Kind::Scheduled));
            teller.begun(recording.run());
            let noted = recording.watch(Step::describe);
            let watch = Watch::new(move |event| {
                noted(&event);
                if let Event::Warning(text) = event {
                    tracing::warn!(job = watched, "{text}");
                }
            });
            tracing::debug!(job = job.name, "begins");
            let request = Request {
                clock: clock.clone(),
                watch,
                cancel,
                ..Request::new(&job, Kind::Scheduled)
            };
            let outcome = backup::run(&request).await;
            teller.ended(recording.end(&outcome, Facts::of_backup));
            if outcome.is_ok() {
                let _connections = job.may_ask().await;
                restore::clean_up_after_killed(&job, clock.now()).await;
            }
            drop(permit);
            Some(outcome)
        });
        self.running.insert(run.id(), name.to_owned());
    }

    /// A run ended: one line in the log, one in the history, and whoever wants to know is told.
    fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            // A panic is a bug of ours, but the daemon's other jobs have done nothing wrong.
            Err(error) => (error.id(), Some(Err(error.into()))),
        };
        let job = self.running.remove(&id).unwrap_or_default();
        self.view.changed();
        self.looked = None;
        if let Some(scheduled) = self.jobs.get_mut(&job) {
            scheduled.running = false;
        }
        let Some(outcome) = outcome else { return };
        log(&job, &outcome);
        for warning in outcome.iter().flat_map(|report| &report.manifest.warnings) {
            tracing::warn!(job, "{warning}");
        }
        let line = match history::Line::of(&job, self.clock.now(), &outcome).text() {
            Ok(line) => line,
            Err(error) => return tracing::warn!("the history is not written: {error:#}"),
        };
        if let Some(file) = &self.lines
            && let Err(error) = history::append(file, &line)
        {
            tracing::warn!("the history is not written: {error:#}");
        }
        self.tell(&job, &outcome, line);
    }

    /// Tells of a run, if it is one to tell of; `line` is what the history says of it.
    fn tell(&mut self, job: &str, outcome: &Result<Report>, line: Vec<u8>) {
        let Some(scheduled) = self.jobs.get_mut(job) else {
            return;
        };
        let news = News::of(outcome, scheduled.troubled);
        scheduled.troubled = match news {
            News::Failed | News::Incomplete => true,
            News::Collapsed | News::Recovered => false,
            News::Fine => scheduled.troubled,
        };
        let (program, on) = &self.notify;
        if !program.is_empty() && (*on == NotifyOn::All || news != News::Fine) {
            let notice = Notice::of(news, job, outcome, line);
            self.notices.spawn(notice.tell(program.clone()));
        }
    }

    /// Rereads the configuration.
    async fn reload(&mut self, load: &(dyn Fn() -> Result<Config> + Send + Sync)) {
        systemd::reloading();
        match load() {
            Ok(config) => {
                let page = config.http.clone();
                self.adopt(config);
                self.show(page).await;
                self.schedule_all();
                self.look_at_servers();
                tracing::info!("the configuration was reread: {}", self.status());
            }
            Err(error) => {
                tracing::error!("the configuration is refused, and the old one goes on: {error:#}");
                let recording = self.recorder.begin("", Verb::Reload, Facts::default());
                let run = recording.end::<()>(&Err(error), |()| Facts::default());
                self.notifier.teller().ended(run);
            }
        }
        systemd::ready(&self.status());
    }

    /// Lets the runs finish within the deadline, cancels what is left, and waits for that.
    async fn stop(mut self, mut heartbeat: tokio::time::Interval) {
        self.closing.cancel();
        systemd::stopping(self.shutdown_timeout + CANCEL_GRACE);
        if !self.runs.is_empty() {
            tracing::info!(runs = self.runs.len(), "ending: waiting for what is under way");
        }
        let deadline = Instant::now() + self.shutdown_timeout;
        for limit in [deadline, deadline + CANCEL_GRACE] {
            loop {
                tokio::select! {
                    ended = self.runs.join_next_with_id() => match ended {
                        Some(ended) => self.ended(ended),
                        None => break,
                    },
                    () = tokio::time::sleep_until(limit) => break,
                    _ = heartbeat.tick() => systemd::alive(),
                }
            }
            self.cancel.cancel();
        }
        self.end_drills().await;
        if !self.runs.is_empty() {
            tracing::error!(
                runs = self.runs.len(),
                "did not end in time; the next run cleans up after them"
            );
        }
        let told = async { while self.notices.join_next().await.is_some() {} };
        if tokio::time::timeout(NOTICE_GRACE, told).await.is_err() {
            tracing::error!("somebody was not told: notices are on their way, and the daemon ends");
        }
        if let Some(page) = self.page.take() {
            page.end().await;
        }
        self.notifier.end(NOTICE_GRACE).await;
        self.timer.stop().await;
        tracing::info!("ended");
    }
}

#[cfg(test)]
mod tests;

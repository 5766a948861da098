//! Drills by schedule: each job's own, beside its backups. A drill waits for its turn like a run, and gives way when the daemon
//! ends: nothing is lost by that.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::task::{Id, JoinError, JoinSet};

use super::history::DrillLine;
use super::notify::{News, Notice};
use super::timer::Firing;
use super::{CANCEL_GRACE, Daemon, OVERDUE, history};
use crate::config::raw::NotifyOn;
use crate::drill::{Drill, Event, Place, Report, Request};
use crate::error::{Exit, Result, exit_of, hint_of};
use crate::watch::history::{Facts, Verb};

/// What firings of drills are called: no job has a blank in its name.
const PREFIX: &str = "drill ";

/// What became of a drill; `None`: it was not begun.
pub(super) type Outcome = Option<Result<Report>>;

/// The drills of all jobs.
#[derive(Default)]
pub(super) struct Drills {
    /// When each is due next.
    next: BTreeMap<String, DateTime<Utc>>,
    /// Jobs whose last drill failed.
    troubled: Vec<String>,
    pub(super) runs: JoinSet<Outcome>,
    running: BTreeMap<Id, String>,
}

#[cfg(test)]
impl Drills {
    /// When the drill of a job is due next.
    pub(super) fn due(&self, job: &str) -> Option<DateTime<Utc>> {
        self.next.get(job).copied()
    }
}

impl Daemon {
    /// Computes when the drill of a job is due next and arms its timer.
    pub(super) fn schedule_drill(&mut self, name: &str) {
        let now = self.clock.now();
        let schedule = self.jobs.get(name).and_then(|it| it.job.drill.schedule.as_ref());
        match schedule.and_then(|schedule| schedule.next_after(now)) {
            Some(next) => {
                self.drills.next.insert(name.to_owned(), next);
                self.timer.arm(&format!("{PREFIX}{name}"), next, now);
            }
            None => drop(self.drills.next.remove(name)),
        }
    }

    /// Schedules a drill by what is known now. A time that has come stays: its timer is about to fire.
    pub(super) fn schedule_drill_again(&mut self, name: &str) {
        let now = self.clock.now();
        let is_wanted = self
            .jobs
            .get(name)
            .is_some_and(|it| !it.job.gone && it.job.drill.schedule.is_some());
        let has_come = self.drills.next.get(name).is_some_and(|next| *next <= now);
        if !(is_wanted && has_come) {
            self.schedule_drill(name);
        }
    }

    /// Whether a firing is one of a drill; then it begins if its time has really come.
    pub(super) fn fire_drill(&mut self, firing: &Firing) -> bool {
        let Some(name) = firing.job.strip_prefix(PREFIX) else {
            return false;
        };
        if self.drills.next.get(name) == Some(&firing.due) {
            if self.clock.now() >= firing.due {
                self.begin_drill(name);
            }
            self.schedule_drill(name);
        }
        true
    }

    /// Drills whose time has long come, and those that would be due sooner by what the clock says now.
    pub(super) fn look_after_drills(&mut self) {
        let now = self.clock.now();
        for (name, due) in self.drills.next.clone() {
            let schedule = self.jobs.get(&name).and_then(|it| it.job.drill.schedule.as_ref());
            let next = schedule.and_then(|schedule| schedule.next_after(now));
            if due < now - OVERDUE {
                self.fire_drill(&Firing {
                    job: format!("{PREFIX}{name}"),
                    due,
                });
            } else if next.is_none_or(|next| next < due) {
                self.schedule_drill(&name);
            }
        }
    }

    /// Lets drills that were cancelled clear away what they made.
    pub(super) async fn end_drills(&mut self) {
        let deadline = tokio::time::Instant::now() + CANCEL_GRACE;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.drills.runs.join_next_with_id()).await {
            self.drill_ended(ended);
        }
    }

    fn begin_drill(&mut self, name: &str) {
        let Some(scheduled) = self.jobs.get(name) else {
            return;
        };
        if self.drills.running.values().any(|running| running == name) {
            tracing::warn!(job = name, "drill skipped: the one before is still under way");
            return;
        }
        let (job, clock) = (Arc::clone(&scheduled.job), self.clock.clone());
        let (permits, closing) = (Arc::clone(&self.permits), self.closing.clone());
        let (recorder, teller) = (self.recorder.clone(), self.notifier.teller());
        let run = self.drills.runs.spawn(async move {
            let _permit = tokio::select! {
                biased;
                () = closing.cancelled() => return None,
                permit = permits.acquire_owned() => permit,
            };
            let _connections = match &job.connections {
                Some(connections) if job.drill.source.is_none() => connections.take(&job.dump, 0).await,
                _ => None,
            };
            tracing::debug!(job = job.name, "drill begins");
            let recording = recorder.begin(&job.name, Verb::Drill, Facts::default());
            let watched = job.name.clone();
            let request = Request {
                job: &job,
                which: "latest",
                jobs: None,
                clock: clock.clone(),
                tell: Arc::new(move |event| {
                    if let Event::Warning(text) = event {
                        tracing::warn!(job = watched, "{text}");
                    }
                }),
                cancel: closing.clone(),
                pause_at: None,
            };
            let drilled = async {
                let place = Place::of(&job, &clock).await?;
                Drill::prepare(&request, &place).await?.run().await
            };
            // To those who are told, a backup that does not pass is as bad as one that cannot be tried.
            let drilled = drilled.await;
            let drilled = drilled.and_then(|report| report.outcome().map(|()| report).map_err(Into::into));
            teller.ended(recording.end(&drilled, Report::facts));
            Some(drilled)
        });
        self.drills.running.insert(run.id(), name.to_owned());
    }

    /// A drill ended: one line in the log, one in the history, and whoever wants to know is told.
    pub(super) fn drill_ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Some(Err(error.into()))),
        };
        let job = self.drills.running.remove(&id).unwrap_or_default();
        let Some(outcome) = outcome else {
            return;
        };
        self.view.changed();
        self.looked = None;
        log(&job, &outcome);
        let line = match DrillLine::of(&job, self.clock.now(), &outcome).text() {
            Ok(line) => line,
            Err(error) => return tracing::warn!("the history is not written: {error:#}"),
        };
        if let Some(file) = &self.lines
            && let Err(error) = history::append(file, &line)
        {
            tracing::warn!("the history is not written: {error:#}");
        }
        let troubled = self.drills.troubled.contains(&job);
        let news = match &outcome {
            Err(error) if matches!(exit_of(error), Exit::Busy | Exit::Interrupted) => News::Fine,
            Err(_) => News::Failed,
            Ok(_) if troubled => News::Recovered,
            Ok(_) => News::Fine,
        };
        match news {
            News::Failed if !troubled => self.drills.troubled.push(job.clone()),
            News::Recovered => self.drills.troubled.retain(|it| *it != job),
            _ => {}
        }
        let (program, on) = &self.notify;
        if !program.is_empty() && (*on == NotifyOn::All || news != News::Fine) {
            let notice = Notice::of_drill(news, &job, &outcome, line);
            self.notices.spawn(notice.tell(program.clone()));
        }
    }
}

fn log(job: &str, outcome: &Result<Report>) {
    match outcome {
        Ok(report) => tracing::info!(
            job,
            id = %report.backup,
            tables = report.tables,
            rows = report.rows,
            checks = report.checks.len(),
            seconds = (report.seconds * 10.0).round() / 10.0,
            "drill passed"
        ),
        Err(error) if matches!(exit_of(error), Exit::Busy | Exit::Interrupted) => {
            tracing::warn!(job, "drill skipped: {error:#}");
        }
        Err(error) => tracing::error!(job, exit = exit_of(error) as u8, hint = hint_of(error), "{error:#}"),
    }
}

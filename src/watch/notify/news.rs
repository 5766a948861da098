//! What there is to tell, and to whom it matters.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::redact;
use crate::watch::history::{Outcome, Run, Verb};

/// A kind of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// A run failed.
    Failed,
    /// The newest good backup is too old, or there is none.
    NotFresh,
    /// A store lacks its copy, or something is missing in what was restored.
    Incomplete,
    /// There is much less in the database than before.
    Collapsed,
    /// All is well again.
    Recovered,
    /// A drill failed.
    DrillFailed,
    /// A database was restored, or a restore was undone.
    Restore,
    /// A backup was taken, and all is well.
    Success,
    /// Another channel reaches nobody.
    ChannelDown,
    /// A summary at a fixed time.
    Digest,
}

/// All kinds.
pub const ALL: [News; 10] = [
    News::Failed,
    News::NotFresh,
    News::Incomplete,
    News::Collapsed,
    News::Recovered,
    News::DrillFailed,
    News::Restore,
    News::Success,
    News::ChannelDown,
    News::Digest,
];

/// What a channel tells that says nothing of it.
pub const USUAL: [News; 7] = [
    News::Failed,
    News::NotFresh,
    News::Incomplete,
    News::Collapsed,
    News::Recovered,
    News::DrillFailed,
    News::ChannelDown,
];

impl News {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            News::Failed => "failed",
            News::NotFresh => "not_fresh",
            News::Incomplete => "incomplete",
            News::Collapsed => "collapsed",
            News::Recovered => "recovered",
            News::DrillFailed => "drill_failed",
            News::Restore => "restore",
            News::Success => "success",
            News::ChannelDown => "channel_down",
            News::Digest => "digest",
        }
    }

    /// Whether something is wrong.
    #[must_use]
    pub fn is_trouble(self) -> bool {
        !matches!(self, News::Recovered | News::Success | News::Restore | News::Digest)
    }

    /// How bad it is, in the words of PagerDuty.
    #[must_use]
    pub fn severity(self) -> &'static str {
        match self {
            News::Failed | News::NotFresh | News::DrillFailed => "critical",
            News::Incomplete | News::Collapsed | News::ChannelDown => "warning",
            News::Recovered | News::Restore | News::Success | News::Digest => "info",
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for News {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<&str> = ALL.iter().map(|news| news.name()).collect();
        let found = ALL.into_iter().find(|news| news.name() == text);
        found.ok_or_else(|| format!("{text:?} is none of {}", names.join(", ")))
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// What kind.
    pub news: News,
    /// The job; empty where it is of none.
    pub job: String,
    /// A few words.
    pub title: String,
    /// A sentence, with the reason and what to do.
    pub message: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// How long the run took, in seconds.
    pub seconds: Option<f64>,
    /// The run, as the history has it.
    pub run: serde_json::Value,
}

impl Notice {
    /// Of anything.
    #[must_use]
    pub fn new(news: News, job: &str, title: &str, message: &str, at: DateTime<Utc>) -> Self {
        Notice {
            news,
            job: job.to_owned(),
            title: redact::secrets(title).into_owned(),
            message: redact::secrets(message).into_owned(),
            at,
            seconds: None,
            run: serde_json::Value::Null,
        }
    }

    /// Of a run that has ended; `troubled` says whether the job's backup before failed. Nothing of runs that are no news.
    #[must_use]
    pub fn of_run(run: &Run, troubled: bool) -> Option<Self> {
        let (job, facts) = (run.job.as_str(), &run.facts);
        let lacking = facts
            .lacking
            .iter()
            .map(|(store, why)| format!("no copy in {store}: {why}"));
        let lacks: Vec<String> = lacking.collect();
        let error = facts
            .error
            .clone()
            .unwrap_or_else(|| "its process was killed".to_owned());
        let (news, title, message) = match (run.verb, run.outcome) {
            (_, Outcome::Running | Outcome::Skipped | Outcome::Interrupted) => return None,
            (Verb::Reload, _) => (News::Failed, "the configuration is refused".to_owned(), error),
            (Verb::Discover, Outcome::Ok) if troubled => (
                News::Recovered,
                format!("{job}: the server answers again"),
                "the server tells again which databases it has".to_owned(),
            ),
            (Verb::Discover, Outcome::Failed) => (
                News::Failed,
                format!("{job}: the server does not tell which databases it has"),
                error,
            ),
            (Verb::Drill, Outcome::Failed | Outcome::Killed) => {
                (News::DrillFailed, format!("{job}: a drill failed"), error)
            }
            (Verb::Backup, Outcome::Failed | Outcome::Killed) => (News::Failed, format!("{job}: no backup"), error),
            (verb, Outcome::Failed | Outcome::Killed) => {
                (News::Failed, format!("{job}: {} failed", verb.name()), error)
            }
            (Verb::Backup, Outcome::Incomplete) => {
                (News::Incomplete, format!("{job}: a copy is lacking"), lacks.join("; "))
            }
            (Verb::Backup, Outcome::Ok) if !facts.collapsed.is_empty() => (
                News::Collapsed,
                format!("{job}: there is much less than before"),
                facts.collapsed.join("; "),
            ),
            (Verb::Backup, Outcome::Ok) => {
                let id = facts.backup.map(|id| id.to_string()).unwrap_or_default();
                match troubled {
                    true => (
                        News::Recovered,
                        format!("{job}: backed up again"),
                        format!("backed up again as {id}"),
                    ),
                    false => (News::Success, format!("{job}: backed up"), format!("backed up as {id}")),
                }
            }
            (Verb::Restore | Verb::Undo, outcome) => {
                let verb = if run.verb == Verb::Undo {
                    "a restore was undone"
                } else {
                    "restored"
                };
                let rest = if outcome == Outcome::Incomplete {
                    ", but something is missing in it"
                } else {
                    ""
                };
                let by = format!("{verb} by {}{rest}", run.by);
                (News::Restore, format!("{job}: {verb}"), by)
            }
            _ => return None,
        };
        let message = match &facts.hint {
            Some(hint) if news.is_trouble() => format!("{message} (hint: {hint})"),
            _ => message,
        };
        let at = run.ended.unwrap_or(run.started);
        Some(Notice {
            seconds: run.seconds,
            run: serde_json::to_value(run).unwrap_or_default(),
            ..Notice::new(news, job, &title, &message, at)
        })
    }

    /// What a template may name, with its value.
    #[must_use]
    pub fn values(&self, host: &str, to: &str, key: &str) -> Vec<(&'static str, String)> {
        let trouble = self.news.is_trouble();
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        // An alert that nobody repeats ends by itself.
        let ends = if trouble { self.at + TimeDelta::days(7) } else { self.at };
        let priority = match self.news.severity() {
            "critical" => 5,
            "warning" => 4,
            _ => 3,
        };
        let of = |yes: &str, no: &str| if trouble { yes.to_owned() } else { no.to_owned() };
        #[allow(clippy::cast_possible_truncation)] // whole milliseconds are wanted
        let milliseconds = (self.seconds.unwrap_or_default() * 1000.0) as i64;
        vec![
            ("news", self.news.name().to_owned()),
            ("job", self.job.clone()),
            ("title", self.title.clone()),
            ("message", self.message.clone()),
            ("at", time(self.at)),
            ("ends", time(ends)),
            ("host", host.to_owned()),
            ("severity", self.news.severity().to_owned()),
            ("priority", priority.to_string()),
            ("tag", of("rotating_light", "white_check_mark")),
            ("action", of("trigger", "resolve")),
            ("updown", of("down", "up")),
            ("milliseconds", milliseconds.to_string()),
            ("run", self.run.to_string()),
            ("to", to.to_owned()),
            ("key", key.to_owned()),
        ]
    }
}

//! A channel: how somebody is told, and of what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::Context as _;
use chrono::TimeDelta;
use serde::Deserialize;

use super::news::{News, Notice};
use crate::error::Result;
use crate::job::BETWEEN;
use crate::schedule::Schedule;
use crate::secret::Secret;

/// A text that may be a secret, here or in a file that is read whenever it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// It is this one.
    Given(Secret),
    /// It is the first line of this file.
    File(PathBuf),
}

impl Hidden {
    /// The text.
    ///
    /// # Errors
    /// The file cannot be read, or its first line is empty.
    pub fn text(&self) -> Result<String> {
        let of_file = |file: &Path| {
            let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            let line = text.lines().next().unwrap_or_default().trim();
            anyhow::ensure!(!line.is_empty(), "the first line of {} is empty", file.display());
            Ok(line.to_owned())
        };
        match self {
            Hidden::Given(secret) => Ok(secret.expose().to_owned()),
            Hidden::File(file) => of_file(file),
        }
    }
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A request.
    Webhook(Webhook),
    /// Requests of which a monitor notices that they do not come: those of healthchecks.
    Ping(Option<Hidden>),
    /// A mail.
    Mail(Mail),
    /// A program, with its arguments.
    Command(Vec<String>),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where to.
    pub url: Option<Hidden>,
    /// What is sent, and how.
    pub preset: Preset,
    /// What the preset puts in for `{to}`.
    pub to: String,
    /// What the preset puts in for `{key}`.
    pub key: Option<Hidden>,
    /// Key that the body is signed with, by Standard Webhooks.
    pub secret: Option<Hidden>,
    /// Bearer token.
    pub token: Option<Hidden>,
}

/// A mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The server: `smtps://`, `smtp://` with STARTTLS, or `smtp+plain://`.
    pub server: String,
    /// Who logs in there, if anybody does.
    pub user: Option<String>,
    /// With which password.
    pub password: Option<Hidden>,
    /// Who it is from.
    pub from: String,
    /// Who it is for.
    pub to: Vec<String>,
}

/// What a service wants to get.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The address, where it is the same for everybody.
    #[serde(default)]
    pub url: Option<String>,
    /// What comes after the address.
    #[serde(default)]
    pub url_suffix: String,
    /// The method.
    #[serde(default = "post")]
    pub method: String,
    /// What the body is.
    #[serde(default = "json")]
    pub content_type: String,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// The most that the message may have.
    pub limit: usize,
    /// Whether that is bytes, and not characters.
    #[serde(default)]
    pub bytes: bool,
}

fn post() -> String {
    "POST".to_owned()
}

fn json() -> String {
    "application/json".to_owned()
}

/// The presets, by name.
const PRESETS: [(&str, &str); 10] = [
    ("webhook", include_str!("presets/webhook.toml")),
    ("slack", include_str!("presets/slack.toml")),
    ("discord", include_str!("presets/discord.toml")),
    ("teams", include_str!("presets/teams.toml")),
    ("telegram", include_str!("presets/telegram.toml")),
    ("ntfy", include_str!("presets/ntfy.toml")),
    ("gotify", include_str!("presets/gotify.toml")),
    ("pagerduty", include_str!("presets/pagerduty.toml")),
    ("alertmanager", include_str!("presets/alertmanager.toml")),
    ("uptime-kuma", include_str!("presets/uptime-kuma.toml")),
];

/// The preset of this name.
#[must_use]
pub fn preset(name: &str) -> Option<Preset> {
    static ALL: LazyLock<BTreeMap<&str, Preset>> = LazyLock::new(|| {
        let parsed = PRESETS
            .iter()
            .filter_map(|(name, text)| Some((*name, toml::from_str(text).ok()?)));
        parsed.collect()
    });
    ALL.get(name).cloned()
}

/// The names of all kinds of channels.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    let presets = PRESETS.iter().map(|(name, _)| *name);
    presets.chain(["ping", "email", "command"])
}

/// A channel.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// How it tells.
    pub way: Way,
    /// Of what.
    pub on: BTreeSet<News>,
    /// Of which jobs; of all when it is empty.
    pub jobs: BTreeSet<String>,
    /// How long it says nothing of what it has told already.
    pub remind_every: Option<TimeDelta>,
    /// After how many failures in a row it tells of them.
    pub after_failures: u32,
    /// When it tells how all jobs are.
    pub digest: Option<Schedule>,
}

impl Channel {
    /// Whether it tells of `job`, or of the section that this is of.
    #[must_use]
    pub fn is_of(&self, job: &str) -> bool {
        let section = job.split(BETWEEN).next().unwrap_or(job);
        self.jobs.is_empty() || self.jobs.contains(job) || self.jobs.contains(section)
    }

    /// Whether it tells of `notice`, where the job has failed `failures` times in a row.
    #[must_use]
    pub fn wants(&self, notice: &Notice, failures: u32) -> bool {
        let job = notice.job.is_empty() || self.is_of(&notice.job);
        let often = notice.news != News::Failed || failures >= self.after_failures || notice.job.is_empty();
        let kind = match self.way {
            // A monitor must hear of all that is well, or it would raise its alarm.
            Way::Ping(_) => matches!(
                notice.news,
                News::Success | News::Recovered | News::Failed | News::Incomplete | News::Collapsed
            ),
            _ => self.on.contains(&notice.news),
        };
        job && often && kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_tells_what_it_is_for() {
        let now = chrono::Utc::now();
        let notice = |news, job: &str| Notice::new(news, job, "", "", now);
        let channel = Channel {
            name: "team".to_owned(),
            way: Way::Command(vec!["true".to_owned()]),
            on: [News::Failed, News::Recovered].into(),
            jobs: ["app".to_owned()].into(),
            remind_every: None,
            after_failures: 3,
            digest: None,
        };
        assert!(!channel.wants(&notice(News::Failed, "app"), 2) && channel.wants(&notice(News::Failed, "app"), 3));
        assert!(
            channel.wants(&notice(News::Recovered, "app"), 0) && !channel.wants(&notice(News::Recovered, "shop"), 0)
        );
        assert!(!channel.wants(&notice(News::Success, "app"), 0));
        // That the configuration is refused is about no job.
        assert!(channel.wants(&notice(News::Failed, ""), 0));
        let monitor = Channel {
            way: Way::Ping(None),
            after_failures: 1,
            ..channel
        };
        assert!(monitor.wants(&notice(News::Success, "app"), 0) && !monitor.wants(&notice(News::Restore, "app"), 0));
    }

    #[test]
    fn every_preset_is_one() {
        for (name, text) in PRESETS {
            let preset: Result<Preset, _> = toml::from_str(text);
            assert!(preset.is_ok(), "{name}: {preset:?}");
        }
    }
}

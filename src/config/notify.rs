//! `[notify.NAME]`: from what was written to a channel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::mistakes::Mistakes;
use super::value::Span;
use super::{check_name, impossible, raw};
use crate::error::Result;
use crate::job::BETWEEN;
use crate::schedule::Schedule;
use crate::secret::Secret;
use crate::watch::notify::channel::{Channel, Hidden, Mail, Preset, Way, Webhook, kinds, preset};
use crate::watch::notify::{News, USUAL};

/// Makes sense of all channels; `jobs` are those that there are.
pub(super) fn channels(
    raw: &BTreeMap<String, raw::Notify>,
    jobs: &BTreeMap<String, raw::Job>,
    now: DateTime<Utc>,
    mistakes: &mut Mistakes,
) -> Vec<Channel> {
    let mut channels = Vec::new();
    for (name, raw) in raw {
        mistakes.keep(check_name("notify", name));
        channels.extend(mistakes.keep(channel(name, raw, jobs, now)));
    }
    channels
}

fn channel(name: &str, raw: &raw::Notify, jobs: &BTreeMap<String, raw::Job>, now: DateTime<Utc>) -> Result<Channel> {
    let wrong = |key: &str, why: &str| impossible(&format!("notify.{name}.{key}"), why);
    let mut on = BTreeSet::new();
    for word in &raw.on.0 {
        on.insert(word.parse::<News>().map_err(|why| wrong("on", &why))?);
    }
    if on.is_empty() {
        on.extend(USUAL);
    }
    let digest = digest(raw, now, &wrong)?;
    match (&digest, on.contains(&News::Digest)) {
        (None, true) => return Err(wrong("on", "digest needs the key digest, a cron expression")),
        // Who says when wants it.
        (Some(_), _) => drop(on.insert(News::Digest)),
        (None, false) => {}
    }
    // The jobs of a section for a whole server have its name before theirs.
    let is_one = |job: &str| jobs.contains_key(job.split(BETWEEN).next().unwrap_or(job));
    if let Some(job) = raw.jobs.0.iter().find(|job| !is_one(job)) {
        return Err(wrong("jobs", &format!("there is no job {job:?}")));
    }
    Ok(Channel {
        name: name.to_owned(),
        way: way(raw, &wrong)?,
        on,
        jobs: raw.jobs.0.iter().cloned().collect(),
        remind_every: raw.remind_every.map(Span::delta),
        after_failures: raw.after_failures.max(1),
        digest,
    })
}

type Wrong<'a> = &'a dyn Fn(&str, &str) -> anyhow::Error;

/// When a summary is due, if one is wanted.
fn digest(raw: &raw::Notify, now: DateTime<Utc>, wrong: Wrong<'_>) -> Result<Option<Schedule>> {
    let zone = raw.time_zone.parse::<Tz>().map_err(|_| {
        let why = format!("{:?} is not a time zone such as Europe/Berlin", raw.time_zone);
        wrong("time_zone", &why)
    })?;
    let Some(text) = &raw.digest else { return Ok(None) };
    if raw.kind == "ping" {
        return Err(wrong("digest", "a ping has no text: use another channel"));
    }
    let schedule = Schedule::parse(text, zone, now).map_err(|fail| wrong("digest", &fail.message))?;
    Ok(Some(schedule))
}

/// A value that may be written, or stand in a file.
fn hidden(given: Option<&Secret>, file: Option<&PathBuf>, key: &str, wrong: Wrong<'_>) -> Result<Option<Hidden>> {
    match (given, file) {
        (Some(_), Some(_)) => Err(wrong(key, &format!("set only one of {key} and {key}_file"))),
        (Some(secret), None) => Ok(Some(Hidden::Given(secret.clone()))),
        (None, file) => Ok(file.map(|file| Hidden::File(file.clone()))),
    }
}

fn way(raw: &raw::Notify, wrong: Wrong<'_>) -> Result<Way> {
    let url = hidden(raw.url.as_ref(), raw.url_file.as_ref(), "url", wrong)?;
    match raw.kind.as_str() {
        "command" => match raw.command.0.first() {
            Some(program) if !program.is_empty() => Ok(Way::Command(raw.command.0.clone())),
            _ => Err(wrong("command", "it must begin with a program")),
        },
        "ping" if url.is_none() => Err(wrong("url", "a ping needs the url of the check")),
        "ping" => Ok(Way::Ping(url)),
        "email" => mail(raw, wrong),
        kind => {
            let Some(preset) = preset(kind) else {
                let kinds: Vec<&str> = kinds().collect();
                return Err(wrong("type", &format!("{kind:?} is none of {}", kinds.join(", "))));
            };
            if url.is_none() && preset.url.is_none() {
                return Err(wrong("url", "it needs the url that the service gave you"));
            }
            Ok(Way::Webhook(Webhook {
                url,
                preset: changed(preset, raw),
                to: raw.to.0.first().cloned().unwrap_or_default(),
                key: hidden(raw.key.as_ref(), raw.key_file.as_ref(), "key", wrong)?,
                secret: hidden(raw.secret.as_ref(), raw.secret_file.as_ref(), "secret", wrong)?,
                token: hidden(raw.token.as_ref(), raw.token_file.as_ref(), "token", wrong)?,
            }))
        }
    }
}

/// A preset, as somebody wants it.
fn changed(mut preset: Preset, raw: &raw::Notify) -> Preset {
    if let Some(method) = &raw.method {
        preset.method.clone_from(method);
    }
    if let Some(body) = &raw.body {
        preset.body.clone_from(body);
    }
    if let Some(kind) = &raw.content_type {
        preset.content_type.clone_from(kind);
    }
    let headers = raw.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
    preset.headers.extend(headers);
    preset
}

fn mail(raw: &raw::Notify, wrong: Wrong<'_>) -> Result<Way> {
    let Some(server) = &raw.smtp else {
        return Err(wrong("smtp", "a mail needs a server, such as smtps://mail.example.com"));
    };
    if !["smtp://", "smtps://", "smtp+plain://"]
        .iter()
        .any(|scheme| server.starts_with(scheme))
    {
        return Err(wrong(
            "smtp",
            "it must begin with smtps://, smtp:// (STARTTLS) or smtp+plain://",
        ));
    }
    let Some(from) = &raw.from else {
        return Err(wrong("from", "a mail needs a sender"));
    };
    if raw.to.0.is_empty() {
        return Err(wrong("to", "a mail needs a recipient"));
    }
    Ok(Way::Mail(Mail {
        server: server.clone(),
        user: raw.user.clone(),
        password: hidden(raw.password.as_ref(), raw.password_file.as_ref(), "password", wrong)?,
        from: from.clone(),
        to: raw.to.0.clone(),
    }))
}

//! A job on the page: its card, and all that there is to say of it.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use indicatif::{HumanBytes, HumanCount};

use super::chart::{curve, strip};
use super::{Links, escape, time};
use crate::manifest::Kind;
use crate::watch::history::Run;
use crate::watch::status::{BackupStatus, JobStatus, span};

/// The card of a job on the first page.
pub fn card(job: &JobStatus, now: DateTime<Utc>, links: Links) -> String {
    let name = escape(&job.job);
    let link = match links {
        Links::Server => format!("/jobs/{name}"),
        Links::File => format!("#job-{name}"),
    };
    format!(
        "<article class=\"card\"><div class=\"head\"><h2><a href=\"{link}\">{name}</a></h2>{}</div>{}{}{}{}{}</article>",
        mark(job),
        facts(job, now),
        strip(&job.days),
        curves(job),
        running(job),
        problems(job)
    )
}

fn mark(job: &JobStatus) -> &'static str {
    match job.fresh {
        true => "<span class=\"mark\">✓ fresh</span>",
        false => "<span class=\"mark bad\">✗ not fresh</span>",
    }
}

fn fact(html: &mut String, name: &str, value: &str) {
    let _ = write!(html, "<dt>{name}</dt><dd>{value}</dd>");
}

fn facts(job: &JobStatus, now: DateTime<Utc>) -> String {
    let mut html = "<dl>".to_owned();
    match &job.newest {
        None => fact(&mut html, "Newest", "none"),
        Some(newest) => {
            let age = format!("{} ago, {}", span(newest.age_seconds), time(newest.at, &job.zone));
            fact(&mut html, "Newest", &age);
            if let Some(proven) = &newest.proven {
                let how = format!(
                    "{}, {} ago, {}",
                    escape(proven.words()),
                    span((now - proven.at).as_seconds_f64()),
                    time(proven.at, &job.zone)
                );
                fact(&mut html, "Proven", &how);
            }
            let size = format!("{}, {} rows", HumanBytes(newest.bytes), HumanCount(newest.rows));
            fact(&mut html, "Size", &size);
            fact(&mut html, "Took", &took(newest.seconds));
        }
    }
    if let Some(max_age) = job.max_age_seconds {
        fact(&mut html, "Max age", &span(max_age));
    }
    let next = job
        .next_run
        .map_or_else(|| "by hand only".to_owned(), |next| time(next, &job.zone));
    fact(&mut html, "Next run", &next);
    html + "</dl>"
}

/// How long something took, which is often less than a second.
fn took(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 60.0 => format!("{seconds:.1} s"),
        seconds => span(seconds),
    }
}

fn problems(job: &JobStatus) -> String {
    if job.problems.is_empty() {
        return String::new();
    }
    let items: String = job
        .problems
        .iter()
        .map(|it| format!("<li>{}</li>", escape(it)))
        .collect();
    format!("<ul class=\"problems\">{items}</ul>")
}

/// Size and duration of the good backups over time.
fn curves(job: &JobStatus) -> String {
    let is_regular = |backup: &&BackupStatus| backup.good && backup.of_job && backup.kind != Kind::Safety;
    let mut backups: Vec<&BackupStatus> = job.backups.iter().filter(is_regular).collect();
    backups.reverse();
    #[allow(clippy::cast_precision_loss)] // a picture is not that exact
    let sizes: Vec<_> = backups.iter().map(|it| (it.id.time(), it.bytes as f64)).collect();
    let times: Vec<_> = backups.iter().map(|it| (it.id.time(), it.seconds)).collect();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it was whole before
    let size = curve("Size", &sizes, &job.zone, |bytes| HumanBytes(bytes as u64).to_string());
    size + &curve("Duration", &times, &job.zone, took)
}

fn running(job: &JobStatus) -> String {
    let mut html = String::new();
    for run in &job.running {
        let reached = run.reached.as_ref();
        let step = reached.map_or("under way", |reached| reached.step.as_str());
        let _ = write!(
            html,
            "<p>{} since {}: {}</p>",
            run.verb.name(),
            time(run.started, &job.zone),
            escape(step)
        );
        if let Some(reached) = reached.filter(|reached| reached.total > 0) {
            let (done, total) = (reached.done.min(reached.total), reached.total);
            let _ = write!(
                html,
                "<progress max=\"{total}\" value=\"{done}\" aria-label=\"{}\">{} of {}</progress>",
                escape(step),
                HumanBytes(done),
                HumanBytes(total)
            );
        }
    }
    html
}

/// All that there is to say of a job.
pub fn section(job: &JobStatus, now: DateTime<Utc>, links: Links) -> String {
    let schedule = match &job.schedule {
        Some(schedule) => format!(
            "<p class=\"dim\">Runs at <code>{}</code>{}{}, {}</p>",
            escape(schedule),
            job.window
                .as_ref()
                .map_or_else(String::new, |window| format!(", starts within {}", escape(window))),
            match job.jitter_seconds {
                seconds if seconds > 0.0 => format!(", up to {} later", span(seconds)),
                _ => String::new(),
            },
            escape(&job.zone)
        ),
        None => "<p class=\"dim\">Runs by hand only</p>".to_owned(),
    };
    format!(
        "<div class=\"head\"><h1>{}</h1>{}</div><p class=\"dim\">{}</p>{}{}{}<h2>The last 30 days</h2>{}{}<h2>Stores</h2>{}\
         <h2>Backups that can be restored now</h2>{}{}<h2>What was run</h2>{}",
        escape(&job.job),
        mark(job),
        escape(&job.database),
        problems(job),
        running(job),
        facts(job, now),
        strip(&job.days),
        curves(job),
        stores(job),
        backups(job),
        kept(job),
        runs(job, links),
    ) + &schedule
}

fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return "<p class=\"dim\">None.</p>".to_owned();
    }
    let class = |text: &str| if text.starts_with('>') { " class=\"n\"" } else { "" };
    let heads: String = headings
        .iter()
        .map(|text| format!("<th scope=\"col\"{}>{}</th>", class(text), text.trim_start_matches('>')))
        .collect();
    let mut html = format!("<div class=\"scroll\" tabindex=\"0\"><table><thead><tr>{heads}</tr></thead><tbody>");
    for row in rows {
        let cells = row.iter().zip(headings);
        let cells: String = cells
            .map(|(cell, heading)| format!("<td{}>{cell}</td>", class(heading)))
            .collect();
        let _ = write!(html, "<tr>{cells}</tr>");
    }
    html + "</tbody></table></div>"
}

fn stores(job: &JobStatus) -> String {
    let rows: Vec<Vec<String>> = job
        .stores
        .iter()
        .map(|store| {
            let state = match (&store.error, store.fresh) {
                (Some(error), _) => escape(error),
                (None, true) => "fresh".to_owned(),
                (None, false) => "not fresh".to_owned(),
            };
            vec![
                escape(&store.store),
                escape(&store.at),
                state,
                store.newest.map_or_else(String::new, |id| time(id.time(), &job.zone)),
                store.restorable.to_string(),
                HumanBytes(store.bytes).to_string(),
                store.room.map(|room| HumanBytes(room).to_string()).unwrap_or_default(),
                store.deletes_next.len().to_string(),
            ]
        })
        .collect();
    let headings = [
        "Store",
        "Where",
        "State",
        "Newest",
        ">Restorable",
        ">Size",
        ">Free",
        ">Go after the next run",
    ];
    table(&headings, &rows)
}

fn backups(job: &JobStatus) -> String {
    let rows: Vec<Vec<String>> = job
        .backups
        .iter()
        .map(|backup| {
            let mut notes: Vec<String> = Vec::new();
            if !backup.good {
                notes.push("not good".to_owned());
            }
            if !backup.of_job {
                notes.push("of another database".to_owned());
            }
            if let Some(label) = &backup.label {
                notes.push(escape(label));
            }
            let copies = backup.copies.iter().map(|copy| {
                let reasons: Vec<String> = copy.reasons.iter().map(ToString::to_string).collect();
                escape(&format!("{}: {}", copy.store, reasons.join(", ")))
            });
            notes.extend(copies);
            let proven = backup.proven.as_ref();
            let proven = proven.map(|it| format!("{}, {}", escape(it.words()), time(it.at, &job.zone)));
            vec![
                format!("<code>{}</code>", backup.id),
                backup.kind.to_string(),
                HumanBytes(backup.bytes).to_string(),
                HumanCount(backup.rows).to_string(),
                took(backup.seconds),
                proven.unwrap_or_default(),
                notes.join("<br>"),
            ]
        })
        .collect();
    table(
        &["Backup", "Kind", ">Size", ">Rows", ">Took", "Proven", "Kept because"],
        &rows,
    )
}

fn kept(job: &JobStatus) -> String {
    let Some(kept) = job.kept.as_ref().filter(|kept| !kept.is_empty()) else {
        return String::new();
    };
    let rows: Vec<Vec<String>> = kept
        .iter()
        .map(|kept| {
            let bytes = kept.bytes.and_then(|bytes| u64::try_from(bytes).ok());
            vec![
                escape(&kept.name),
                time(kept.since, &job.zone),
                bytes.map(|bytes| HumanBytes(bytes).to_string()).unwrap_or_default(),
            ]
        })
        .collect();
    format!(
        "<h2>Databases that restores replaced</h2>{}",
        table(&["Database", "Replaced", ">Size"], &rows)
    )
}

fn runs(job: &JobStatus, links: Links) -> String {
    let rows: Vec<Vec<String>> = job
        .runs
        .iter()
        .map(|run| {
            let verb = match links {
                Links::Server => format!("<a href=\"/runs/{}\">{}</a>", run.run, run.verb.name()),
                Links::File => run.verb.name().to_owned(),
            };
            vec![
                time(run.started, &job.zone),
                verb,
                run.outcome.name().to_owned(),
                run.seconds.map(took).unwrap_or_default(),
                run.facts.error.as_deref().map(escape).unwrap_or_default(),
            ]
        })
        .collect();
    table(&["Began", "What", "Outcome", ">Took", "Why it failed"], &rows)
}

/// All that is known of a run.
pub fn run(run: &Run) -> String {
    // A configuration that was reread is of no job.
    let of = match run.job.as_str() {
        "" => String::new(),
        job => format!(" of {}", escape(job)),
    };
    let mut html = format!("<h1>{}{of}: {}</h1><dl>", run.verb.name(), run.outcome.name());
    fact(&mut html, "Began", &time(run.started, "UTC"));
    if let (Some(ended), Some(seconds)) = (run.ended, run.seconds) {
        fact(
            &mut html,
            "Ended",
            &format!("{}, after {}", time(ended, "UTC"), took(seconds)),
        );
    }
    fact(&mut html, "By", &escape(&run.by));
    let facts = &run.facts;
    if let Some(id) = facts.backup {
        fact(&mut html, "Backup", &format!("<code>{id}</code>"));
    }
    if let Some(bytes) = facts.bytes {
        fact(&mut html, "Size", &HumanBytes(bytes).to_string());
    }
    if let Some(rows) = facts.rows {
        fact(&mut html, "Rows", &HumanCount(rows).to_string());
    }
    if let Some(exit) = facts.exit {
        fact(&mut html, "Exit code", &exit.to_string());
    }
    html.push_str("</dl>");
    if let Some(error) = &facts.error {
        let _ = write!(html, "<h2>Why it failed</h2><pre>{}</pre>", escape(error));
    }
    if let Some(hint) = &facts.hint {
        let _ = write!(html, "<h2>What to do</h2><pre>{}</pre>", escape(hint));
    }
    let lacking = facts
        .lacking
        .iter()
        .map(|(store, why)| format!("no copy in {store}: {why}"));
    let notes: Vec<String> = lacking
        .chain(facts.collapsed.iter().cloned())
        .chain(facts.warnings.iter().cloned())
        .collect();
    if !notes.is_empty() {
        let items: String = notes.iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
        let _ = write!(html, "<h2>What it said</h2><ul>{items}</ul>");
    }
    match run.job.as_str() {
        "" => html,
        job => html + &format!("<p><a href=\"/jobs/{0}\">All of {0}</a></p>", escape(job)),
    }
}

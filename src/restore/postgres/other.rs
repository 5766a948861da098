//! Whether what is restored was made of another database than the one that it would replace. Whoever is in the wrong folder, or
//! has the wrong URL, is told so first of all, and has to say that it is meant.

use serde::Serialize;

use super::origin::Content;
use super::plan::{Obstacle, Plan, Subject};
use crate::engine::postgres::identity;
use crate::error::{Exit, Fail, Result};
use crate::find::{Found, FromOther, find};
use crate::job::{Job, name_of};
use crate::manifest::{Difference, Identity, Source};
use crate::shelf::Stock;

/// That what is restored is of another database.
#[derive(Clone, Debug, Serialize)]
pub struct Other {
    /// In one sentence.
    pub what: String,
    /// How it differs; unknown of files, which tell only a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
}

/// Notes in `plan` whether `content` is of another database than `here`, and refuses it where something would be replaced and
/// nobody said that it is meant.
pub async fn note(plan: &mut Plan, content: &Content, here: &Identity, meant: FromOther<'_>) {
    if plan.mode == "new" {
        return;
    }
    let replaces = plan.replaces.is_some();
    let Some(source) = content.source() else {
        plan.other = file(plan, replaces);
        return;
    };
    let mut difference = here.difference(source);
    if difference.address && identity::is_one(&here.places, &source.place()).await {
        difference.address = false;
    }
    if let FromOther::Named(name) = meant
        && name != source.database
    {
        let what = format!("--from-other names {name:?}, and this is a backup of {source}");
        let hint = format!("--from-other={} restores it", source.database);
        plan.obstacles.insert(0, Obstacle::new(Exit::Refused, what, hint));
    }
    if difference.is_none() {
        return;
    }
    let verb = if replaces { "would replace" } else { "becomes" };
    let sentence = format!("a backup of {source} {verb} {} on {}", here.database, plan.server);
    if replaces && meant == FromOther::Refused {
        let hint = format!(
            "if that is meant, add --from-other={}; if not, look which database the URL names, and `snapback list` which \
             backups are of it",
            source.database
        );
        plan.obstacles
            .insert(0, Obstacle::new(Exit::Refused, sentence.clone(), hint));
    }
    plan.other = Some(Other {
        what: sentence + &why(difference, here, source),
        difference: Some(difference),
    });
}

/// Looks for a backup that the job does not have where other jobs have theirs, in the same stores: without a configuration
/// each database has a folder of its own. `error` is that of the job.
///
/// # Errors
/// There is none such either, there are several, or nobody said that it may be another database's.
pub async fn elsewhere(job: &Job, which: &str, meant: FromOther<'_>, error: anyhow::Error) -> Result<Found> {
    let names = match meant {
        FromOther::Named(name) => [name_of(name)].into(),
        FromOther::Refused | FromOther::Any => Stock::others(job).await,
    };
    if meant == FromOther::Refused {
        let Some(name) = names.first().filter(|_| which == "latest") else {
            return Err(error);
        };
        let others: Vec<&str> = names.iter().map(String::as_str).collect();
        let hint = format!(
            "there are backups of other jobs there: {}; --from-other={name} restores one over this database",
            others.join(", ")
        );
        return Err(Fail::new(Exit::NotFound, format!("{error:#}")).hint(hint).into());
    }
    let mut found = Vec::new();
    for name in names {
        let stock = Stock::of_other(&name, job).await?;
        if let Ok(backup) = find(&stock, job, which, meant.name()).await {
            found.push((name, backup));
        }
    }
    if let [_, _, ..] = found.as_slice() {
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        let message = format!("several jobs have such a backup: {}", names.join(", "));
        return Err(Fail::new(Exit::Usage, message)
            .hint("say which database is meant: --from-other=NAME")
            .into());
    }
    found.pop().map_or(Err(error), |(_, backup)| Ok(backup))
}

/// What names do not show.
fn why(difference: Difference, here: &Identity, source: &Source) -> String {
    if difference.address {
        return " (its system identifier is the same: a standby, or a copy of that server)".to_owned();
    }
    match (difference.server, here.system_identifier, source.system_identifier) {
        (true, Some(ours), Some(theirs)) => {
            format!(" (another server: its system identifier is {ours}, and was {theirs})")
        }
        (true, ..) => " (another address: the system identifiers that would tell more cannot be read)".to_owned(),
        (false, ..) => String::new(),
    }
}

/// A file was named on purpose, and is often one of production for a copy of it: that is told and not refused.
fn file(plan: &Plan, replaces: bool) -> Option<Other> {
    let Subject::File(file) = &plan.what else { return None };
    let database = file.database.as_ref().filter(|name| **name != plan.database)?;
    let verb = if replaces { "would replace" } else { "becomes" };
    Some(Other {
        what: format!("a dump of {database} {verb} {} on {}", plan.database, plan.server),
        difference: None,
    })
}

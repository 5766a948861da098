//! What a dump from elsewhere would do beyond its own database, and what of it is not restored: refused, or told, before
//! anything is touched.

use std::collections::BTreeMap;

use crate::archive::script::{Kind, Reach, Statement, reach, reach_of};
use crate::archive::toc::Entry;
use crate::error::{Exit, Fail, Result};

/// What was found in a dump, each with where it is.
#[derive(Clone, Debug, Default)]
pub struct Beyond {
    refused: Vec<String>,
    told: BTreeMap<String, Places>,
}

/// Where something is: the first places, and how many there are.
#[derive(Clone, Debug, Default)]
struct Places {
    first: Vec<String>,
    all: usize,
}

/// As many places are named.
const NAMED: usize = 5;

impl Places {
    fn add(&mut self, place: String) {
        self.all += 1;
        if self.first.len() < NAMED {
            self.first.push(place);
        }
    }
}

impl Beyond {
    /// What the definitions of an archive reach.
    #[must_use]
    pub fn of_entries(entries: &[Entry]) -> Beyond {
        let mut beyond = Beyond::default();
        for entry in entries {
            let place = || match &entry.namespace {
                Some(schema) => format!("{} {schema}.{}", entry.desc, entry.tag),
                None => format!("{} {}", entry.desc, entry.tag),
            };
            for sql in [&entry.defn, &entry.copy_stmt] {
                if let Some(found) = reach_of(sql) {
                    beyond.add(place(), found);
                }
            }
        }
        beyond
    }

    /// Takes note of a statement of a script.
    pub fn statement(&mut self, statement: &Statement, kind: &Kind) {
        let place = format!("line {}", statement.line);
        match (kind, reach(statement, kind)) {
            (_, Some(Reach::Refused(why))) => self.refused.push(format!("{place}: {why}")),
            (Kind::Cluster, _) => self.left_out("it is about the whole server", &statement.name(), &place),
            (_, Some(found)) => self.add(place, found),
            (_, None) => {}
        }
    }

    /// Takes note of what only prints.
    pub fn prints(&mut self, what: &str, line: u64) {
        self.left_out("it only prints", what, &format!("line {line}"));
    }

    fn left_out(&mut self, why: &str, what: &str, place: &str) {
        let place = format!("{what} ({place})");
        self.told
            .entry(format!("not restored, because {why}"))
            .or_default()
            .add(place);
    }

    fn add(&mut self, place: String, found: Reach) {
        match found {
            Reach::Refused(why) => self.refused.push(format!("{place}: {why}")),
            Reach::Told(what) => self.told.entry(format!("it brings {what}")).or_default().add(place),
        }
    }

    /// What a person should know.
    ///
    /// # Errors
    /// [`Exit::Usage`]: something in it was found that no dump has, and that is not `allowed`.
    pub fn check(&self, allowed: bool) -> Result<Vec<String>> {
        let refused = self.refused.len();
        let first: Vec<&str> = self.refused.iter().take(NAMED).map(String::as_str).collect();
        let more = match refused.saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let all = format!("{}{more}", first.join("; "));
        if refused > 0 && !allowed {
            return Err(Fail::new(
                Exit::Usage,
                format!("it would reach beyond its database, as no dump does: {all}"),
            )
            .hint(
                "see where the file comes from, and what these lines do; --allow-server-programs runs them, with the rights of \
                 the role that restores",
            )
            .into());
        }
        let allowed =
            (refused > 0).then(|| format!("allowed, and run with the rights of the role that restores: {all}"));
        let told = self.told.iter().map(|(what, places)| {
            let more = match places.all.saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{what}: {}{more}", places.first.join(", "))
        });
        Ok(allowed.into_iter().chain(told).collect())
    }
}

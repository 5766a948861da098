//! What a plan says of failures: those that are passed over, and those that are known before.

use super::plan::{Mode, Obstacle, Plan};
use super::trial::Refused;
use crate::archive::toc::Entry;
use crate::engine::postgres::load::missing::Tolerance;
use crate::error::Exit;

impl Plan {
    /// Says what is left out, and what failures are passed over.
    pub fn tolerate(&mut self, tolerance: Tolerance, accept_missing: bool, entries: &[Entry]) {
        let views = entries.iter().filter(|entry| entry.desc == "MATERIALIZED VIEW DATA");
        let views: Vec<_> = views.map(named).collect();
        if tolerance.skip_refresh && !views.is_empty() {
            self.warnings.push(format!(
                "these materialized views are left unpopulated (--skip-refresh): {}",
                views.join(", ")
            ));
        }
        if tolerance.keep_going {
            let then = match (accept_missing, self.mode) {
                (_, "new") => "it is listed at the end",
                (true, _) => "what is live is replaced all the same (--accept-missing)",
                (false, _) => "what is live is not replaced then",
            };
            self.warnings.push(format!(
                "statements that fail are passed over (--keep-going); where something is missing, {then}"
            ));
            let (passed, kept) = std::mem::take(&mut self.obstacles)
                .into_iter()
                .partition(|it| it.passable);
            self.obstacles = kept;
            let passed: Vec<Obstacle> = passed;
            let told = passed.into_iter();
            self.warnings
                .extend(told.map(|it| format!("{}: what needs that will be missing", it.what)));
        }
    }

    /// Says which extensions the server does not create in a new database.
    pub fn refused_extensions(&mut self, refused: &[Refused], mode: Mode<'_>, keep_going: bool) {
        for it in refused {
            let what = format!(
                "the extension {} cannot be created in a new database: {}",
                it.extension, it.why
            );
            if keep_going {
                self.warnings.push(format!("{what}; what needs it will be missing"));
                continue;
            }
            let hint = match (mode, &self.replaces) {
                (Mode::New(_), _) | (_, None) => "--keep-going restores what does not need it",
                _ => {
                    "restore with --mode in-place, which makes no new database; --keep-going restores what does not \
                     need the extension"
                }
            };
            self.obstacles.push(Obstacle::new(Exit::Failure, what, hint).passable());
        }
    }
}

fn named(entry: &Entry) -> String {
    match &entry.namespace {
        Some(schema) => format!("{schema}.{}", entry.tag),
        None => entry.tag.clone(),
    }
}

//! What a restore may go on without, and what it went on without.

use crate::engine::postgres::load::missing::{Missing, Tolerance};

/// Options that let a restore go past failures.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Failures {
    /// Go on after statements that fail, and list what is missing, with its SQL; a restore that replaces the live database
    /// ends without replacing it then
    #[arg(long)]
    keep_going: bool,
    /// Replace the live database also where something is missing
    #[arg(long, requires = "keep_going")]
    accept_missing: bool,
    /// Leave materialized views unpopulated
    #[arg(long)]
    skip_refresh: bool,
}

impl Failures {
    /// The failures that are passed over.
    pub fn tolerance(self) -> Tolerance {
        Tolerance {
            keep_going: self.keep_going,
            skip_refresh: self.skip_refresh,
        }
    }

    /// Whether what is live is replaced also where something is missing.
    pub fn accept_missing(self) -> bool {
        self.accept_missing
    }
}

/// What is missing as a script that would make it: the reasons are comments in it.
pub fn text(missing: &[Missing]) -> String {
    let mut lines = vec!["missing, with the statements that make it:".to_owned()];
    for it in missing {
        let comment = format!("{}: {}", it.what, it.why);
        lines.extend(comment.lines().map(|line| format!("-- {line}")));
        lines.push(match it.rows {
            // The rows themselves are in the backup.
            true => format!("-- {}", it.sql.lines().next().unwrap_or_default()),
            false => it.sql.clone(),
        });
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_a_script() {
        let missing = |what: &str, sql: &str, rows| Missing {
            what: what.to_owned(),
            why: "no\nway".to_owned(),
            sql: sql.to_owned(),
            rows,
            derived: false,
            entry: None,
            owned: None,
        };
        let all = [
            missing("INDEX s.i", "CREATE INDEX i ON s.t (f(x));", false),
            missing("TABLE DATA s.t", "COPY s.t (x) FROM stdin;", true),
        ];
        assert_eq!(
            text(&all),
            "missing, with the statements that make it:\n-- INDEX s.i: no\n-- way\nCREATE INDEX i ON s.t (f(x));\n\
             -- TABLE DATA s.t: no\n-- way\n-- COPY s.t (x) FROM stdin;"
        );
    }
}

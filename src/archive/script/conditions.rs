//! psql's `\if`, as far as it is about plain truth values.

use super::cut;
use crate::error::{Exit, Fail, Result};

/// The conditions that stand around what is read.
#[derive(Debug, Default)]
pub(super) struct Conditions(Vec<Condition>);

#[derive(Debug)]
struct Condition {
    /// The line of its `\if`.
    line: u64,
    /// What is read now counts, as far as this condition is concerned.
    holds: bool,
    /// Some part of it has counted.
    held: bool,
}

impl Conditions {
    /// Whether what is read now counts.
    pub(super) fn hold(&self) -> bool {
        self.0.iter().all(|condition| condition.holds)
    }

    /// `\if` in `line`.
    pub(super) fn begin(&mut self, line: u64, holds: bool) {
        self.0.push(Condition {
            line,
            holds,
            held: holds,
        });
    }

    /// `\elif` or `\else`.
    ///
    /// # Errors
    /// There is no `\if`.
    pub(super) fn otherwise(&mut self, holds: bool) -> Result<()> {
        let condition = self.0.last_mut().ok_or_else(without_if)?;
        condition.holds = holds && !condition.held;
        condition.held |= condition.holds;
        Ok(())
    }

    /// `\endif`.
    ///
    /// # Errors
    /// There is no `\if`.
    pub(super) fn over(&mut self) -> Result<()> {
        self.0.pop().map(drop).ok_or_else(without_if)
    }

    /// The end of the script.
    ///
    /// # Errors
    /// A condition is open.
    pub(super) fn end(&self) -> Result<()> {
        match self.0.last() {
            Some(condition) => Err(cut(format!("the \\if in line {} has no \\endif", condition.line))),
            None => Ok(()),
        }
    }
}

fn without_if() -> anyhow::Error {
    Fail::new(Exit::Usage, "there is no \\if for it")
        .hint(super::REFUSED)
        .into()
}

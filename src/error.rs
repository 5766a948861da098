//! What a person reads when something fails, and the exit code that a script reads.
//!
//! Errors are `anyhow` chains: each layer adds what it was doing. [`Fail`] in the chain carries what
//! `anyhow` does not: a hint on what to do, and the [`Exit`] class of the failure.

use std::fmt;

/// The result of everything that can fail in Snapback.
pub type Result<T, E = anyhow::Error> = std::result::Result<T, E>;

/// Process exit codes: docs/which-backup.md documents them, so scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Something failed that no other code names.
    Failure = 1,
    /// The command line or the configuration is wrong; nothing was touched.
    Usage = 2,
    /// The job, backup or database that was named does not exist.
    NotFound = 3,
    /// The database could not be reached, or refused the login.
    Unreachable = 4,
    /// Another run of the same job is under way.
    Busy = 5,
    /// A backup or archive is damaged, or does not prove what its manifest says.
    Damaged = 6,
    /// The confirmation was not given.
    Refused = 7,
    /// The role lacks a right that the run needs.
    Permission = 8,
    /// A backup is encrypted, and no secret key at hand opens it.
    NoKey = 9,
    /// The backup exists, but not as it should: a store lacks its copy, or it collapsed and `--strict` was asked for. Or
    /// something of it is missing in what was restored, and listed.
    Incomplete = 10,
    /// Two states that were compared differ, and `--exit-code` was given.
    Differs = 11,
    /// A check that the operator wrote is not true: after the command of a guard that went well, or in a drill.
    CheckFailed = 12,
    /// The command of a guard is no program that may be run.
    CommandNotRun = 126,
    /// There is no such command.
    CommandNotFound = 127,
    /// A job has no fresh, proven backup.
    NotFresh = 13,
    /// A signal ended the run.
    Interrupted = 130,
}

/// A failure with a hint and an exit class.
#[derive(Clone, Debug)]
pub struct Fail {
    /// Exit class, for scripts.
    pub exit: Exit,
    /// What failed, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Fail {
    /// A failure of class `exit` that says `message`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Fail {
            exit,
            message: message.into(),
            hint: None,
        }
    }

    /// The same failure with a hint what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fail {}

/// The exit class of an error: that of the outermost [`Fail`] in its chain.
#[must_use]
pub fn exit_of(error: &anyhow::Error) -> Exit {
    fails(error).next().map_or(Exit::Failure, |fail| fail.exit)
}

/// Whether an error says what it is, as an [`Exit`].
#[must_use]
pub fn is_classified(error: &anyhow::Error) -> bool {
    fails(error).next().is_some()
}

/// `error`, which kept `what` from being read, as damage of it; unless it says itself what it is: a store that cannot be
/// reached has damaged nothing.
#[must_use]
pub fn damage(what: impl fmt::Display, error: anyhow::Error) -> anyhow::Error {
    let exit = fails(&error).next().map(|fail| fail.exit);
    match exit {
        Some(exit) if exit != Exit::Damaged => error.context(what.to_string()),
        _ => Fail::new(Exit::Damaged, format!("{what}: {error:#}")).into(),
    }
}

/// The hint of an error: that of the outermost [`Fail`] in its chain that has one.
#[must_use]
pub fn hint_of(error: &anyhow::Error) -> Option<&str> {
    fails(error).find_map(|fail| fail.hint.as_deref())
}

/// The failures in an error, the outermost first. One that was added as context is no link of the chain itself,
/// which is why `anyhow`'s own downcast goes first.
fn fails(error: &anyhow::Error) -> impl Iterator<Item = &Fail> {
    let outermost = error.downcast_ref::<Fail>();
    outermost
        .into_iter()
        .chain(error.chain().filter_map(|cause| cause.downcast_ref::<Fail>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_nothing_else_is_damage() {
        let exits = [
            anyhow::anyhow!("odd bytes"),
            Fail::new(Exit::Permission, "refused").into(),
        ]
        .map(|error| exit_of(&damage("reading x", error)));
        assert_eq!(exits, [Exit::Damaged, Exit::Permission]);
    }

    #[test]
    fn a_failure_is_found_wherever_it_is_in_the_chain() {
        let fail = || Fail::new(Exit::Busy, "busy").hint("wait");
        let errors = [
            anyhow::Error::from(fail()),
            anyhow::Error::from(fail()).context("outside"),
            anyhow::anyhow!("inside").context(fail()),
            anyhow::anyhow!("inside").context(fail()).context("outside"),
            anyhow::Error::from(fail()).context(Fail::new(Exit::Busy, "outer")),
        ];
        for error in errors {
            assert_eq!(
                (exit_of(&error), hint_of(&error)),
                (Exit::Busy, Some("wait")),
                "{error:#}"
            );
        }
    }
}

//! What a person reads when something fails, and the exit code that a script reads.
//!
//! Errors are `anyhow` chains: each layer adds what it was doing. [`Fail`] in the chain carries what
//! `anyhow` does not: a hint on what to do, and the [`Exit`] class of the failure.

use std::fmt;

/// The result of everything that can fail in Snapback.
pub type Result<T, E = anyhow::Error> = std::result::Result<T, E>;

/// Process exit codes: the README documents them, so scripts may rely on them.
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
    /// A signal ended the run.
    Interrupted = 130,
}

/// A failure with a hint and an exit class.
#[derive(Debug)]
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
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Fail>())
        .map_or(Exit::Failure, |fail| fail.exit)
}

/// The hint of an error: that of the outermost [`Fail`] in its chain that has one.
#[must_use]
pub fn hint_of(error: &anyhow::Error) -> Option<&str> {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Fail>())
        .find_map(|fail| fail.hint.as_deref())
}

//! What a checkup finds: things that would go wrong, or are fine.

use serde::Serialize;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is fine.
    Fine,
    /// It may go wrong, or is not as it should be.
    Warning,
    /// The next backup, or a restore, fails.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at, in a word or two.
    pub about: String,
    /// What was seen.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    /// It is fine.
    #[must_use]
    pub fn fine(about: &str, message: impl Into<String>) -> Self {
        Finding {
            severity: Severity::Fine,
            about: about.to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    /// It may go wrong.
    #[must_use]
    pub fn warning(about: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Finding {
            severity: Severity::Warning,
            hint: Some(hint.into()),
            ..Finding::fine(about, message)
        }
    }

    /// It goes wrong.
    #[must_use]
    pub fn error(about: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Finding {
            severity: Severity::Error,
            ..Finding::warning(about, message, hint)
        }
    }
}

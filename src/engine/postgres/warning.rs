//! What a dump warns of.

use std::fmt;

/// A warning, in pg_dump's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warning {
    /// What is wrong.
    pub text: String,
    /// With which objects.
    pub details: Vec<String>,
    /// What can be done about it.
    pub hints: Vec<&'static str>,
}

impl Warning {
    /// A warning that says it all in one sentence.
    pub fn new(text: impl Into<String>) -> Self {
        Warning {
            text: text.into(),
            ..Warning::default()
        }
    }
}

/// On one line, for logs and manifests.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if !self.details.is_empty() {
            write!(f, ": {}", self.details.join(", "))?;
        }
        Ok(())
    }
}

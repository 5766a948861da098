//! What is wrong with a configuration: all of it at once, each with its key and where it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::error::{Exit, Fail, Result, hint_of};

/// Where keys stand: in a line of the file, or in a variable of the environment.
pub(super) type Places = BTreeMap<String, String>;

/// One mistake.
#[derive(Clone, Debug)]
pub(super) struct Mistake {
    /// The key that it is about, as `jobs.app.url`.
    pub(super) key: String,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// Where it stands, where that is known better than by its key.
    pub(super) place: Option<String>,
}

impl Mistake {
    pub(super) fn new(key: &str, message: impl Into<String>) -> Self {
        Mistake {
            key: key.to_owned(),
            message: message.into(),
            hint: None,
            place: None,
        }
    }

    pub(super) fn at(mut self, place: String) -> Self {
        self.place = Some(place);
        self
    }

    pub(super) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

/// All mistakes that were found.
#[derive(Default)]
pub(super) struct Mistakes {
    found: Vec<Mistake>,
    places: Places,
}

impl Mistakes {
    /// None yet, with where keys stand.
    pub(super) fn new(places: Places) -> Self {
        Mistakes {
            found: Vec::new(),
            places,
        }
    }

    pub(super) fn add(&mut self, mistake: Mistake) {
        // An unknown section is one mistake, however many keys it has.
        let same = |other: &Mistake| other.key == mistake.key && other.message == mistake.message;
        if mistake.key.is_empty() || !self.found.iter().any(same) {
            let place = mistake.place.clone().or_else(|| self.place(&mistake.key));
            self.found.push(Mistake { place, ..mistake });
        }
    }

    /// Where a key stands, or else the section that it should be in.
    fn place(&self, key: &str) -> Option<String> {
        let parents = std::iter::successors(Some(key), |key| key.rsplit_once('.').map(|(parent, _)| parent));
        parents.into_iter().find_map(|key| self.places.get(key).cloned())
    }

    /// The value, or a mistake more.
    pub(super) fn keep<T>(&mut self, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(match error.downcast::<Mistake>() {
                    Ok(mistake) => mistake,
                    Err(error) => Mistake::new("", format!("{error:#}")).hint(hint_of(&error).map(str::to_owned)),
                });
                None
            }
        }
    }

    /// The same for what fails in words that name no key.
    pub(super) fn keep_about<T>(&mut self, key: &str, outcome: Result<T>) -> Option<T> {
        let about =
            |error: anyhow::Error| Mistake::new(key, format!("{error:#}")).hint(hint_of(&error).map(str::to_owned));
        self.keep(outcome.map_err(|error| about(error).into()))
    }

    /// The value, if nothing is wrong.
    pub(super) fn end<T>(self, value: Option<T>) -> Result<T> {
        match (value, self.found.as_slice()) {
            (Some(value), []) => Ok(value),
            (_, found) => Err(fail(found).into()),
        }
    }
}

fn fail(found: &[Mistake]) -> Fail {
    if let [one] = found {
        let mut fail = Fail::new(Exit::Usage, format!("configuration: {one}"));
        fail.hint = one.hint.clone();
        return fail.or_hint();
    }
    let line = |mistake: &Mistake| match &mistake.hint {
        Some(hint) => format!("\n{mistake} ({hint})"),
        None => format!("\n{mistake}"),
    };
    let lines: String = found.iter().map(line).collect();
    Fail::new(
        Exit::Usage,
        format!("the configuration has {} mistakes:{lines}", found.len()),
    )
    .or_hint()
}

impl Fail {
    /// A mistake has at least the hint where right ones can be seen.
    fn or_hint(self) -> Fail {
        match self.hint {
            None => self.hint("config.example.toml shows every key"),
            Some(_) => self,
        }
    }
}

/// Line and column of a byte of the file's text, for people and editors.
pub(super) fn place(file: &Path, text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{}:{line}:{column}", file.display())
}

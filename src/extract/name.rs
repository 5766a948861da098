//! Which object of a backup a word on the command line means.

use crate::error::{Exit, Fail};
use crate::nearest::nearest;

/// How an object is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// What it is, as a list has it: `TABLE`, `FUNCTION`.
    pub kind: String,
    /// Its schema, where it has one.
    pub schema: Option<String>,
    /// Its name, and other forms of it that people may write: a function without its arguments.
    pub names: Vec<String>,
    /// As an error shows it, and as it is understood for certain.
    pub shown: String,
}

/// How many candidates an error lists.
const LISTED: usize = 12;

/// The one of `all` that `word` means. `what` they are is said in errors: a table, an object.
///
/// # Errors
/// None is called so, or several are.
pub fn choose<'a, T>(word: &str, what: &str, all: &'a [T], name: impl Fn(&T) -> Name) -> Result<&'a T, Fail> {
    let named: Vec<(Name, &T)> = all.iter().map(|it| (name(it), it)).collect();
    let readings = readings(word);
    let with_kind = |name: &Name| format!("{} {}", name.kind, name.shown);
    // Whoever writes the whole of what an error showed means that one.
    if let Some((_, it)) = named.iter().find(|(name, _)| with_kind(name) == word) {
        return Ok(it);
    }
    let mut found: Vec<&(Name, &T)> = named.iter().filter(|(name, _)| name.shown == word).collect();
    for compare in [same, alike] {
        if found.is_empty() {
            found = named
                .iter()
                .filter(|(name, _)| readings.iter().any(|reading| reading.is_of(name, compare)))
                .collect();
        }
    }
    match found.as_slice() {
        [(_, it)] => Ok(it),
        [] => Err(unknown(word, what, named.iter().map(|(name, _)| name))),
        several => {
            let one_kind = several.iter().all(|(name, _)| name.kind == several[0].0.kind);
            let show = |name: &Name| if one_kind { name.shown.clone() } else { with_kind(name) };
            let mut listed: Vec<String> = several.iter().take(LISTED).map(|(name, _)| show(name)).collect();
            if several.len() > LISTED {
                listed.push(format!("and {} more", several.len() - LISTED));
            }
            let message = format!("{word:?} may be any of these: {}", listed.join(", "));
            Err(Fail::new(Exit::Usage, message).hint("name one as it is written here, in quotes for the shell"))
        }
    }
}

fn unknown<'a>(word: &str, what: &str, all: impl Iterator<Item = &'a Name> + Clone) -> Fail {
    let fail = Fail::new(Exit::NotFound, format!("the backup has no {what} {word:?}"));
    let spelled: Vec<&str> = all
        .flat_map(|name| name.names.iter().chain([&name.shown]).map(String::as_str))
        .collect();
    match nearest(word, spelled) {
        Some(meant) => fail.hint(format!(
            "did you mean {meant}? `snapback extract --list` shows all that there is"
        )),
        None => fail.hint("`snapback extract --list` shows all that there is"),
    }
}

/// One way to understand a word.
struct Reading {
    schema: Option<String>,
    name: String,
}

impl Reading {
    fn is_of(&self, name: &Name, compare: fn(&str, &str) -> bool) -> bool {
        let schema = match (&self.schema, &name.schema) {
            (None, _) => true,
            (Some(wanted), Some(schema)) => compare(wanted, schema),
            (Some(_), None) => false,
        };
        schema && name.names.iter().any(|it| compare(&self.name, it))
    }
}

fn same(a: &str, b: &str) -> bool {
    a == b
}

/// SQL knows no difference where there are no quotes.
fn alike(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// All ways: a dot may be part of a name, or stand behind a schema.
fn readings(word: &str) -> Vec<Reading> {
    let mut all = vec![Reading {
        schema: None,
        name: word.to_owned(),
    }];
    if let Some(parts) = quoted(word) {
        match parts.as_slice() {
            [name] => all.push(Reading {
                schema: None,
                name: name.clone(),
            }),
            [schema, name] => all.push(Reading {
                schema: Some(schema.clone()),
                name: name.clone(),
            }),
            _ => {}
        }
        return all;
    }
    all.extend(word.match_indices('.').map(|(at, _)| Reading {
        schema: Some(word[..at].to_owned()),
        name: word[at + 1..].to_owned(),
    }));
    all
}

/// The parts of a name of which one at least is in quotes, as SQL has it; `None` of any other text.
fn quoted(word: &str) -> Option<Vec<String>> {
    if !word.contains('"') {
        return None;
    }
    let (mut parts, mut rest) = (Vec::new(), word);
    loop {
        let part = match rest.strip_prefix('"') {
            Some(mut inner) => {
                let mut part = String::new();
                loop {
                    let end = inner.find('"')?;
                    part.push_str(&inner[..end]);
                    inner = &inner[end + 1..];
                    match inner.strip_prefix('"') {
                        Some(after) => {
                            part.push('"');
                            inner = after;
                        }
                        None => break,
                    }
                }
                rest = inner;
                part
            }
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let part = rest[..end].to_ascii_lowercase();
                rest = &rest[end..];
                part
            }
        };
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(kind: &str, schema: &str, name: &str, shown: &str) -> Name {
        Name {
            kind: kind.to_owned(),
            schema: Some(schema.to_owned()),
            names: vec![name.to_owned()],
            shown: shown.to_owned(),
        }
    }

    fn all() -> Vec<Name> {
        vec![
            name("TABLE", "public", "orders", "public.orders"),
            name("TABLE", "old", "orders", "old.orders"),
            name("TABLE", "public", "Users", "public.\"Users\""),
            name("TABLE", "public", "a.b", "public.\"a.b\""),
            name("TABLE", "a", "b", "a.b"),
            name("TABLE", "public", "say \"hi\"", "public.\"say \"\"hi\"\"\""),
            name("SEQUENCE", "public", "one", "public.one"),
            name("INDEX", "public", "one", "public.one"),
        ]
    }

    #[test]
    fn a_name_is_found_however_it_is_written() {
        let all = all();
        for (word, shown) in [
            ("old.orders", "old.orders"),
            ("Users", "public.\"Users\""),
            ("users", "public.\"Users\""),
            ("\"Users\"", "public.\"Users\""),
            ("public.\"a.b\"", "public.\"a.b\""),
            ("a.b", "a.b"),
            ("say \"hi\"", "public.\"say \"\"hi\"\"\""),
            ("\"say \"\"hi\"\"\"", "public.\"say \"\"hi\"\"\""),
            ("INDEX public.one", "public.one"),
        ] {
            let found = choose(word, "table", &all, Clone::clone).unwrap_or_else(|error| panic!("{word}: {error}"));
            assert_eq!(found.shown, shown, "{word}");
        }
        assert_eq!(
            choose("INDEX public.one", "object", &all, Clone::clone).unwrap().kind,
            "INDEX"
        );
    }

    #[test]
    fn several_are_told_and_none_is_too() {
        let all = all();
        let error = |word| choose(word, "table", &all, Clone::clone).unwrap_err();
        assert_eq!(
            error("orders").message,
            "\"orders\" may be any of these: public.orders, old.orders"
        );
        assert_eq!(
            error("one").message,
            "\"one\" may be any of these: SEQUENCE public.one, INDEX public.one"
        );
        let none = error("ordres");
        assert_eq!(none.exit, Exit::NotFound);
        assert!(none.hint.unwrap().contains("did you mean orders?"));
    }
}

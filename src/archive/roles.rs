//! Other roles in the place of those that a dump names.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::toc::Entry;
use crate::error::{Exit, Fail};
use crate::sql::quote::Quote;
use crate::sql::roles::{Form, NamedRole, roles};

/// Which role is named instead of which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleMap(BTreeMap<String, String>);

/// What stands for everybody or for whoever runs a statement.
const NOBODY: [&str; 5] = ["PUBLIC", "CURRENT_USER", "CURRENT_ROLE", "SESSION_USER", "NONE"];
/// Quotes what any version reads.
const QUOTE: Quote = Quote {
    all: true,
    ..Quote::standard(14)
};

impl RoleMap {
    /// Reads what a command line has: `OLD=NEW` each. Names are as they are, or in double quotes.
    ///
    /// # Errors
    /// [`Exit::Usage`]: one is something else, or names no role, or says two things of one role.
    pub fn parse(pairs: &[String]) -> Result<RoleMap, Fail> {
        let mut map = BTreeMap::new();
        for pair in pairs {
            let refuse = |what: &str| {
                let message = format!("--map-role {pair:?} {what}");
                Err(Fail::new(Exit::Usage, message)
                    .hint("write OLD=NEW, and a name that has an equals sign in double quotes: '\"a=b\"=c'"))
            };
            let Some((old, new)) = split(pair) else {
                return refuse("is not OLD=NEW");
            };
            let is_nobody = |name: &&String| NOBODY.iter().any(|word| word.eq_ignore_ascii_case(name));
            if let Some(nobody) = [&old, &new].into_iter().find(is_nobody) {
                return refuse(&format!("names {nobody}, which is no role"));
            }
            if map.insert(old, new.clone()).is_some_and(|before| before != new) {
                return refuse("names a role that another --map-role makes another one");
            }
        }
        Ok(RoleMap(map))
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The roles that get another one in their place, with that.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(old, new)| (old.as_str(), new.as_str()))
    }

    /// Whether two of the roles `of` a dump would become one.
    #[must_use]
    pub fn merges(&self, of: &BTreeSet<String>) -> bool {
        let after: BTreeSet<&str> = of.iter().map(|role| self.of(role)).collect();
        after.len() < of.len()
    }

    /// The role that is named instead of `role`, which may be itself.
    #[must_use]
    pub fn of<'a>(&'a self, role: &'a str) -> &'a str {
        self.0.get(role).map_or(role, String::as_str)
    }

    /// What is written instead of `role`.
    #[must_use]
    pub fn written(&self, role: &str) -> String {
        QUOTE.id(self.of(role)).into_owned()
    }

    /// Statements with other roles in them.
    #[must_use]
    pub fn text<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        if self.is_empty() {
            return Cow::Borrowed(sql);
        }
        let edits: Vec<_> = self.edits(&roles(sql)).collect();
        edited(sql, edits)
    }

    /// What to write in the places of `roles` that become others.
    pub fn edits(&self, roles: &[NamedRole]) -> impl Iterator<Item = (std::ops::Range<usize>, String)> {
        roles.iter().filter_map(|role| {
            let new = self.0.get(&role.name)?;
            let text = match role.form {
                Form::Name => QUOTE.id(new).into_owned(),
                Form::Text => QUOTE.escape_literal(new),
                Form::Schema => format!("{} AUTHORIZATION {}", QUOTE.id(&role.name), QUOTE.id(new)),
            };
            Some((role.at.clone(), text))
        })
    }

    /// Lets an entry of an archive name other roles.
    pub fn change(&self, entry: &mut Entry) {
        if self.is_empty() {
            return;
        }
        if let Some(new) = self.0.get(&entry.owner) {
            entry.owner.clone_from(new);
        }
        if !names_roles(&entry.desc) {
            return;
        }
        if let Some(tag) = self.tag(entry) {
            entry.tag = tag;
        }
        entry.defn = self.text(&entry.defn).into_owned();
        entry.drop_stmt = self.text(&entry.drop_stmt).into_owned();
    }

    /// User mappings have the role in their name.
    fn tag(&self, entry: &Entry) -> Option<String> {
        let [role]: [NamedRole; 1] = roles(&entry.defn).try_into().ok()?;
        let rest = entry.tag.strip_prefix("USER MAPPING ")?.strip_prefix(&role.name)?;
        Some(format!("USER MAPPING {}{rest}", self.of(&role.name)))
    }
}

/// Whether the definitions of entries of this type may name roles, besides their owner.
#[must_use]
pub fn names_roles(desc: &str) -> bool {
    matches!(
        desc,
        "ACL"
            | "ACL LANGUAGE"
            | "DEFAULT ACL"
            | "POLICY"
            | "USER MAPPING"
            | "SCHEMA"
            | "DATABASE"
            | "DATABASE PROPERTIES"
    )
}

/// `sql` with `edits` made: what to write in which place. Places do not overlap.
#[must_use]
pub fn edited(sql: &str, mut edits: Vec<(std::ops::Range<usize>, String)>) -> Cow<'_, str> {
    if edits.is_empty() {
        return Cow::Borrowed(sql);
    }
    edits.sort_by_key(|(at, _)| at.start);
    let (mut text, mut from) = (String::with_capacity(sql.len()), 0);
    for (at, new) in edits {
        text.push_str(&sql[from..at.start]);
        text.push_str(&new);
        from = at.end;
    }
    text.push_str(&sql[from..]);
    Cow::Owned(text)
}

/// The two names of `OLD=NEW`.
fn split(pair: &str) -> Option<(String, String)> {
    let (old, rest) = name(pair, |text| text.split_once('=').map(|(old, _)| old.len()))?;
    let (new, rest) = name(rest.strip_prefix('=')?, |text| {
        (!text.contains('=')).then_some(text.len())
    })?;
    rest.is_empty().then_some((old, new))
}

/// The name that `text` begins with, and what follows it; one without quotes is as long as `plain` says.
fn name(text: &str, plain: impl Fn(&str) -> Option<usize>) -> Option<(String, &str)> {
    if !text.starts_with('"') {
        let (name, rest) = text.split_at(plain(text)?);
        return (!name.is_empty()).then(|| (name.to_owned(), rest));
    }
    let mut name = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != '"' || chars.next_if(|(_, next)| *next == '"').is_some() {
            name.push(c);
        } else {
            return (!name.is_empty()).then(|| (name, &text[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

    fn map(pairs: &[&str]) -> RoleMap {
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        RoleMap::parse(&pairs).unwrap()
    }

    #[test]
    fn pairs_are_read_with_and_without_quotes() {
        let all = map(&["a=b", "\"x=y\"=\"q\"\"r\"", "Ä b=c d", "a=b"]);
        let pairs: Vec<_> = all.pairs().collect();
        assert_eq!(pairs, [("a", "b"), ("x=y", "q\"r"), ("Ä b", "c d")]);
        for bad in [
            "a",
            "=b",
            "a=",
            "a=b=c",
            "\"a=b",
            "PUBLIC=x",
            "x=current_user",
            "\"a\"b=c",
        ] {
            assert!(RoleMap::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(RoleMap::parse(&["a=b".to_owned(), "a=c".to_owned()]).is_err());
    }

    #[test]
    fn roles_become_others_wherever_they_are_named() {
        let map = map(&["boss=new boss", "reader=boss", "public2=x"]);
        for (sql, wanted) in [
            (
                "GRANT SELECT ON boss.reader TO reader, PUBLIC, \"boss\" GRANTED BY other;",
                "GRANT SELECT ON boss.reader TO \"boss\", PUBLIC, \"new boss\" GRANTED BY other;",
            ),
            (
                "SET SESSION AUTHORIZATION 'boss';",
                "SET SESSION AUTHORIZATION 'new boss';",
            ),
            (
                "CREATE SCHEMA AUTHORIZATION boss;",
                "CREATE SCHEMA \"boss\" AUTHORIZATION \"new boss\";",
            ),
            (
                "CREATE POLICY reader ON t TO reader USING (who = 'reader');",
                "CREATE POLICY reader ON t TO \"boss\" USING (who = 'reader');",
            ),
            ("CREATE TABLE reader (boss text);", "CREATE TABLE reader (boss text);"),
        ] {
            assert_eq!(map.text(sql), wanted);
        }
        let mut mapping = Entry::new(1, "USER MAPPING", "USER MAPPING boss SERVER s", Section::PreData);
        mapping.defn = "CREATE USER MAPPING FOR boss SERVER s;\n".to_owned();
        mapping.drop_stmt = "DROP USER MAPPING IF EXISTS FOR boss SERVER s;\n".to_owned();
        mapping.owner = "reader".to_owned();
        map.change(&mut mapping);
        assert_eq!(mapping.tag, "USER MAPPING new boss SERVER s");
        assert_eq!(mapping.defn, "CREATE USER MAPPING FOR \"new boss\" SERVER s;\n");
        assert_eq!(
            mapping.drop_stmt,
            "DROP USER MAPPING IF EXISTS FOR \"new boss\" SERVER s;\n"
        );
        assert_eq!(mapping.owner, "boss");
        let roles = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert!(map.merges(&roles(&["boss", "new boss"])) && !map.merges(&roles(&["boss", "reader"])));
    }
}

//! What an archive needs of a server besides room: roles, extensions, tablespaces.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::archive::roles::names_roles;
use crate::archive::script::tablespaces;
use crate::archive::toc::Entry;
use crate::sql::quote::Quote;
use crate::sql::roles::{Purpose, roles};
use crate::sql::tokens::{Token, Tokens};

/// What the entries of an archive take for granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// Roles that own something, are granted something, or that a policy or user mapping is for.
    pub roles: BTreeSet<String>,
    /// Roles among them that own something: who restores must be able to hand it over.
    pub owners: BTreeSet<String>,
    /// Roles among them that are named for more than policies and user mappings: a policy for a role that is not there is
    /// for nobody, and can be left out.
    #[serde(skip)]
    pub firm: BTreeSet<String>,
    /// Extensions.
    pub extensions: BTreeSet<String>,
    /// Tablespaces other than the database's own.
    pub tablespaces: BTreeSet<String>,
}

impl Needs {
    /// Reads the entries. Those of the database itself do not count: its properties may come from elsewhere.
    #[must_use]
    pub fn of(entries: &[Entry]) -> Needs {
        let mut needs = Needs::default();
        for entry in entries {
            if entry.desc.starts_with("DATABASE") || entry.tag.starts_with("DATABASE ") {
                continue;
            }
            if !entry.owner.is_empty() {
                needs.add_owner(&entry.owner);
            }
            if let Some(tablespace) = entry.tablespace.as_deref().filter(|name| !name.is_empty()) {
                needs.tablespaces.insert(tablespace.to_owned());
            }
            if entry.desc == "EXTENSION" {
                needs.extensions.insert(entry.tag.clone());
            }
            if names_roles(&entry.desc) {
                needs.add_named(&entry.defn);
            }
        }
        needs
    }

    /// Adds an owner.
    pub fn add_owner(&mut self, role: &str) {
        self.roles.insert(role.to_owned());
        self.firm.insert(role.to_owned());
        self.owners.insert(role.to_owned());
    }

    /// Adds the roles that statements name.
    pub fn add_named(&mut self, sql: &str) {
        for role in roles(sql) {
            match role.purpose {
                Purpose::Owner => self.add_owner(&role.name),
                Purpose::Policy | Purpose::Mapping => drop(self.roles.insert(role.name)),
                Purpose::Privilege | Purpose::Session => {
                    self.firm.insert(role.name.clone());
                    self.roles.insert(role.name);
                }
            }
        }
    }

    /// Takes those of `names` out that are named for policies and user mappings alone, and returns them.
    pub fn spare(&mut self, names: &[String]) -> BTreeSet<String> {
        let spared: BTreeSet<String> = names.iter().filter(|it| !self.firm.contains(*it)).cloned().collect();
        self.roles.retain(|role| !spared.contains(role));
        spared
    }

    /// Adds all that `other` needs.
    pub fn add(&mut self, other: Needs) {
        self.roles.extend(other.roles);
        self.owners.extend(other.owners);
        self.firm.extend(other.firm);
        self.extensions.extend(other.extensions);
        self.tablespaces.extend(other.tablespaces);
    }

    /// Adds what a statement of a script takes for granted.
    pub fn add_statement(&mut self, sql: &str) {
        let words: Vec<String> = Tokens::new(sql).take(2).map(Token::upper).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["CREATE", "EXTENSION"] => self.extensions.extend(extension(sql)),
            [
                "CREATE",
                "FUNCTION" | "PROCEDURE" | "OR" | "VIEW" | "RULE" | "AGGREGATE",
            ] => {}
            ["CREATE" | "ALTER" | "DROP" | "GRANT" | "REVOKE" | "SET" | "REASSIGN", _] => {
                self.add_named(sql);
                self.tablespaces.extend(tablespaces(sql));
            }
            _ => {}
        }
    }
}

/// The extension that a statement creates.
fn extension(sql: &str) -> Option<String> {
    let is_name = |token: &Token| match token {
        Token::Word(word) => !matches!(word.to_ascii_uppercase().as_str(), "IF" | "NOT" | "EXISTS"),
        _ => true,
    };
    Tokens::new(sql).skip(2).find(is_name).and_then(name)
}

/// A name as the server knows it.
pub(super) fn name(token: Token) -> Option<String> {
    match token {
        Token::Word(word) => Some(word.to_ascii_lowercase()),
        Token::Quoted(name) => Some(name),
        Token::Text(_) | Token::Other(_) => None,
    }
}

/// The statements of a globals file that would create `role`, without its password.
#[must_use]
pub fn statements_for(role: &str, globals: &str, quote: &Quote) -> Vec<String> {
    let name = quote.id(role);
    let (create, alter) = (format!("CREATE ROLE {name};"), format!("ALTER ROLE {name} WITH "));
    globals
        .lines()
        .filter(|line| *line == create || line.starts_with(&alter))
        .map(|line| match line.split_once(" PASSWORD '") {
            Some((before, rest)) => {
                let after = rest.split_once('\'').map_or("", |(_, after)| after);
                format!("{before}{after}")
            }
            None => line.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

    #[test]
    fn entries_say_what_they_need() {
        let mut table = Entry::new(1, "TABLE", "t", Section::PreData);
        table.owner = "boss".to_owned();
        table.tablespace = Some("fast".to_owned());
        let mut database = Entry::new(2, "DATABASE", "d", Section::PreData);
        database.owner = "other".to_owned();
        let needs = Needs::of(&[table, database, Entry::new(3, "EXTENSION", "hstore", Section::PreData)]);
        assert_eq!(needs.roles.into_iter().collect::<Vec<_>>(), ["boss"]);
        assert_eq!(needs.extensions.into_iter().collect::<Vec<_>>(), ["hstore"]);
        assert_eq!(needs.tablespaces.into_iter().collect::<Vec<_>>(), ["fast"]);
    }

    #[test]
    fn statements_of_a_script_say_what_they_need() {
        let mut needs = Needs::default();
        for sql in [
            "CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;",
            "ALTER FUNCTION f(a integer) OWNER TO \"Boss\";",
            "alter table t owner to Other;",
            "ALTER TABLE t OWNER TO CURRENT_USER;",
            "ALTER TABLE t ALTER COLUMN owner SET DEFAULT 'OWNER TO x';",
            "grant select on t to public, Reader;",
            "SET SESSION AUTHORIZATION 'app';",
            "SET SESSION AUTHORIZATION DEFAULT;",
            "CREATE TABLE s (a int) TABLESPACE fast;",
            "CREATE POLICY p ON t TO \"guest\", reader;",
        ] {
            needs.add_statement(sql);
        }
        let names = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>();
        assert_eq!(names(needs.owners.clone()), ["Boss", "other"]);
        let all: Vec<String> = needs.roles.iter().cloned().collect();
        assert_eq!(all, ["Boss", "app", "guest", "other", "reader"]);
        assert_eq!(names(needs.spare(&all)), ["guest"]);
        assert_eq!(names(needs.roles), ["Boss", "app", "other", "reader"]);
        assert_eq!(names(needs.extensions), ["hstore"]);
        assert_eq!(names(needs.tablespaces), ["fast"]);
    }

    #[test]
    fn a_missing_role_is_created_as_it_was_but_for_its_password() {
        let globals = "CREATE ROLE app;\nALTER ROLE app WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM$x' VALID UNTIL 'infinity';\n\
                       CREATE ROLE app2;\n";
        let quote = Quote::standard(15);
        assert_eq!(
            statements_for("app", globals, &quote),
            [
                "CREATE ROLE app;",
                "ALTER ROLE app WITH NOSUPERUSER LOGIN VALID UNTIL 'infinity';"
            ]
        );
    }
}

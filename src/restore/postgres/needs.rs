//! What an archive needs of a server besides room: roles, extensions, tablespaces.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::archive::script::{Token, Tokens};
use crate::archive::toc::Entry;
use crate::sql::quote::Quote;

/// What the entries of an archive take for granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// Roles that own something, are granted something, or that a policy or user mapping is for.
    pub roles: BTreeSet<String>,
    /// Roles among them that own something: who restores must be able to hand it over.
    pub owners: BTreeSet<String>,
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
                needs.owners.insert(entry.owner.clone());
            }
            if let Some(tablespace) = entry.tablespace.as_deref().filter(|name| !name.is_empty()) {
                needs.tablespaces.insert(tablespace.to_owned());
            }
            match entry.desc.as_str() {
                "EXTENSION" => {
                    needs.extensions.insert(entry.tag.clone());
                }
                "ACL" | "DEFAULT ACL" | "POLICY" | "USER MAPPING" => needs.roles.extend(named_roles(&entry.defn)),
                _ => {}
            }
        }
        needs.roles.extend(needs.owners.iter().cloned());
        needs
    }

    /// Adds an owner.
    pub fn add_owner(&mut self, role: &str) {
        self.roles.insert(role.to_owned());
        self.owners.insert(role.to_owned());
    }

    /// Adds all that `other` needs.
    pub fn add(&mut self, other: Needs) {
        self.roles.extend(other.roles);
        self.owners.extend(other.owners);
        self.extensions.extend(other.extensions);
        self.tablespaces.extend(other.tablespaces);
    }

    /// Adds what a statement of a script takes for granted.
    pub fn add_statement(&mut self, sql: &str) {
        let words: Vec<String> = Tokens::new(sql).take(4).map(Token::upper).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["CREATE", "EXTENSION", ..] => self.extensions.extend(extension(sql)),
            ["SET", "SESSION", "AUTHORIZATION", ..] => self.roles.extend(sql.split('\'').nth(1).map(str::to_owned)),
            ["ALTER", "DEFAULT", "PRIVILEGES", ..]
            | ["GRANT" | "REVOKE", ..]
            | ["CREATE", "POLICY", ..]
            | ["CREATE", "USER", "MAPPING", ..] => self.roles.extend(named_roles(sql)),
            ["ALTER", ..] => {
                if let Some(owner) = owner(sql) {
                    self.add_owner(&owner);
                }
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

/// The role that `ALTER … OWNER TO` names, unless it is whoever restores.
#[must_use]
pub fn owner(sql: &str) -> Option<String> {
    let mut tokens = Tokens::new(sql);
    let is = |token: Option<Token>, word: &str| token.is_some_and(|token| token.upper() == word);
    while !is(Some(tokens.next()?), "OWNER") {}
    if !is(tokens.next(), "TO") {
        return None;
    }
    name(tokens.next()?).filter(|name| !matches!(name.as_str(), "current_user" | "current_role" | "session_user"))
}

/// A name as the server knows it.
pub(super) fn name(token: Token) -> Option<String> {
    match token {
        Token::Word(word) => Some(word.to_lowercase()),
        Token::Quoted(name) => Some(name),
        Token::Other(_) => None,
    }
}

/// The roles that GRANT, REVOKE, ALTER DEFAULT PRIVILEGES, CREATE POLICY and CREATE USER MAPPING name.
pub(super) fn named_roles(sql: &str) -> BTreeSet<String> {
    let mut roles = BTreeSet::new();
    let mut expect = Expect::Nothing;
    for token in Tokens::new(sql) {
        let word = match &token {
            Token::Word(word) => word.to_ascii_uppercase(),
            _ => String::new(),
        };
        expect = match (expect, &token) {
            // An expression follows; what it has of TO and FROM is no role.
            (_, Token::Word(_)) if matches!(word.as_str(), "USING" | "CHECK") => break,
            // SET SESSION AUTHORIZATION DEFAULT and RESET name nobody.
            (Expect::Role, Token::Word(_)) if matches!(word.as_str(), "PUBLIC" | "DEFAULT") => Expect::Comma,
            (Expect::Role, Token::Word(_) | Token::Quoted(_)) => {
                roles.extend(name(token));
                Expect::Comma
            }
            (Expect::Comma, Token::Other(',')) => Expect::Role,
            (_, Token::Word(_)) => match word.as_str() {
                "TO" | "FROM" | "AUTHORIZATION" | "ROLE" => Expect::Role,
                // CREATE POLICY has FOR ALL, ALTER DEFAULT PRIVILEGES has FOR ROLE.
                "FOR" if sql.starts_with("CREATE USER MAPPING") => Expect::Role,
                _ => Expect::Nothing,
            },
            _ => Expect::Nothing,
        };
    }
    roles
}

enum Expect {
    Nothing,
    Role,
    Comma,
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
    fn roles_are_found_wherever_they_are_named() {
        for (sql, wanted) in [
            ("GRANT SELECT ON TABLE public.t TO reader;\n", vec!["reader"]),
            (
                "REVOKE ALL ON SCHEMA public FROM PUBLIC;\nGRANT ALL ON SCHEMA public TO PUBLIC;\n",
                vec![],
            ),
            (
                "SET SESSION AUTHORIZATION \"a b\";\nGRANT ALL ON FUNCTION f(\"TO\" integer) TO \"x\"\"y\" WITH GRANT OPTION;\n\
                 RESET SESSION AUTHORIZATION;\n",
                vec!["a b", "x\"y"],
            ),
            (
                "ALTER DEFAULT PRIVILEGES FOR ROLE boss IN SCHEMA s GRANT SELECT ON TABLES  TO reader;\n",
                vec!["boss", "reader"],
            ),
            (
                "CREATE POLICY p ON public.t FOR SELECT TO a, b USING ((x = ' TO z') AND EXTRACT(y FROM z));\n",
                vec!["a", "b"],
            ),
            (
                "CREATE USER MAPPING FOR app SERVER s OPTIONS (\n    \"user\" 'FOR q'\n);\n",
                vec!["app"],
            ),
        ] {
            let found: Vec<_> = named_roles(sql).into_iter().collect();
            assert_eq!(found, wanted, "{sql}");
        }
    }

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
        ] {
            needs.add_statement(sql);
        }
        let names = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>();
        assert_eq!(names(needs.owners), ["Boss", "other"]);
        assert_eq!(names(needs.roles), ["Boss", "app", "other", "reader"]);
        assert_eq!(names(needs.extensions), ["hstore"]);
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

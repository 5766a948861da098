//! What an archive needs of a server besides room: roles, extensions, tablespaces.

use std::collections::BTreeSet;

use crate::archive::toc::Entry;
use crate::postgres::quote::Quote;

/// What the entries of an archive take for granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Reads the entries. Those of the database itself do not count: its properties come from elsewhere.
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
}

/// The roles that GRANT, REVOKE, ALTER DEFAULT PRIVILEGES, CREATE POLICY and CREATE USER MAPPING name.
fn named_roles(sql: &str) -> BTreeSet<String> {
    let mut roles = BTreeSet::new();
    let mut expect = Expect::Nothing;
    for token in Tokens(sql) {
        let word = match &token {
            Token::Word(word) => word.as_str(),
            _ => "",
        };
        expect = match (expect, &token) {
            // An expression follows; what it has of TO and FROM is no role.
            (_, Token::Word(_)) if matches!(word, "USING" | "CHECK") => break,
            (Expect::Role, Token::Word(_)) if word == "PUBLIC" => Expect::Comma,
            (Expect::Role, Token::Word(name) | Token::Quoted(name)) => {
                roles.insert(name.clone());
                Expect::Comma
            }
            (Expect::Comma, Token::Other(',')) => Expect::Role,
            (_, Token::Word(_)) => match word {
                "TO" | "FROM" | "AUTHORIZATION" => Expect::Role,
                "ROLE" => Expect::Role,
                // CREATE POLICY has FOR ALL, ALTER DEFAULT PRIVILEGES has FOR ROLE.
                "FOR" if sql.starts_with("CREATE USER MAPPING") => Expect::Role,
                _ => Expect::Nothing,
            },
            _ => Expect::Nothing,
        };
    }
    // SET SESSION AUTHORIZATION DEFAULT and RESET name nobody.
    roles.remove("DEFAULT");
    roles
}

enum Expect {
    Nothing,
    Role,
    Comma,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// As it stands: keywords of pg_dump are upper case, unquoted names lower case.
    Word(String),
    Quoted(String),
    Other(char),
}

/// Words, quoted identifiers and signs of a statement; string literals are left out.
struct Tokens<'a>(&'a str);

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            self.0 = self.0.trim_start();
            let first = self.0.chars().next()?;
            if first == '\'' {
                self.quoted('\'');
                continue;
            }
            if first == '"' {
                return Some(Token::Quoted(self.quoted('"')));
            }
            let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
            if !is_word(first) {
                self.0 = &self.0[first.len_utf8()..];
                return Some(Token::Other(first));
            }
            let end = self.0.find(|c| !is_word(c)).unwrap_or(self.0.len());
            let (word, rest) = self.0.split_at(end);
            self.0 = rest;
            return Some(Token::Word(word.to_owned()));
        }
    }
}

impl Tokens<'_> {
    /// Takes what stands between two `quote`s; a doubled one is itself.
    fn quoted(&mut self, quote: char) -> String {
        let mut text = String::new();
        let mut chars = self.0.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c != quote {
                text.push(c);
            } else if chars.next_if(|(_, next)| *next == quote).is_some() {
                text.push(quote);
            } else {
                self.0 = &self.0[at + 1..];
                return text;
            }
        }
        self.0 = "";
        text
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

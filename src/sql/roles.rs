//! Where a statement names roles, and what for.

use std::ops::Range;

use super::tokens::{Placed, Token, outside, placed};

/// A role that a statement names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRole {
    /// Its name, as the server knows it.
    pub name: String,
    /// The bytes of the statement to replace when another role is named.
    pub at: Range<usize>,
    /// What it is named for.
    pub purpose: Purpose,
    /// How it is written.
    pub form: Form,
}

/// What a role is named for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It owns something.
    Owner,
    /// It gets, loses or grants a privilege.
    Privilege,
    /// A policy is for it.
    Policy,
    /// A user mapping is for it.
    Mapping,
    /// The session becomes it.
    Session,
}

/// How a role is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As an identifier.
    Name,
    /// As a string.
    Text,
    /// `AUTHORIZATION role`, where a schema is called like its owner.
    Schema,
}

/// Words that stand where a role may stand and name nobody in particular.
const NOBODY: [&str; 7] = [
    "PUBLIC",
    "CURRENT_USER",
    "CURRENT_ROLE",
    "SESSION_USER",
    "USER",
    "NONE",
    "DEFAULT",
];

/// The roles that the statements of `sql` name, in their order. Only of statements that are about owners, privileges,
/// policies and sessions: what stands in the body of a function is not looked at.
#[must_use]
pub fn roles(sql: &str) -> Vec<NamedRole> {
    let tokens = placed(sql);
    let mut found = Vec::new();
    for statement in tokens.split(|token| token.is_sign(';')) {
        Finder {
            tokens: statement,
            found: &mut found,
        }
        .statement();
    }
    found
}

/// Where `OWNER TO` stands that changes an owner: a column called owner that is renamed is none.
pub fn owner_to(tokens: &[Placed]) -> Option<usize> {
    if tokens.iter().any(|token| token.is("RENAME")) {
        return None;
    }
    let is_owner = |at: &usize| {
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        tokens[*at].is("OWNER")
            && tokens.get(at + 1).is_some_and(|token| token.is("TO"))
            && !before.is_some_and(|token| token.is_sign('.'))
    };
    (0..tokens.len()).find(is_owner)
}

struct Finder<'a> {
    tokens: &'a [Placed],
    found: &'a mut Vec<NamedRole>,
}

impl Finder<'_> {
    fn statement(&mut self) {
        let words: Vec<String> = self.tokens.iter().take(3).map(|it| it.token.clone().upper()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["SET", ..] => self.session(),
            ["GRANT" | "REVOKE", ..] => self.privileges(),
            ["ALTER", "DEFAULT", "PRIVILEGES"] => self.default_privileges(),
            ["CREATE" | "ALTER", "POLICY", ..] => self.policy(),
            ["CREATE" | "ALTER" | "DROP", "USER", "MAPPING"] => self.after(&["FOR"], Purpose::Mapping),
            ["CREATE", "SCHEMA", ..] => self.schema(),
            ["CREATE", "DATABASE", ..] => self.after(&["OWNER"], Purpose::Owner),
            ["REASSIGN", "OWNED", "BY"] => {
                self.list(3, Purpose::Owner);
                self.after(&["TO"], Purpose::Owner);
            }
            ["DROP", "OWNED", "BY"] => self.list(3, Purpose::Owner),
            ["ALTER", "ROLE" | "USER", _] if self.tokens.get(3).is_some_and(|it| it.is("IN")) => {
                self.role(2, Purpose::Session);
            }
            ["ALTER", ..] => {
                if let Some(at) = owner_to(self.tokens) {
                    self.role(at + 2, Purpose::Owner);
                }
            }
            _ => {}
        }
    }

    /// `SET ROLE`, `SET SESSION AUTHORIZATION`, and both as settings.
    fn session(&mut self) {
        let head = self.tokens.iter().take(4);
        let names = |it: &Placed| it.is_any(&["ROLE", "AUTHORIZATION", "SESSION_AUTHORIZATION"]);
        let Some(at) = head.into_iter().position(names) else {
            return;
        };
        let sign = self.tokens.get(at + 1).is_some_and(|it| it.is_sign('=') || it.is("TO"));
        self.role(at + 1 + usize::from(sign), Purpose::Session);
    }

    fn privileges(&mut self) {
        for word in ["TO", "FROM"] {
            if let Some(at) = outside(self.tokens, &[word]) {
                self.list(at + 1, Purpose::Privilege);
            }
        }
        if let Some(at) = outside(self.tokens, &["GRANTED"]) {
            self.role(at + 2, Purpose::Privilege);
        }
    }

    fn default_privileges(&mut self) {
        if let Some(at) = outside(self.tokens, &["FOR"]) {
            self.list(at + 2, Purpose::Privilege);
        }
        self.privileges();
    }

    /// The expressions of a policy come after its roles.
    fn policy(&mut self) {
        let end = ["USING", "WITH", "RENAME"];
        let end = self.tokens.iter().position(|it| it.is_any(&end));
        let head = &self.tokens[..end.unwrap_or(self.tokens.len())];
        if let Some(at) = outside(head, &["TO"]) {
            self.list(at + 1, Purpose::Policy);
        }
    }

    fn schema(&mut self) {
        let Some(at) = outside(self.tokens, &["AUTHORIZATION"]) else {
            return;
        };
        let before = &self.tokens[at - 1];
        let unnamed = before.is_any(&["SCHEMA", "EXISTS"]);
        if self.role(at + 1, Purpose::Owner)
            && unnamed
            && let Some(role) = self.found.last_mut()
        {
            role.form = Form::Schema;
            role.at.start = self.tokens[at].at.start;
        }
    }

    /// The role behind the first of `words` that there is, which an equals sign may follow.
    fn after(&mut self, words: &[&str], purpose: Purpose) {
        let found = words.iter().find_map(|word| outside(self.tokens, &[*word]));
        if let Some(at) = found {
            let sign = self.tokens.get(at + 1).is_some_and(|it| it.is_sign('='));
            self.role(at + 1 + usize::from(sign), purpose);
        }
    }

    /// Roles with commas between them, from the token `at` on.
    fn list(&mut self, mut at: usize, purpose: Purpose) {
        loop {
            let is_name = |at: usize| {
                self.tokens
                    .get(at)
                    .is_some_and(|it| matches!(it.token, Token::Word(_) | Token::Quoted(_)))
            };
            at += usize::from(self.tokens.get(at).is_some_and(|it| it.is("GROUP")) && is_name(at + 1));
            self.role(at, purpose);
            if !self.tokens.get(at + 1).is_some_and(|it| it.is_sign(',')) {
                return;
            }
            at += 2;
        }
    }

    /// Takes the token `at` as a role; `false` when it is none.
    fn role(&mut self, at: usize, purpose: Purpose) -> bool {
        let Some(Placed { token, at }) = self.tokens.get(at) else {
            return false;
        };
        let (name, form) = match token {
            Token::Word(word) => (word.to_ascii_lowercase(), Form::Name),
            Token::Quoted(name) => (name.clone(), Form::Name),
            Token::Text(name) => (name.clone(), Form::Text),
            Token::Other(_) => return false,
        };
        // No role can be called so, in quotes either.
        let reserved = matches!(name.as_str(), "public" | "none");
        let nobody = |word: &str| NOBODY.iter().any(|it| it.eq_ignore_ascii_case(word));
        if reserved || matches!(token, Token::Word(word) if nobody(word)) {
            return false;
        }
        self.found.push(NamedRole {
            name,
            at: at.clone(),
            purpose,
            form,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                "REVOKE GRANT OPTION FOR ALL ON t FROM GROUP a, b GRANTED BY c CASCADE;",
                vec!["a", "b", "c"],
            ),
            (
                "ALTER DEFAULT PRIVILEGES FOR ROLE boss, \"Vice\" IN SCHEMA s, t GRANT SELECT ON TABLES  TO reader, PUBLIC;\n",
                vec!["boss", "Vice", "reader"],
            ),
            (
                "CREATE POLICY p ON public.t FOR SELECT TO a, b USING ((x = ' TO z') AND EXTRACT(y FROM z));\n",
                vec!["a", "b"],
            ),
            ("ALTER POLICY p ON t RENAME TO q;", vec![]),
            (
                "CREATE USER MAPPING IF NOT EXISTS FOR app SERVER s OPTIONS (\n    \"user\" 'FOR q'\n);\n",
                vec!["app"],
            ),
            ("CREATE USER MAPPING FOR USER SERVER s;", vec![]),
            ("SET ROLE 'It''s';", vec!["It's"]),
            ("SET LOCAL ROLE NONE;", vec![]),
            ("SET role TO boss;", vec!["boss"]),
            ("SET session_authorization = 'boss';", vec!["boss"]),
            ("SET SESSION AUTHORIZATION DEFAULT;", vec![]),
            ("CREATE SCHEMA s AUTHORIZATION boss;", vec!["boss"]),
            ("CREATE SCHEMA IF NOT EXISTS AUTHORIZATION boss;", vec!["boss"]),
            ("alter table t owner to Other;", vec!["other"]),
            ("ALTER TABLE owner ADD b int, OWNER TO CURRENT_USER;", vec![]),
            ("ALTER TABLE t RENAME COLUMN owner TO proprietor;", vec![]),
            ("ALTER DATABASE d SET app.owner TO 'x';", vec![]),
            ("ALTER FUNCTION f(a integer) OWNER TO \"Boss\";", vec!["Boss"]),
            ("ALTER ROLE r IN DATABASE d SET work_mem TO '8MB';", vec!["r"]),
            ("CREATE DATABASE d WITH OWNER = boss ENCODING 'UTF8';", vec!["boss"]),
            ("REASSIGN OWNED BY a, b TO c;", vec!["a", "b", "c"]),
            ("CREATE FUNCTION f() RETURNS int AS 'x'; SELECT 1;", vec![]),
        ] {
            let found: Vec<_> = roles(sql).into_iter().map(|role| role.name).collect();
            assert_eq!(found, wanted, "{sql}");
        }
    }
}

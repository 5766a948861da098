//! What becomes of a statement of a script under options that leave something out, as pg_dump would not have written it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use crate::archive::options::RestoreOptions;
use crate::archive::roles::edited;
use crate::sql::roles::{NamedRole, Purpose, owner_to, roles};
use crate::sql::tokens::{Placed, Token, outside, placed};

/// What becomes of a statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate<'a> {
    /// It is run, as it is or with changes.
    Run(Cow<'a, str>),
    /// It is left out.
    LeaveOut,
}

/// A statement that is looked at.
pub(super) struct Looked<'a> {
    sql: &'a str,
    tokens: Vec<Placed>,
    /// The roles that it names.
    pub(super) roles: Vec<NamedRole>,
}

/// Whether a statement that begins with these words may be left out or changed; rows never are.
pub(super) fn may_change(sql: &str) -> bool {
    let first = sql.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next();
    const FIRST: [&str; 10] = [
        "ALTER", "COMMENT", "CREATE", "DROP", "GRANT", "REASSIGN", "RESET", "REVOKE", "SECURITY", "SET",
    ];
    first.is_some_and(|first| FIRST.iter().any(|it| it.eq_ignore_ascii_case(first)))
}

/// The tablespaces that a statement names in its clauses.
#[must_use]
pub fn tablespaces(sql: &str) -> Vec<String> {
    Looked::at(sql)
        .tablespaces()
        .into_iter()
        .map(|(_, name)| name)
        .collect()
}

/// A policy or user mapping, as an archive has it, that is not for the roles `out`; `None` when it would be for nobody.
#[must_use]
pub fn without_roles(sql: &str, out: &BTreeSet<String>) -> Option<String> {
    let options = RestoreOptions {
        without_roles: out.clone(),
        ..RestoreOptions::default()
    };
    match Looked::at(sql).fate(&options) {
        Fate::Run(text) => Some(text.into_owned()),
        Fate::LeaveOut => None,
    }
}

impl<'a> Looked<'a> {
    pub(super) fn at(sql: &'a str) -> Looked<'a> {
        let mut tokens = placed(sql);
        while tokens.last().is_some_and(|it| it.is_sign(';')) {
            tokens.pop();
        }
        Looked {
            sql,
            tokens,
            roles: roles(sql),
        }
    }

    fn is(&self, at: usize, words: &[&str]) -> bool {
        self.tokens.get(at).is_some_and(|it| it.is_any(words))
    }

    /// Whether it begins with these words, each one of several.
    fn begins(&self, words: &[&[&str]]) -> bool {
        words.iter().enumerate().all(|(at, words)| self.is(at, words))
    }

    /// What becomes of it under `options`.
    pub(super) fn fate(&self, options: &RestoreOptions) -> Fate<'a> {
        if self.is_left_out(options) {
            return Fate::LeaveOut;
        }
        let mut cuts = Vec::new();
        let unowned = self.without_owner(options);
        if self.begins(&[&["ALTER"]]) {
            match self.actions(options) {
                Some(actions) => cuts = actions,
                None => return Fate::LeaveOut,
            }
        }
        cuts.extend(self.clauses(options));
        let mut edits: Vec<(Range<usize>, String)> = cuts.into_iter().map(|at| (at, String::new())).collect();
        match unowned {
            Some(edit) => edits.push(edit),
            None => {
                let gone = |at: &Range<usize>| edits.iter().any(|(cut, _)| cut.start <= at.start && at.end <= cut.end);
                let named: Vec<_> = options
                    .role_map
                    .edits(&self.roles)
                    .filter(|(at, _)| !gone(at))
                    .collect();
                edits.extend(named);
            }
        }
        match self.without_roles(options) {
            Some(None) => return Fate::LeaveOut,
            Some(Some((list, kept))) => {
                edits.retain(|(at, _)| at.end <= list.start || list.end <= at.start);
                edits.push((list, kept));
            }
            None => {}
        }
        Fate::Run(edited(self.sql, edits))
    }

    fn is_left_out(&self, options: &RestoreOptions) -> bool {
        const MAKE: &[&str] = &["CREATE", "ALTER", "DROP"];
        let about = |object: &str| {
            self.begins(&[MAKE, &[object]])
                || self.begins(&[&["COMMENT"], &["ON"], &[object]])
                || (self.begins(&[&["SECURITY"], &["LABEL"]])
                    && outside(&self.tokens, &["ON"]).is_some_and(|on| self.is(on + 1, &[object])))
        };
        let setting =
            |name: &str| self.begins(&[&["SET"], &[name]]) || self.begins(&[&["SET"], &["LOCAL", "SESSION"], &[name]]);
        let privileges =
            self.begins(&[&["GRANT", "REVOKE"]]) || self.begins(&[&["ALTER"], &["DEFAULT"], &["PRIVILEGES"]]);
        let all_in = self.begins(&[&["ALTER"], &["TABLE", "INDEX"], &["ALL"]])
            || self.begins(&[&["ALTER"], &["MATERIALIZED"], &["VIEW"], &["ALL"]]);
        (options.no_privileges && privileges)
            || (options.no_comments && self.begins(&[&["COMMENT"], &["ON"]]))
            || (options.no_security_labels && self.begins(&[&["SECURITY"], &["LABEL"]]))
            || (options.no_publications && about("PUBLICATION"))
            || (options.no_subscriptions && about("SUBSCRIPTION"))
            || (options.no_policies && about("POLICY"))
            || (options.no_tablespaces && (setting("DEFAULT_TABLESPACE") || all_in))
            || (options.no_table_access_method && setting("DEFAULT_TABLE_ACCESS_METHOD"))
            || (options.no_owner && self.begins(&[&["REASSIGN"], &["OWNED"]]))
    }

    /// The name of a schema that was its owner's too, or the clause that names the owner.
    fn without_owner(&self, options: &RestoreOptions) -> Option<(Range<usize>, String)> {
        if !options.no_owner || !self.begins(&[&["CREATE"], &["SCHEMA", "DATABASE"]]) {
            return None;
        }
        if self.is(1, &["SCHEMA"]) {
            let at = outside(&self.tokens, &["AUTHORIZATION"])?;
            let unnamed = self.is(at - 1, &["SCHEMA", "EXISTS"]);
            let owner = self.roles.iter().find(|role| role.purpose == Purpose::Owner)?;
            let end = if unnamed { self.tokens[at].at.end } else { owner.at.end };
            return Some((self.tokens[at].at.start..end, String::new()));
        }
        let at = outside(&self.tokens, &["OWNER"])?;
        let owner = self.roles.iter().find(|role| role.purpose == Purpose::Owner)?;
        Some((self.tokens[at].at.start..owner.at.end, String::new()))
    }

    /// What to cut from an `ALTER` of several actions; `None` when nothing of it is left.
    fn actions(&self, options: &RestoreOptions) -> Option<Vec<Range<usize>>> {
        let mut chunks: Vec<Range<usize>> = Vec::new();
        let (mut depth, mut from) = (0_u32, 0);
        for (at, token) in self.tokens.iter().enumerate() {
            match token.token {
                Token::Other('(' | '[') => depth += 1,
                Token::Other(')' | ']') => depth = depth.saturating_sub(1),
                Token::Other(',') if depth == 0 => {
                    chunks.push(from..at);
                    from = at + 1;
                }
                _ => {}
            }
        }
        chunks.push(from..self.tokens.len());
        let dropped: Vec<Option<usize>> = chunks
            .iter()
            .map(|chunk| Some(chunk.start + dropped_action(&self.tokens[chunk.clone()], options)?))
            .collect();
        if dropped.iter().all(Option::is_some) {
            return None;
        }
        let mut cuts = Vec::new();
        for (number, chunk) in chunks.iter().enumerate() {
            let (Some(begins), Some(last)) = (dropped[number], self.tokens.get(chunk.end - 1)) else {
                continue;
            };
            // With the comma before it, or, where nothing of what is before is kept, the one after it.
            let kept_before = dropped[..number].iter().any(Option::is_none);
            cuts.push(match kept_before {
                true => self.tokens[chunk.start - 1].at.start..last.at.end,
                false => self.tokens[begins].at.start..self.tokens[chunk.end].at.end,
            });
        }
        Some(cuts)
    }

    /// Clauses about tablespaces and access methods.
    fn clauses(&self, options: &RestoreOptions) -> Vec<Range<usize>> {
        let mut cuts = Vec::new();
        if options.no_tablespaces {
            cuts.extend(self.tablespaces().into_iter().map(|(at, _)| at));
        }
        if options.no_table_access_method
            && let Some(at) = self.access_method()
        {
            cuts.push(at);
        }
        cuts
    }

    /// What a `CREATE` makes, and the number of the word that says so.
    fn creates(&self) -> Option<(&'static str, usize)> {
        const BEFORE: &[&str] = &[
            "CREATE",
            "GLOBAL",
            "LOCAL",
            "TEMP",
            "TEMPORARY",
            "UNLOGGED",
            "UNIQUE",
            "MATERIALIZED",
        ];
        let at = (0..self.tokens.len()).find(|at| !self.is(*at, BEFORE))?;
        let what = ["TABLE", "INDEX", "VIEW", "DATABASE"];
        let what = what.into_iter().find(|word| self.is(at, &[word]));
        what.filter(|_| self.is(0, &["CREATE"])).map(|what| (what, at))
    }

    /// The clauses that name tablespaces, and these.
    pub(super) fn tablespaces(&self) -> Vec<(Range<usize>, String)> {
        let created = self.creates();
        if created.is_none() && !self.begins(&[&["ALTER"], &["TABLE"]]) {
            return Vec::new();
        }
        // Behind these come queries and conditions.
        let end = outside(&self.tokens, &["AS", "WHERE"]);
        let (mut found, mut depth) = (Vec::new(), 0_u32);
        for at in 0..end.unwrap_or(self.tokens.len()) {
            match self.tokens[at].token {
                Token::Other('(') => depth += 1,
                Token::Other(')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            if !self.is(at, &["TABLESPACE"]) {
                continue;
            }
            let of_index = at >= 2 && self.is(at - 1, &["INDEX"]) && self.is(at - 2, &["USING"]);
            let of_all = depth == 0 && created.is_some_and(|(_, word)| at > word + 1) && !self.names_it(at);
            let sign = self.tokens.get(at + 1).is_some_and(|it| it.is_sign('='));
            let name = self.tokens.get(at + 1 + usize::from(sign));
            let Some((name, end)) = name.and_then(|it| Some((identifier(&it.token)?, it.at.end))) else {
                continue;
            };
            if of_index || of_all {
                let from = if of_index { at - 2 } else { at };
                found.push((self.tokens[from].at.start..end, name));
            }
        }
        found
    }

    /// Whether the word stands where a name does.
    fn names_it(&self, at: usize) -> bool {
        let before = &self.tokens[at - 1];
        before.is_sign('.') || before.is_any(&["ON", "ONLY", "EXISTS", "TABLE", "VIEW", "INDEX", "OF"])
    }

    fn access_method(&self) -> Option<Range<usize>> {
        let (what, _) = self.creates()?;
        if !matches!(what, "TABLE" | "VIEW") {
            return None;
        }
        let end = outside(&self.tokens, &["AS"]).unwrap_or(self.tokens.len());
        let at = outside(&self.tokens[..end], &["USING"])?;
        let method = self.tokens.get(at + 1).filter(|it| identifier(&it.token).is_some())?;
        Some(self.tokens[at].at.start..method.at.end)
    }

    /// A policy or user mapping without the roles that are left out: `None` where it names none of them, `Some(None)`
    /// where it names no other.
    #[allow(clippy::option_option)] // said in words above
    fn without_roles(&self, options: &RestoreOptions) -> Option<Option<(Range<usize>, String)>> {
        let out = &options.without_roles;
        let named = |role: &&NamedRole| matches!(role.purpose, Purpose::Policy | Purpose::Mapping);
        let all: Vec<&NamedRole> = self.roles.iter().filter(named).collect();
        let (first, last) = (all.first()?, all.last()?);
        let is_out = |role: &&NamedRole| out.contains(options.role_map.of(&role.name));
        if !all.iter().any(is_out) {
            return None;
        }
        let list = &self.sql[first.at.start..last.at.end];
        let tokens = placed(list);
        let kept: Vec<String> = tokens
            .split(|it| it.is_sign(','))
            .filter_map(|it| {
                let text = &list[it.first()?.at.start..it.last()?.at.end];
                let at = first.at.start + it.last()?.at.start;
                let role = all.iter().find(|role| role.at.start == at);
                match role {
                    Some(role) if is_out(role) => None,
                    Some(role) => Some(options.role_map.written(&role.name)),
                    None => Some(text.to_owned()),
                }
            })
            .collect();
        if kept.is_empty() {
            return Some(None);
        }
        Some(Some((first.at.start..last.at.end, kept.join(", "))))
    }

    /// The policy that it is about, in a form that is equal for equal ones.
    pub(super) fn policy(&self) -> Option<String> {
        let from = match () {
            () if self.begins(&[&["CREATE", "ALTER", "DROP"], &["POLICY"]]) => 2,
            () if self.begins(&[&["COMMENT"], &["ON"], &["POLICY"]]) => 3,
            () => return None,
        };
        let ends = [
            "AS", "FOR", "TO", "USING", "WITH", "IS", "CASCADE", "RESTRICT", "RENAME",
        ];
        let name = self.tokens[from..]
            .iter()
            .skip_while(|it| it.is_any(&["IF", "EXISTS"]))
            .take_while(|it| !it.is_any(&ends));
        let name = name.filter_map(|it| match &it.token {
            Token::Other(sign) => Some(sign.to_string()),
            token => identifier(token),
        });
        Some(name.collect::<Vec<_>>().join(" "))
    }

    /// Whether it creates a policy.
    pub(super) fn creates_policy(&self) -> bool {
        self.begins(&[&["CREATE"], &["POLICY"]])
    }

    /// What it makes of the role of the session.
    pub(super) fn session(&self) -> Option<Session> {
        let local =
            usize::from(self.is(1, &["LOCAL", "SESSION"]) && self.is(2, &["ROLE", "SESSION", "SESSION_AUTHORIZATION"]));
        let is = |at: usize, words: &[&str]| self.is(at + local, words);
        let becomes = match () {
            () if self.begins(&[&["RESET"], &["ROLE"]]) => Session::Role,
            () if self.begins(&[&["RESET"], &["SESSION_AUTHORIZATION"]]) => Session::Back,
            () if self.begins(&[&["RESET"], &["SESSION"], &["AUTHORIZATION"]]) => Session::Back,
            () if !self.is(0, &["SET"]) => return None,
            () if is(1, &["ROLE"]) => Session::Role,
            () if is(1, &["SESSION_AUTHORIZATION"]) => Session::Owner,
            () if is(1, &["SESSION"]) && is(2, &["AUTHORIZATION"]) && is(3, &["DEFAULT"]) => Session::Back,
            () if is(1, &["SESSION"]) && is(2, &["AUTHORIZATION"]) => match self.tokens.get(3 + local)?.token {
                Token::Text(_) => Session::Owner,
                _ => Session::Either,
            },
            () => return None,
        };
        Some(becomes)
    }

    /// Whether it grants or revokes.
    pub(super) fn grants(&self) -> bool {
        self.begins(&[&["GRANT", "REVOKE"]])
    }
}

/// What a statement makes of the role of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// `SET ROLE`, or back from it.
    Role,
    /// It becomes the owner of what is made next, as `--use-set-session-authorization` writes it.
    Owner,
    /// The same in the form that who grants a privilege has too.
    Either,
    /// It is itself again.
    Back,
}

/// The number of the token that an action of an `ALTER` begins with, when it is left out.
fn dropped_action(tokens: &[Placed], options: &RestoreOptions) -> Option<usize> {
    let set = |word: &str| {
        let is_set = |at: &usize| tokens[*at].is("SET") && tokens.get(at + 1).is_some_and(|it| it.is(word));
        (0..tokens.len()).find(is_set)
    };
    let owner = options.no_owner.then(|| owner_to(tokens)).flatten();
    let tablespace = options.no_tablespaces.then(|| set("TABLESPACE")).flatten();
    let method = options
        .no_table_access_method
        .then(|| set("ACCESS").filter(|at| tokens.get(at + 2).is_some_and(|it| it.is("METHOD"))))
        .flatten();
    owner
        .or(tablespace)
        .or(method)
        .or_else(|| row_security(tokens, options))
}

fn row_security(tokens: &[Placed], options: &RestoreOptions) -> Option<usize> {
    let at = outside(tokens, &["ROW"]).filter(|_| options.no_policies)?;
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|it| it.is(word));
    if !(is(at + 1, "LEVEL") && is(at + 2, "SECURITY")) {
        return None;
    }
    let no = at >= 2 && is(at - 2, "NO");
    Some(at - 1 - usize::from(no))
}

/// A name as the server knows it.
fn identifier(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) => Some(word.to_ascii_lowercase()),
        Token::Quoted(name) => Some(name.clone()),
        Token::Text(_) | Token::Other(_) => None,
    }
}

//! A script as the options of a restore want it: without the statements that they leave out, and with other roles.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::fate::{Fate, Looked, Session, may_change};
use super::statement::{Kind, Statement};
use super::{Piece, Reading};
use crate::archive::options::RestoreOptions;
use crate::error::Result;
use crate::raw_text;

/// A script that is being read under options.
pub struct Adapted {
    reading: Reading,
    options: Arc<RestoreOptions>,
    /// What was read ahead.
    ahead: VecDeque<Piece>,
    /// Roles that were replaced by others.
    mapped: BTreeSet<String>,
    /// Policies that were left out.
    policies: BTreeSet<String>,
    /// Whether the session became another role, and so has to go back.
    is_another: bool,
}

impl Adapted {
    /// Reads `reading` as `options` want it.
    #[must_use]
    pub fn new(reading: Reading, options: Arc<RestoreOptions>) -> Adapted {
        Adapted {
            reading,
            options,
            ahead: VecDeque::new(),
            mapped: BTreeSet::new(),
            policies: BTreeSet::new(),
            is_another: true,
        }
    }

    /// The client encoding that was set last; `None`: the database's own.
    #[must_use]
    pub fn encoding(&self) -> Option<&str> {
        self.reading.encoding()
    }

    /// The number of the line that was reached.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.reading.line()
    }

    /// The roles that were found and replaced by others so far.
    #[must_use]
    pub fn mapped(&self) -> &BTreeSet<String> {
        &self.mapped
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// As [`Reading::next`].
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        let piece = match self.ahead.pop_front() {
            Some(piece) => Some(piece),
            None => self.reading.next().await?,
        };
        match piece {
            Some(Piece::Statement(statement, kind)) => self.statement(statement, kind).await.map(Some),
            piece => Ok(piece),
        }
    }

    async fn statement(&mut self, statement: Statement, kind: Kind) -> Result<Piece> {
        let start = &statement.text[..statement.text.len().min(20)];
        // Nobody runs those about roles and tablespaces.
        let is_run = !matches!(kind, Kind::Copy(_) | Kind::Insert(_) | Kind::Cluster);
        if !self.options.changes() || !is_run || !may_change(&String::from_utf8_lossy(start)) {
            return Ok(Piece::Statement(statement, kind));
        }
        let sql = statement.decoded();
        let looked = Looked::at(&sql);
        let role_map = &self.options.role_map;
        let hits = looked.roles.iter().filter(|role| role_map.of(&role.name) != role.name);
        self.mapped.extend(hits.map(|role| role.name.clone()));
        if let Some(session) = looked.session()
            && !self.keeps(session).await?
        {
            return Ok(Piece::LeftOut(statement.line));
        }
        let policy = looked.policy();
        if policy.as_ref().is_some_and(|policy| self.policies.contains(policy)) {
            return Ok(Piece::LeftOut(statement.line));
        }
        match looked.fate(&self.options) {
            Fate::LeaveOut => {
                self.policies.extend(policy.filter(|_| looked.creates_policy()));
                Ok(Piece::LeftOut(statement.line))
            }
            Fate::Run(text) if text == sql => Ok(Piece::Statement(statement, kind)),
            Fate::Run(text) => {
                let text = Bytes::from(raw_text::encode(&text).into_owned());
                Ok(Piece::Statement(Statement { text, ..statement }, kind))
            }
        }
    }

    /// Whether the session becomes another role: to own what it makes, or to grant what only that role may.
    async fn keeps(&mut self, session: Session) -> Result<bool> {
        let (no_owner, no_privileges) = (self.options.no_owner, self.options.no_privileges);
        self.is_another = match session {
            Session::Role | Session::Owner => !no_owner,
            Session::Either if no_owner == no_privileges => !no_owner,
            Session::Either => self.grants_next().await? == no_owner,
            Session::Back => return Ok(self.is_another),
        };
        Ok(self.is_another)
    }

    /// Whether the next statement grants or revokes.
    async fn grants_next(&mut self) -> Result<bool> {
        loop {
            if let Some(Piece::Statement(next, _)) = self.ahead.back() {
                let start = raw_text::decode(&next.text[..next.text.len().min(20)]);
                return Ok(Looked::at(&start).grants());
            }
            match self.reading.next().await? {
                Some(Piece::Comment(text)) => self.ahead.push_back(Piece::Comment(text)),
                Some(piece @ Piece::Statement(..)) => self.ahead.push_back(piece),
                Some(piece) => {
                    self.ahead.push_back(piece);
                    return Ok(false);
                }
                None => return Ok(false),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::roles::RoleMap;
    use crate::archive::script::Script;
    use crate::archive::source::Source;

    /// What is left of a script, a statement a line; `-` where one is left out.
    async fn adapted(sql: &str, options: RestoreOptions) -> Vec<String> {
        let script = Script::open(Source::memory(Bytes::copy_from_slice(sql.as_bytes())))
            .await
            .unwrap();
        let mut adapted = Adapted::new(script.read().unwrap(), Arc::new(options));
        let mut all = Vec::new();
        while let Some(piece) = adapted.next().await.unwrap() {
            match piece {
                Piece::Statement(statement, _) => all.push(statement.decoded()),
                Piece::LeftOut(_) => all.push("-".to_owned()),
                _ => {}
            }
        }
        all
    }

    fn options(change: impl FnOnce(&mut RestoreOptions)) -> RestoreOptions {
        let mut options = RestoreOptions::default();
        change(&mut options);
        options
    }

    /// Each statement, and what is left of it.
    async fn check(options: RestoreOptions, all: &[(&str, &str)]) {
        let sql: Vec<&str> = all.iter().map(|(sql, _)| *sql).collect();
        let left = adapted(&sql.join("\n"), options).await;
        let wanted: Vec<&str> = all.iter().map(|(_, left)| *left).collect();
        assert_eq!(left, wanted);
    }

    #[tokio::test]
    async fn owners_are_left_out() {
        let same = |sql: &'static str| (sql, sql);
        let all = [
            ("ALTER TABLE public.t OWNER TO boss;", "-"),
            ("alter function f(a int, b int) owner to \"B\";", "-"),
            ("ALTER LARGE OBJECT 12 OWNER TO boss;", "-"),
            (
                "ALTER TABLE t ADD a int, OWNER TO boss, ADD b numeric(1, 2);",
                "ALTER TABLE t ADD a int, ADD b numeric(1, 2);",
            ),
            ("ALTER TABLE t OWNER TO boss, ADD a int;", "ALTER TABLE t  ADD a int;"),
            same("ALTER TABLE t RENAME COLUMN owner TO boss;"),
            ("CREATE SCHEMA s AUTHORIZATION boss;", "CREATE SCHEMA s ;"),
            ("CREATE SCHEMA AUTHORIZATION boss;", "CREATE SCHEMA  boss;"),
            same("CREATE SCHEMA AUTHORIZATION CURRENT_USER;"),
            ("SET ROLE boss;", "-"),
            ("SET SESSION AUTHORIZATION 'boss';", "-"),
            ("SET SESSION AUTHORIZATION DEFAULT;", "-"),
            // Who grants is not an owner.
            same("SET SESSION AUTHORIZATION boss;"),
            same("GRANT SELECT ON t TO x;"),
            same("RESET SESSION AUTHORIZATION;"),
            ("SET SESSION AUTHORIZATION boss;", "-"),
            same("CREATE TABLE a (b text DEFAULT 'OWNER TO x');"),
            ("RESET ROLE;", "-"),
            ("REASSIGN OWNED BY a TO b;", "-"),
            (
                "CREATE DATABASE d OWNER = boss ENCODING 'UTF8';",
                "CREATE DATABASE d  ENCODING 'UTF8';",
            ),
            same("CREATE FUNCTION f() RETURNS int AS $$ ALTER TABLE t OWNER TO x; $$;"),
            same("INSERT INTO t VALUES ('ALTER TABLE t OWNER TO x;');"),
        ];
        check(options(|it| it.no_owner = true), &all).await;
    }

    #[tokio::test]
    async fn privileges_are_left_out_with_who_grants_them() {
        let same = |sql: &'static str| (sql, sql);
        let all = [
            same("SET SESSION AUTHORIZATION 'boss';"),
            same("CREATE TABLE t (a int);"),
            same("SET SESSION AUTHORIZATION DEFAULT;"),
            ("SET SESSION AUTHORIZATION boss;", "-"),
            ("GRANT SELECT ON t TO x;", "-"),
            ("RESET SESSION AUTHORIZATION;", "-"),
            ("REVOKE ALL ON SCHEMA public FROM PUBLIC;", "-"),
            ("ALTER DEFAULT PRIVILEGES FOR ROLE a GRANT ALL ON TABLES TO b;", "-"),
            ("GRANT CONNECT ON DATABASE d TO x;", "-"),
            same("CREATE POLICY grants ON t TO x;"),
        ];
        check(options(|it| it.no_privileges = true), &all).await;
    }

    #[tokio::test]
    async fn the_rest_is_left_out_by_its_kind() {
        let same = |sql: &'static str| (sql, sql);
        let all = [
            ("COMMENT ON TABLE t IS 'x';", "-"),
            ("SECURITY LABEL FOR p ON TABLE t IS 'x';", "-"),
            ("CREATE PUBLICATION p FOR ALL TABLES;", "-"),
            ("ALTER PUBLICATION p OWNER TO x;", "-"),
            ("CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p;", "-"),
            ("CREATE POLICY p ON t USING (true);", "-"),
            ("ALTER TABLE t ENABLE ROW LEVEL SECURITY;", "-"),
            (
                "ALTER TABLE ONLY t NO FORCE ROW LEVEL SECURITY, ADD a int;",
                "ALTER TABLE ONLY t  ADD a int;",
            ),
            ("SET default_tablespace = fast;", "-"),
            ("SET default_table_access_method = columnar;", "-"),
            (
                "CREATE TABLE t (a int PRIMARY KEY USING INDEX TABLESPACE fast, tablespace text) USING columnar TABLESPACE fast;",
                "CREATE TABLE t (a int PRIMARY KEY , tablespace text)  ;",
            ),
            same("CREATE TABLE tablespace (tablespace text);"),
            same("CREATE INDEX i ON tablespace USING btree (a);"),
            (
                "CREATE INDEX i ON t USING btree (a) TABLESPACE \"F\" WHERE (tablespace = 'x');",
                "CREATE INDEX i ON t USING btree (a)  WHERE (tablespace = 'x');",
            ),
            (
                "CREATE MATERIALIZED VIEW v USING heap TABLESPACE fast AS SELECT 1 FROM a JOIN b USING (c);",
                "CREATE MATERIALIZED VIEW v   AS SELECT 1 FROM a JOIN b USING (c);",
            ),
            ("ALTER INDEX i SET TABLESPACE fast;", "-"),
            ("ALTER TABLE ALL IN TABLESPACE a OWNED BY b, c SET TABLESPACE d;", "-"),
            ("ALTER TABLE t SET ACCESS METHOD columnar;", "-"),
            same("ALTER TABLE t OWNER TO x;"),
        ];
        let none = options(|it| {
            it.no_comments = true;
            it.no_security_labels = true;
            it.no_publications = true;
            it.no_subscriptions = true;
            it.no_policies = true;
            it.no_tablespaces = true;
            it.no_table_access_method = true;
        });
        check(none, &all).await;
    }

    #[tokio::test]
    async fn roles_become_others_or_go() {
        let all = [
            ("ALTER TABLE t OWNER TO a;", "ALTER TABLE t OWNER TO \"b\";"),
            ("GRANT a TO c;", "GRANT a TO c;"),
            (
                "CREATE POLICY p ON s.t AS PERMISSIVE FOR SELECT TO a, gone, public USING (true);",
                "CREATE POLICY p ON s.t AS PERMISSIVE FOR SELECT TO \"b\", public USING (true);",
            ),
            (
                "COMMENT ON POLICY p ON s.t IS 'x';",
                "COMMENT ON POLICY p ON s.t IS 'x';",
            ),
            ("CREATE POLICY q ON s.t TO gone;", "-"),
            ("COMMENT ON POLICY q ON s.t IS 'x';", "-"),
            ("CREATE USER MAPPING FOR gone SERVER s;", "-"),
            (
                "CREATE USER MAPPING FOR a SERVER s;",
                "CREATE USER MAPPING FOR \"b\" SERVER s;",
            ),
        ];
        let map = options(|it| {
            it.role_map = RoleMap::parse(&["a=b".to_owned()]).unwrap();
            it.without_roles = BTreeSet::from(["gone".to_owned()]);
        });
        check(map, &all).await;
    }
}

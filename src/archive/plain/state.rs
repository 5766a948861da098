//! Session settings: those that hold throughout, and those that change from entry to entry.

use super::Script;
use crate::archive::toc::Entry;

/// What the special entries say about the archive as a whole.
pub(super) struct Settings {
    /// `client_encoding`.
    pub encoding: String,
    /// `standard_conforming_strings`.
    pub std_strings: bool,
    /// The statement that sets the search path; archives of old servers have none.
    pub search_path: Option<String>,
}

impl Settings {
    /// Reads the `ENCODING`, `STDSTRINGS` and `SEARCHPATH` entries.
    pub fn read(entries: &[Entry]) -> Self {
        let defn = |desc: &str| {
            let entry = entries.iter().find(|entry| entry.desc == desc);
            entry.map(|entry| entry.defn.as_str())
        };
        let quoted = |defn: &str| defn.split('\'').nth(1).map(str::to_owned);
        Settings {
            encoding: defn("ENCODING")
                .and_then(quoted)
                .unwrap_or_else(|| "SQL_ASCII".to_owned()),
            std_strings: defn("STDSTRINGS").is_some_and(|defn| defn.contains("'on'")),
            search_path: defn("SEARCHPATH").map(str::to_owned),
        }
    }
}

/// What the session that reads the text has set at this point; `None` is not known.
#[derive(Default)]
pub(super) struct Current {
    user: Option<String>,
    schema: Option<String>,
    tablespace: Option<String>,
    access_method: Option<String>,
}

impl Current {
    /// A GRANT's text may have changed the user.
    pub fn forget_user(&mut self) {
        self.user = None;
    }

    /// What was the current schema may have been dropped.
    pub fn forget_schema(&mut self) {
        self.schema = None;
    }
}

impl Script {
    /// Prints the settings that hold throughout.
    pub(super) fn print_settings(&mut self) {
        let mut set = String::from(
            "SET statement_timeout = 0;\nSET lock_timeout = 0;\nSET idle_in_transaction_session_timeout = 0;\n",
        );
        if self.quote.major >= 17 {
            set.push_str("SET transaction_timeout = 0;\n");
        }
        let on = if self.settings.std_strings { "on" } else { "off" };
        set.push_str(&format!(
            "SET client_encoding = '{}';\nSET standard_conforming_strings = {on};\n",
            self.settings.encoding
        ));
        if let Some(role) = &self.options.role {
            set.push_str(&format!("SET ROLE {};\n", self.quote.id(role)));
        }
        set.push_str(self.settings.search_path.as_deref().unwrap_or_default());
        set.push_str("SET check_function_bodies = false;\nSET xmloption = content;\n");
        set.push_str("SET client_min_messages = warning;\n");
        if !self.settings.std_strings {
            set.push_str("SET escape_string_warning = off;\n");
        }
        let rows = if self.options.enable_row_security { "on" } else { "off" };
        set.push_str(&format!("SET row_security = {rows};\n\n"));
        self.print(&set);
    }

    /// The text of the settings that a restoring session makes first.
    #[must_use]
    pub fn session_settings(&mut self) -> bytes::Bytes {
        self.print_settings();
        self.take()
    }

    /// Forgets all that changes from entry to entry: a new connection starts.
    pub fn reconnected(&mut self) {
        self.current = Current::default();
    }

    /// Sets the session up for `entry`: owner, schema, tablespace, access method.
    pub(super) fn prepare(&mut self, entry: &Entry) {
        self.become_owner(entry);
        self.select_schema(entry.namespace.as_deref());
        self.select_tablespace(entry.tablespace.as_deref());
        if !self.has_late_access_method(entry) {
            self.select_access_method(entry.tableam.as_deref());
        }
    }

    /// Whether the access method of `entry` is set after its creation: partitioned tables have no storage.
    pub(super) fn has_late_access_method(&self, entry: &Entry) -> bool {
        self.quote.major >= 17 && entry.relkind == b'p'
    }

    pub(super) fn become_owner(&mut self, entry: &Entry) {
        if !self.options.no_owner && self.options.use_set_session_authorization {
            self.become_user(&entry.owner);
        }
    }

    /// Switches to `user`; the empty name is the session's own.
    pub(super) fn become_user(&mut self, user: &str) {
        if self.current.user.as_deref() == Some(user) {
            return;
        }
        let user_literal = match user {
            "" => "DEFAULT".to_owned(),
            user => self.quote.literal(user),
        };
        self.print(&format!("SET SESSION AUTHORIZATION {user_literal};\n\n"));
        self.current.user = Some(user.to_owned());
    }

    /// Selects a schema, which only archives without a `SEARCHPATH` entry need.
    pub(super) fn select_schema(&mut self, schema: Option<&str>) {
        let Some(schema) = schema.filter(|schema| !schema.is_empty()) else {
            return;
        };
        if self.settings.search_path.is_some() || self.current.schema.as_deref() == Some(schema) {
            return;
        }
        let builtin = if schema == "pg_catalog" { "" } else { ", pg_catalog" };
        self.print(&format!("SET search_path = {}{builtin};\n\n", self.quote.id(schema)));
        self.current.schema = Some(schema.to_owned());
    }

    fn select_tablespace(&mut self, tablespace: Option<&str>) {
        let Some(want) = tablespace else { return };
        if self.options.no_tablespaces || self.current.tablespace.as_deref() == Some(want) {
            return;
        }
        match want {
            "" => self.print("SET default_tablespace = '';\n\n"),
            want => self.print(&format!("SET default_tablespace = {};\n\n", self.quote.id(want))),
        }
        self.current.tablespace = Some(want.to_owned());
    }

    fn select_access_method(&mut self, access_method: Option<&str>) {
        let Some(want) = access_method else { return };
        if self.options.no_table_access_method || self.current.access_method.as_deref() == Some(want) {
            return;
        }
        self.print(&format!(
            "SET default_table_access_method = {};\n\n",
            self.quote.id(want)
        ));
        self.current.access_method = Some(want.to_owned());
    }
}

//! `\connect`, after the database was created.

use super::Script;

impl Script {
    /// Prints the command that connects to `database`, and what a new session needs.
    pub(super) fn print_connect(&mut self, database: &str) {
        let is_simple = |name: &str| {
            name.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
        };
        let command = if is_simple(database) {
            format!("\\connect {}\n", self.quote.id(database))
        } else {
            // psql would take other characters for a connection string, so it gets one.
            let value = database.replace('\\', "\\\\").replace('\'', "\\'");
            let string = format!("dbname='{value}'");
            format!(
                "\\encoding SQL_ASCII\n\\connect -reuse-previous=on {}\n",
                self.quote.id(&string)
            )
        };
        match self.options.restrict_key.clone() {
            Some(key) => self.print(&format!("\\unrestrict {key}\n{command}\\restrict {key}\n\n")),
            None => self.print(&format!("{command}\n")),
        }
        self.reconnected();
        self.print_settings();
    }
}

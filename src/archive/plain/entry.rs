//! One entry as text: its comment block, its definition, its owner, the frame around its rows.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{Part, Script, sanitize};
use crate::archive::required::{Pass, pass};
use crate::archive::toc::Entry;

impl Script {
    /// Prints a part of the main text; of rows, all that comes before them.
    pub(super) fn print_part(&mut self, part: Part) {
        let entries = Arc::clone(&self.entries);
        match part {
            Part::Definition(at) => {
                self.note_definition(&entries[at], self.required[at].schema);
                self.print_entry(&entries[at], "");
                if matches!(entries[at].desc.as_str(), "DATABASE" | "DATABASE PROPERTIES") {
                    // What follows belongs in the new database, under its new settings.
                    self.note(|| format!("connecting to new database \"{}\"", entries[at].tag));
                    self.print_connect(&entries[at].tag);
                }
            }
            Part::Statistics(at) => self.print_entry(&entries[at], "Statistics for "),
            Part::Rows(at) => {
                self.print_entry(&entries[at], "Data for ");
                self.begin_rows(&entries[at]);
            }
        }
    }

    fn note_definition(&mut self, entry: &Entry, is_schema: bool) {
        self.note(|| match &entry.namespace {
            _ if !is_schema => format!("executing {} {}", entry.desc, entry.tag),
            Some(schema) => format!("creating {} \"{schema}.{}\"", entry.desc, entry.tag),
            None => format!("creating {} \"{}\"", entry.desc, entry.tag),
        });
    }

    /// The statements of one entry that create it, for a restore that runs them one by one.
    #[must_use]
    pub fn definition(&mut self, at: usize) -> bytes::Bytes {
        let entries = Arc::clone(&self.entries);
        self.print_entry(&entries[at], "");
        self.take()
    }

    /// The same with another definition in the place of the entry's own.
    #[must_use]
    pub fn definition_as(&mut self, at: usize, definition: &str) -> bytes::Bytes {
        let entries = Arc::clone(&self.entries);
        self.prepare(&entries[at]);
        self.print(definition);
        self.print("\n\n");
        self.print_attributes(&entries[at]);
        self.take()
    }

    /// The same in two parts, of which the second may fail for itself: what the entry is, and whose.
    #[must_use]
    pub fn definition_and_owner(&mut self, at: usize) -> (bytes::Bytes, bytes::Bytes) {
        let entries = Arc::clone(&self.entries);
        self.print_object(&entries[at], "");
        let definition = self.take();
        self.print_attributes(&entries[at]);
        (definition, self.take())
    }

    fn print_entry(&mut self, entry: &Entry, prefix: &str) {
        self.print_object(entry, prefix);
        self.print_attributes(entry);
    }

    fn print_object(&mut self, entry: &Entry, prefix: &str) {
        self.prepare(entry);
        if self.options.comments {
            self.print_comment(entry, prefix);
        }
        self.print_definition(entry);
    }

    fn print_attributes(&mut self, entry: &Entry) {
        self.print_owner(entry);
        if self.has_late_access_method(entry) {
            self.print_late_access_method(entry);
        }
        if pass(entry) == Pass::Acl {
            self.current.forget_user();
        }
    }

    fn print_comment(&mut self, entry: &Entry, prefix: &str) {
        let mut text = String::from("--\n");
        if self.options.verbose {
            let _ = writeln!(
                text,
                "-- TOC entry {} (class {} OID {})",
                entry.dump_id, entry.table_oid, entry.oid
            );
            if !entry.dependencies.is_empty() {
                text.push_str("-- Dependencies:");
                for dependency in &entry.dependencies {
                    let _ = write!(text, " {dependency}");
                }
                text.push('\n');
            }
        }
        let or_hyphen = |name: Option<&str>| name.map_or("-".to_owned(), |name| sanitize(name).into_owned());
        let owner = entry.owner().filter(|_| !self.options.no_owner);
        let _ = write!(
            text,
            "-- {prefix}Name: {}; Type: {}; Schema: {}; Owner: {}",
            sanitize(&entry.tag),
            entry.desc,
            or_hyphen(entry.namespace.as_deref()),
            or_hyphen(owner),
        );
        let tablespace = entry.tablespace.as_deref().filter(|name| !name.is_empty());
        if let Some(tablespace) = tablespace.filter(|_| !self.options.no_tablespaces) {
            let _ = write!(text, "; Tablespace: {}", sanitize(tablespace));
        }
        text.push_str("\n--\n\n");
        self.print(&text);
    }

    fn print_definition(&mut self, entry: &Entry) {
        if self.options.no_owner && entry.desc == "SCHEMA" && !entry.defn.starts_with("--") {
            // Old archives name the owner in CREATE SCHEMA itself.
            let name = self.quote.id(&entry.tag);
            self.print(&format!("CREATE SCHEMA {name};\n\n\n"));
        } else if entry.desc == "BLOB METADATA" {
            self.for_each_large_object(entry, "SELECT pg_catalog.lo_create('", "')");
        } else if entry.desc == "ACL" && entry.tag.starts_with("LARGE OBJECTS") {
            self.print_large_object_acls(entry);
        } else if !entry.defn.is_empty() {
            self.print(&entry.defn);
            self.print("\n\n");
        }
    }

    fn print_late_access_method(&mut self, entry: &Entry) {
        if let (false, Some(method)) = (self.options.no_table_access_method, &entry.tableam) {
            let statement = format!(
                "ALTER TABLE {} SET ACCESS METHOD {};\n\n",
                self.qualified(entry),
                self.quote.id(method)
            );
            self.print(&statement);
        }
    }

    fn qualified(&self, entry: &Entry) -> String {
        match &entry.namespace {
            Some(schema) => self.quote.qualified(schema, &entry.tag),
            None => self.quote.id(&entry.tag).into_owned(),
        }
    }

    fn begin_rows(&mut self, entry: &Entry) {
        if entry.is_large_objects() {
            self.note(|| format!("processing {}", entry.desc));
            self.select_schema(Some("pg_catalog"));
            self.print("BEGIN;\n\n");
            return;
        }
        self.print_triggers(entry, "DISABLE");
        let schema = entry.namespace.as_deref().unwrap_or_default();
        self.note(|| format!("processing data for table \"{schema}.{}\"", entry.tag));
        self.become_owner(entry);
        self.select_schema(entry.namespace.as_deref());
        self.print(&entry.copy_stmt);
    }

    /// Prints what follows the rows of the entry at `at`.
    pub(super) fn end_rows(&mut self, at: usize) {
        let entries = Arc::clone(&self.entries);
        match entries[at].is_large_objects() {
            true => self.print("COMMIT;\n\n"),
            false => self.print_triggers(&entries[at], "ENABLE"),
        }
    }

    /// Triggers must not fire on rows that are restored into a schema that exists already.
    fn print_triggers(&mut self, entry: &Entry, verb: &str) {
        if self.options.schema || !self.options.disable_triggers {
            return;
        }
        self.note(|| match verb {
            "DISABLE" => format!("disabling triggers for {}", entry.tag),
            _ => format!("enabling triggers for {}", entry.tag),
        });
        let superuser = self.options.superuser.clone().unwrap_or_default();
        self.become_user(&superuser);
        let table = self.qualified(entry);
        self.print(&format!("ALTER TABLE {table} {verb} TRIGGER ALL;\n\n"));
    }
}

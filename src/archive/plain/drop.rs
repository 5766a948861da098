//! What `--clean` prints first: the drop statements in reverse order, with `IF EXISTS` worked in.

use std::sync::Arc;

use bytes::Bytes;

use super::Script;
use crate::archive::toc::Entry;

impl Script {
    /// The drop statements alone, for a session that runs them.
    #[must_use]
    pub fn drops(&mut self) -> Bytes {
        self.print_drops();
        self.take()
    }

    /// Prints the drop statements, when they are wanted.
    pub(super) fn print_drops(&mut self) {
        if !self.options.clean {
            return;
        }
        let entries = Arc::clone(&self.entries);
        for at in self.options.selection.order(&entries).into_iter().rev() {
            let entry = &entries[at];
            // With --create the session is in another database: only the database itself can be dropped.
            let of_database = matches!(entry.desc.as_str(), "DATABASE" | "DATABASE PROPERTIES");
            if self.options.create && !of_database {
                continue;
            }
            if self.required[at].wanted() && !entry.drop_stmt.is_empty() {
                self.note(|| format!("dropping {} {}", entry.desc, entry.tag));
                self.become_owner(entry);
                self.select_schema(entry.namespace.as_deref());
                self.print_drop(entry);
            }
        }
        self.current.forget_schema();
    }

    fn print_drop(&mut self, entry: &Entry) {
        let if_exists = self.options.if_exists;
        match entry.desc.as_str() {
            "BLOB METADATA" if if_exists => {
                let select = "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = '";
                self.for_each_large_object(entry, select, "'");
            }
            "BLOB METADATA" => self.for_each_large_object(entry, "SELECT pg_catalog.lo_unlink('", "')"),
            _ if !if_exists || entry.drop_stmt.starts_with("--") => self.print(&entry.drop_stmt),
            "BLOB" => self.print(&format!(
                "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = '{}';\n",
                entry.oid
            )),
            desc => self.print(&with_if_exists(desc, &entry.drop_stmt)),
        }
    }
}

/// The drop statement of an entry of type `desc` with `IF EXISTS` wherever it can stand.
fn with_if_exists(desc: &str, statement: &str) -> String {
    let (start, rest) = match statement.strip_prefix("ALTER TABLE") {
        Some(rest) => ("ALTER TABLE IF EXISTS", rest),
        None => ("", statement),
    };
    // A default has no IF EXISTS, nor has a setting of the database, nor has the empty view that stands in
    // for a rule.
    if matches!(desc, "DEFAULT" | "DATABASE PROPERTIES") || rest.starts_with("CREATE OR REPLACE VIEW") {
        return format!("{start}{rest}");
    }
    let drop = match desc {
        "CONSTRAINT" | "CHECK CONSTRAINT" | "FK CONSTRAINT" => "DROP CONSTRAINT".to_owned(),
        desc => format!("DROP {desc}"),
    };
    match rest.find(&drop) {
        Some(at) => {
            let (before, after) = (&rest[..at], &rest[at + drop.len()..]);
            format!("{start}{before}{drop} IF EXISTS{after}")
        }
        None => format!("{start}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::with_if_exists;

    #[test]
    fn if_exists_goes_where_the_statement_takes_it() {
        for (desc, statement, wanted) in [
            ("TABLE", "DROP TABLE public.t;\n", "DROP TABLE IF EXISTS public.t;\n"),
            (
                "FK CONSTRAINT",
                "ALTER TABLE ONLY public.t DROP CONSTRAINT f;\n",
                "ALTER TABLE IF EXISTS ONLY public.t DROP CONSTRAINT IF EXISTS f;\n",
            ),
            (
                "DEFAULT",
                "ALTER TABLE public.t ALTER COLUMN id DROP DEFAULT;\n",
                "ALTER TABLE IF EXISTS public.t ALTER COLUMN id DROP DEFAULT;\n",
            ),
            (
                "RULE",
                "CREATE OR REPLACE VIEW public.v AS\nSELECT\n    NULL::integer AS id;\n",
                "CREATE OR REPLACE VIEW public.v AS\nSELECT\n    NULL::integer AS id;\n",
            ),
        ] {
            assert_eq!(with_if_exists(desc, statement), wanted);
        }
    }
}

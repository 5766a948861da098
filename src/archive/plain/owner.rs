//! `ALTER … OWNER TO`, with the names that it takes for each type of entry.

use super::Script;
use crate::archive::toc::Entry;

impl Script {
    /// Prints the statement that gives `entry` to its owner. What cannot be dropped has no owner of its own.
    pub(super) fn print_owner(&mut self, entry: &Entry) {
        if self.options.no_owner || entry.owner.is_empty() || entry.drop_stmt.is_empty() {
            return;
        }
        // Schema "public" exists already: its creation is a comment, which no session user would own.
        let is_comment = self.quote.major >= 15 && entry.desc == "SCHEMA" && entry.defn.starts_with("--");
        if self.options.use_set_session_authorization && !is_comment {
            return;
        }
        if self.role.as_deref() == Some(entry.owner.as_str()) && belongs_to_its_creator(entry) {
            return;
        }
        let owner = self.quote.id(&entry.owner).into_owned();
        if entry.desc == "BLOB METADATA" {
            self.for_each_large_object(entry, "ALTER LARGE OBJECT ", &format!(" OWNER TO {owner}"));
        } else if let Some(object) = self.owned_object(entry) {
            self.print(&format!("ALTER {object} OWNER TO {owner};\n\n"));
        }
    }

    /// How ALTER names the object; `None` for types that belong to whom their table belongs to.
    fn owned_object(&self, entry: &Entry) -> Option<String> {
        let desc = entry.desc.as_str();
        let keyword = match desc {
            "VIEW" | "MATERIALIZED VIEW" | "SEQUENCE" if self.quote.major < 16 => "TABLE",
            "BLOB" => return Some(format!("LARGE OBJECT {}", entry.tag)),
            "AGGREGATE" | "FUNCTION" | "OPERATOR" | "OPERATOR CLASS" | "OPERATOR FAMILY" | "PROCEDURE" => {
                // The drop statement has the arguments, which the entry's name spells differently.
                let object = entry.drop_stmt.strip_prefix("DROP ")?;
                return Some(object.trim_end_matches(['\n', ';']).to_owned());
            }
            "COLLATION"
            | "CONVERSION"
            | "DATABASE"
            | "DOMAIN"
            | "EVENT TRIGGER"
            | "FOREIGN DATA WRAPPER"
            | "FOREIGN TABLE"
            | "MATERIALIZED VIEW"
            | "PROCEDURAL LANGUAGE"
            | "PUBLICATION"
            | "SCHEMA"
            | "SEQUENCE"
            | "SERVER"
            | "STATISTICS"
            | "SUBSCRIPTION"
            | "TABLE"
            | "TEXT SEARCH CONFIGURATION"
            | "TEXT SEARCH DICTIONARY"
            | "TYPE"
            | "VIEW" => desc,
            _ => return None,
        };
        let name = self.quote.id(&entry.tag);
        Some(match entry.namespace.as_deref() {
            Some(schema) if !schema.is_empty() => format!("{keyword} {}.{name}", self.quote.id(schema)),
            _ => format!("{keyword} {name}"),
        })
    }
}

/// Whether the statements of `entry` create an object that belongs to whoever runs them, and whose owner is of no other use
/// to anything that follows. Of a schema that may have been there before, or a language, that is not so.
fn belongs_to_its_creator(entry: &Entry) -> bool {
    matches!(
        entry.desc.as_str(),
        "BLOB"
            | "BLOB METADATA"
            | "FOREIGN TABLE"
            | "FUNCTION"
            | "MATERIALIZED VIEW"
            | "PROCEDURE"
            | "SEQUENCE"
            | "TABLE"
            | "VIEW"
    )
}

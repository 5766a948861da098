//! Which parts of which entries a restore wants, and in which pass each entry's turn is.

use super::options::RestoreOptions;
use super::toc::{Entry, Section};

/// What a restore wants of one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Required {
    /// Its definition.
    pub schema: bool,
    /// Its rows, or the statement that stands for them (a sequence's value).
    pub data: bool,
    /// Its planner statistics.
    pub statistics: bool,
    /// It is a setting of the archive as a whole: always kept, never printed as an entry.
    pub special: bool,
}

impl Required {
    /// Whether the entry is restored at all.
    #[must_use]
    pub fn wanted(self) -> bool {
        self.schema || self.data || self.statistics
    }
}

/// The passes of a restore, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// Everything else.
    Main,
    /// Privileges: they could take away what the main pass needs.
    Acl,
    /// What needs the privileges: event triggers would fire on the GRANTs, a refresh reads tables.
    PostAcl,
}

/// The pass that restores `entry`.
#[must_use]
pub fn pass(entry: &Entry) -> Pass {
    match entry.desc.as_str() {
        "ACL" | "ACL LANGUAGE" | "DEFAULT ACL" => Pass::Acl,
        "EVENT TRIGGER" | "MATERIALIZED VIEW DATA" => Pass::PostAcl,
        // A comment needs its object; of those that come late, only event triggers have comments.
        "COMMENT" if entry.tag.starts_with("EVENT TRIGGER ") => Pass::PostAcl,
        // Statistics after the data are of what a refresh or an index build would overwrite.
        "STATISTICS DATA" if entry.section == Section::PostData => Pass::PostAcl,
        _ => Pass::Main,
    }
}

/// What `options` want of each of `entries`.
#[must_use]
pub fn required(entries: &[Entry], options: &RestoreOptions) -> Vec<Required> {
    let mut section = Section::PreData;
    let mark = |entry: &Entry| {
        // Comments and the like have no section of their own: they go with what they follow.
        if entry.section != Section::None {
            section = entry.section;
        }
        of_entry(entry, section, options)
    };
    entries.iter().map(mark).collect()
}

fn of_entry(entry: &Entry, section: Section, options: &RestoreOptions) -> Required {
    let desc = entry.desc.as_str();
    if matches!(desc, "ENCODING" | "STDSTRINGS" | "SEARCHPATH") {
        return Required {
            special: true,
            ..Required::default()
        };
    }
    if matches!(desc, "DATABASE" | "DATABASE PROPERTIES") {
        return Required {
            schema: options.create,
            ..Required::default()
        };
    }
    if is_left_out(entry, options) || !options.sections.has(section) {
        return Required::default();
    }
    let of_database = matches!(desc, "ACL" | "COMMENT" | "SECURITY LABEL") && entry.tag.starts_with("DATABASE ");
    if (of_database && !options.create) || (desc == "<Init>" && entry.tag == "Max OID") {
        return Required::default();
    }
    if desc == "STATISTICS DATA" {
        return Required {
            statistics: options.statistics,
            ..Required::default()
        };
    }
    parts(entry, options)
}

/// Whether an option leaves out all entries of this type.
fn is_left_out(entry: &Entry, options: &RestoreOptions) -> bool {
    let desc = entry.desc.as_str();
    let about = |object: &str| matches!(desc, "COMMENT" | "SECURITY LABEL") && entry.tag.starts_with(object);
    (options.no_privileges && pass(entry) == Pass::Acl)
        || (options.no_comments && desc == "COMMENT")
        || (options.no_policies && (matches!(desc, "POLICY" | "ROW SECURITY") || about("POLICY")))
        || (options.no_publications
            && (matches!(
                desc,
                "PUBLICATION" | "PUBLICATION TABLE" | "PUBLICATION TABLES IN SCHEMA"
            ) || about("PUBLICATION")))
        || (options.no_subscriptions
            && (matches!(desc, "SUBSCRIPTION" | "SUBSCRIPTION TABLE") || about("SUBSCRIPTION")))
        || (options.no_security_labels && desc == "SECURITY LABEL")
}

fn parts(entry: &Entry, options: &RestoreOptions) -> Required {
    let desc = entry.desc.as_str();
    let large_object = matches!(desc, "BLOB" | "BLOB METADATA")
        || (matches!(desc, "ACL" | "COMMENT" | "SECURITY LABEL") && entry.tag.starts_with("LARGE OBJECT"));
    let (mut schema, mut data) = match entry.has_data {
        true => (true, true),
        // A sequence's value and everything about large objects is data without rows.
        false if desc == "SEQUENCE SET" || large_object => (false, true),
        false => (true, false),
    };
    schema &= !entry.defn.is_empty() && !entry.defn.starts_with(LOAD_VIA_ROOT);
    if !options.data {
        data &= (options.sequence_data && desc == "SEQUENCE SET") || (options.binary_upgrade && large_object);
    }
    schema &= options.schema;
    Required {
        schema,
        data,
        statistics: false,
        special: false,
    }
}

/// What `defn` of a table's rows starts with when they are loaded through the root of the partition tree.
pub const LOAD_VIA_ROOT: &str = "-- load via partition root ";

//! Which parts of which entries a restore wants, and in which pass each entry's turn is.

use std::collections::HashSet;

use super::options::RestoreOptions;
use super::toc::{DumpId, Entry, Section};

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
        "COMMENT" | "SECURITY LABEL" if entry.tag.starts_with("EVENT TRIGGER ") => Pass::PostAcl,
        // Statistics after the data are of what a refresh or an index build would overwrite.
        "STATISTICS DATA" if entry.section == Section::PostData => Pass::PostAcl,
        _ => Pass::Main,
    }
}

/// What is known while entries are marked one after the other.
struct Marked {
    /// What is wanted so far and has something belong to it: an ACL that waits for another one does not belong to that.
    parents: HashSet<DumpId>,
    listed: Option<HashSet<DumpId>>,
}

/// What `options` want of each of `entries`.
#[must_use]
pub fn required(entries: &[Entry], options: &RestoreOptions) -> Vec<Required> {
    let mut all = vec![Required::default(); entries.len()];
    let mut section = Section::PreData;
    let mut marked = Marked {
        parents: HashSet::new(),
        listed: options.selection.listed(),
    };
    for at in options.selection.order(entries) {
        let entry = &entries[at];
        // Comments and the like have no section of their own: they go with what they follow.
        if entry.section != Section::None {
            section = entry.section;
        }
        all[at] = of_entry(entry, section, options, &marked);
        if all[at].wanted() && entry.desc != "ACL" {
            marked.parents.insert(entry.dump_id);
        }
    }
    if options.selection.with_schemas && options.schema && options.sections.pre_data {
        bring_schemas(entries, &mut all);
    }
    all
}

/// Marks the schemas of what is wanted.
fn bring_schemas(entries: &[Entry], all: &mut [Required]) {
    let wanted = entries.iter().zip(&*all).filter(|(_, required)| required.wanted());
    let schemas: HashSet<&str> = wanted.filter_map(|(entry, _)| entry.namespace.as_deref()).collect();
    for (entry, required) in entries.iter().zip(all) {
        required.schema |= entry.desc == "SCHEMA" && schemas.contains(entry.tag.as_str());
    }
}

fn of_entry(entry: &Entry, section: Section, options: &RestoreOptions, marked: &Marked) -> Required {
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
    let selection = &options.selection;
    let listed = marked
        .listed
        .as_ref()
        .is_none_or(|listed| listed.contains(&entry.dump_id));
    if is_left_out(entry, options) || !options.sections.has(section) || !listed {
        return Required::default();
    }
    let of_database = matches!(desc, "ACL" | "COMMENT" | "SECURITY LABEL") && entry.tag.starts_with("DATABASE ");
    if (of_database && !options.create) || (desc == "<Init>" && entry.tag == "Max OID") {
        return Required::default();
    }
    let belongs = matches!(desc, "ACL" | "COMMENT" | "SECURITY LABEL" | "STATISTICS DATA");
    let selected = match belongs {
        true => {
            of_database || !selection.is_selective() || entry.dependencies.iter().any(|id| marked.parents.contains(id))
        }
        false => selection.takes(entry),
    };
    if !selected {
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

//! A dump that is restored as a whole, but without what there is no use for where it is restored - owners, privileges,
//! comments - or with other roles than those that it names.

use std::collections::{BTreeSet, HashSet};

use super::create::tablespace;
use super::plan::Obstacle;
use crate::archive::options::RestoreOptions;
use crate::archive::roles::{edited, names_roles};
use crate::archive::script::without_roles;
use crate::archive::toc::{DumpId, Entry};
use crate::error::Exit;
use crate::sql::roles::{Form, Purpose, roles};
use crate::sql::tokens::{Token, Tokens};

/// The entries of an archive as `options` want them.
pub struct Changed {
    /// As many as before.
    pub entries: Vec<Entry>,
    /// Where some roles become others, all of them.
    pub named: BTreeSet<String>,
    /// What a person should know of it.
    pub warnings: Vec<String>,
}

/// The entries of an archive as `options` want them.
#[must_use]
pub fn changed(entries: &[Entry], options: &RestoreOptions) -> Changed {
    let named = match options.role_map.is_empty() {
        true => BTreeSet::new(),
        false => named(entries),
    };
    let mut entries = entries.to_vec();
    for entry in &mut entries {
        options.role_map.change(entry);
        if options.no_owner {
            disown(entry, options);
        }
        if options.no_tablespaces {
            entry.tablespace = None;
            if entry.desc == "DATABASE"
                && let Some((_, without)) = tablespace(&entry.defn)
            {
                entry.defn = without;
            }
        }
    }
    leave_out(&mut entries, &options.without_roles);
    let warnings = match options.role_map.is_empty() {
        true => Vec::new(),
        false => leave_out_second(&mut entries),
    };
    Changed {
        entries,
        named,
        warnings,
    }
}

/// A server has one user mapping for a role: where two roles became one, the first stays, and the others are told.
fn leave_out_second(entries: &mut [Entry]) -> Vec<String> {
    let mut there = HashSet::new();
    let mut told = Vec::new();
    for entry in entries.iter_mut().filter(|it| it.desc == "USER MAPPING") {
        let Some(mapping) = mapping(&entry.defn) else { continue };
        if !there.insert(mapping) {
            entry.defn.clear();
            told.push(format!(
                "{} is there twice, because --map-role makes one role of two: the second one is left out",
                entry.tag
            ));
        }
    }
    told
}

/// Whose mapping a statement creates on which server: all that it says before its options.
fn mapping(create: &str) -> Option<Vec<String>> {
    let words = Tokens::new(create).map_while(|token| match token {
        Token::Word(word) if word == "OPTIONS" => None,
        Token::Word(word) | Token::Quoted(word) => Some(word),
        Token::Text(_) | Token::Other(_) => None,
    });
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then_some(words)
}

/// The roles that the entries name.
fn named(entries: &[Entry]) -> BTreeSet<String> {
    let inside = entries.iter().filter(|entry| names_roles(&entry.desc));
    let inside = inside.flat_map(|entry| roles(&entry.defn)).map(|role| role.name);
    let owners = entries.iter().map(|entry| entry.owner.clone());
    inside.chain(owners.filter(|owner| !owner.is_empty())).collect()
}

/// Takes the owner away. A database that is made as a role belongs to that.
fn disown(entry: &mut Entry, options: &RestoreOptions) {
    entry.owner.clear();
    match entry.desc.as_str() {
        "DATABASE" => entry.owner = options.role.clone().unwrap_or_default(),
        "SCHEMA" => entry.defn = unowned(&entry.defn),
        _ => {}
    }
}

/// Old archives name the owner of a schema in its creation.
fn unowned(create: &str) -> String {
    let owners = roles(create).into_iter().filter(|role| role.purpose == Purpose::Owner);
    let edits = owners.filter(|role| role.form == Form::Name).filter_map(|role| {
        let start = create[..role.at.start].rfind(" AUTHORIZATION ")?;
        Some((start..role.at.end, String::new()))
    });
    edited(create, edits.collect()).into_owned()
}

/// Lets policies and user mappings not be for roles `out`, and empties those that would be for nobody, with their
/// comments.
fn leave_out(entries: &mut [Entry], out: &BTreeSet<String>) {
    if out.is_empty() {
        return;
    }
    let mut gone: HashSet<DumpId> = HashSet::new();
    let theirs = |entry: &&mut Entry| matches!(entry.desc.as_str(), "POLICY" | "USER MAPPING");
    for entry in entries.iter_mut().filter(theirs) {
        entry.defn = without_roles(&entry.defn, out).unwrap_or_default();
        if entry.defn.is_empty() {
            gone.insert(entry.dump_id);
        }
    }
    let about = |entry: &&mut Entry| {
        matches!(entry.desc.as_str(), "COMMENT" | "SECURITY LABEL")
            && entry.dependencies.iter().any(|id| gone.contains(id))
    };
    for entry in entries.iter_mut().filter(about) {
        entry.defn.clear();
    }
}

/// What `options` change, for people.
#[must_use]
pub fn told(options: &RestoreOptions) -> Vec<String> {
    let out = [
        (options.no_owner, "owners"),
        (options.no_privileges, "privileges"),
        (options.no_tablespaces, "tablespaces"),
        (options.no_table_access_method, "table access methods"),
        (options.no_comments, "comments"),
        (options.no_publications, "publications"),
        (options.no_security_labels, "security labels"),
        (options.no_subscriptions, "subscriptions"),
        (options.no_policies, "row-level security"),
    ];
    let out: Vec<_> = out
        .iter()
        .filter(|(is_out, _)| *is_out)
        .map(|(_, what)| *what)
        .collect();
    let mut told = Vec::new();
    if !out.is_empty() {
        told.push(format!("Left out, as asked: {}", out.join(", ")));
    }
    if !options.without_roles.is_empty() {
        let roles: Vec<_> = options.without_roles.iter().map(String::as_str).collect();
        told.push(format!(
            "Left out with the privileges: what policies and user mappings say of roles that the server lacks ({}); one that is \
             for no other role is not created",
            roles.join(", ")
        ));
    }
    told.extend(
        options
            .role_map
            .pairs()
            .map(|(old, new)| format!("Role {old} becomes {new}")),
    );
    if let Some(role) = &options.role {
        told.push(format!("Everything is made as role {role}"));
    }
    told
}

/// Roles that others were asked for, and that the dump does not name, which names `named`.
#[must_use]
pub fn unknown_roles(options: &RestoreOptions, named: &BTreeSet<String>) -> Option<Obstacle> {
    let pairs = options.role_map.pairs();
    let unknown: Vec<_> = pairs.map(|(old, _)| old).filter(|old| !named.contains(*old)).collect();
    (!unknown.is_empty()).then(|| {
        Obstacle::new(
            Exit::NotFound,
            format!(
                "--map-role names roles that the dump does not name: {}",
                unknown.join(", ")
            ),
            "the plan of --dry-run shows the roles under \"Needs roles\"; names are exact, capitals count",
        )
    })
}

//! What depends on what: pg_depend, and the boundaries between the sections.

use std::collections::HashSet;

use super::emit::Emit;
use super::object::{CatalogId, DumpId, Object};
use super::{Catalog, Kind, Query, Row, Step};
use crate::archive::options::RestoreOptions;
use crate::archive::required::required;
use crate::archive::toc::{Entry, Section};
use crate::error::Result;

/// Reads pg_depend. Members of operator families are no objects of their own in a dump, so what they depend on
/// counts for their family, except for what ties them to it.
///
/// The server breaks ties of the ORDER BY by the order in which it found the rows, and the order of an object's
/// dependencies decides which loops are found first: so the query has the shape of pg_dump's.
pub const READ: Step = Step {
    what: "dependencies",
    query: |_| {
        Some(Query::new(
            "SELECT classid, objid, refclassid, refobjid, deptype
             FROM pg_depend
             WHERE deptype != 'p' AND deptype != 'e'
             UNION ALL
             SELECT 'pg_opfamily'::regclass AS classid, amopfamily AS objid, refclassid, refobjid, deptype
             FROM pg_depend d, pg_amop o
             WHERE deptype NOT IN ('p', 'e', 'i') AND classid = 'pg_amop'::regclass AND objid = o.oid
               AND NOT (refclassid = 'pg_opfamily'::regclass AND amopfamily = refobjid)
             UNION ALL
             SELECT 'pg_opfamily'::regclass AS classid, amprocfamily AS objid, refclassid, refobjid, deptype
             FROM pg_depend d, pg_amproc p
             WHERE deptype NOT IN ('p', 'e', 'i') AND classid = 'pg_amproc'::regclass AND objid = p.oid
               AND NOT (refclassid = 'pg_opfamily'::regclass AND amprocfamily = refobjid)
             ORDER BY 1, 2",
        ))
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let dependent = CatalogId::new(row.oid("classid")?, row.oid("objid")?);
    let referenced = CatalogId::new(row.oid("refclassid")?, row.oid("refobjid")?);
    // pg_depend knows of more than dumps do, TOAST tables for example.
    let (Some(dependent), Some(referenced)) = (
        cat.find(dependent.table, dependent.oid),
        cat.find(referenced.table, referenced.oid),
    ) else {
        return Ok(());
    };
    let deptype = row.char("deptype")?;
    let is = |id, test: fn(&Kind) -> bool| cat.get(id).is_some_and(|object| test(&object.kind));
    // The relation of a composite type depends on the type, which is right for DROP; to dump the type its
    // relation must come first.
    let reversed = deptype == 'i' && is(dependent, |kind| matches!(kind, Kind::Table(_))) && is(referenced, is_type);
    if deptype == 'x'
        && let Some(object) = cat.get_mut(dependent)
    {
        object.depends_on_ext = true;
    }
    if reversed {
        cat.add_dependency(referenced, dependent);
    } else {
        cat.add_dependency(dependent, referenced);
    }
    Ok(())
}

/// The statements that make an object depend on extensions (`ALTER … DEPENDS ON EXTENSION`), each on a line of its
/// own after the object's definition: until 16 with the line feed at its end, since 17 before it. `name` is what
/// the statement calls the object.
#[must_use]
pub fn on_extensions(emit: &Emit, object: &Object, keyword: &str, name: &str) -> String {
    if !object.depends_on_ext {
        return String::new();
    }
    let (before, after) = if emit.cat.server.major() < 17 {
        ("", "\n")
    } else {
        ("\n", "")
    };
    object
        .dependencies
        .iter()
        .filter_map(|id| emit.cat.get(*id))
        .filter(|on| matches!(on.kind, Kind::Extension(_)))
        .map(|on| {
            let extension = emit.q.id(&on.name);
            format!("{before}ALTER {keyword} {name} DEPENDS ON EXTENSION {extension};{after}")
        })
        .collect()
}

fn is_type(kind: &Kind) -> bool {
    matches!(kind, Kind::Type(_))
}

/// Adds the objects that stand between the sections, and ties every object to its side of them.
pub fn add_boundaries(cat: &mut Catalog) {
    let pre_data = cat.add(CatalogId::default(), "PRE-DATA BOUNDARY", None, Kind::PreDataBoundary);
    let post_data = cat.add(CatalogId::default(), "POST-DATA BOUNDARY", None, Kind::PostDataBoundary);
    let sections: Vec<_> = cat
        .objects()
        .filter_map(|object| Some((object.dump_id, section(object, cat.server.major())?)))
        .collect();
    for (id, section) in sections {
        match section {
            Section::PreData => cat.add_dependency(pre_data, id),
            Section::Data => {
                cat.add_dependency(id, pre_data);
                cat.add_dependency(post_data, id);
            }
            Section::PostData => cat.add_dependency(id, post_data),
            Section::None => {}
        }
    }
    cat.add_dependency(post_data, pre_data);
}

/// The section that an object belongs to; none while it is dumped as a part of another.
fn section(object: &Object, major: u32) -> Option<Section> {
    match &object.kind {
        Kind::Namespace(_)
        | Kind::Extension(_)
        | Kind::Type(_)
        | Kind::ShellType(_)
        | Kind::DummyType
        | Kind::Function(_)
        | Kind::Aggregate(_)
        | Kind::Operator(_)
        | Kind::AccessMethod(_)
        | Kind::OpClass(_)
        | Kind::OpFamily(_)
        | Kind::Collation(_)
        | Kind::Conversion(_)
        | Kind::Table(_)
        | Kind::TableAttach(_)
        | Kind::AttrDef(_)
        | Kind::Language(_)
        | Kind::Cast(_)
        | Kind::Transform(_)
        | Kind::TsParser(_)
        | Kind::TsDictionary(_)
        | Kind::TsTemplate(_)
        | Kind::TsConfiguration(_)
        | Kind::ForeignDataWrapper(_)
        | Kind::ForeignServer(_) => Some(Section::PreData),
        Kind::LargeObject(_) if major < 17 => Some(Section::PreData),
        Kind::LargeObject(_) | Kind::LargeObjectData | Kind::TableData(_) | Kind::SequenceSet(_) => Some(Section::Data),
        Kind::RelationStats(it) => Some(it.section),
        Kind::Constraint(it) | Kind::FkConstraint(it) => it.separate.then_some(Section::PostData),
        Kind::Rule(it) => it.separate.then_some(Section::PostData),
        Kind::Index(_)
        | Kind::IndexAttach(_)
        | Kind::Statistics(_)
        | Kind::RefreshMatView(_)
        | Kind::Trigger(_)
        | Kind::EventTrigger(_)
        | Kind::DefaultAcl(_)
        | Kind::Policy(_)
        | Kind::Publication(_)
        | Kind::PublicationRel(_)
        | Kind::PublicationSchema(_)
        | Kind::Subscription(_)
        | Kind::SubscriptionRel(_) => Some(Section::PostData),
        Kind::PreDataBoundary | Kind::PostDataBoundary => None,
    }
}

/// Gives every entry the dependencies that a restore can use: on entries only. Where an object depends on one
/// that has no entry (a view on its rule), it gets that one's dependencies instead.
///
/// Entries that name their dependencies themselves keep those: pg_restore knows what a table's rows, an ACL or
/// a comment belong to by them. What `options` leave out of the archive has no entry either.
pub fn reduce(cat: &Catalog, entries: &mut [Entry], options: &RestoreOptions) {
    let listed: HashSet<DumpId> = entries
        .iter()
        .zip(required(entries, options))
        .filter(|(_, required)| required.wanted())
        .map(|(entry, _)| entry.dump_id)
        .collect();
    for entry in entries {
        if entry.dependencies.is_empty() {
            entry.dependencies = of_entry(cat, entry, &listed);
        }
    }
}

fn of_entry(cat: &Catalog, entry: &Entry, listed: &HashSet<DumpId>) -> Vec<DumpId> {
    let mut found = Vec::new();
    // A stack instead of recursion, since chains of views can be long. What is pushed last is looked at first.
    let mut pending: Vec<DumpId> = cat.get(entry.dump_id).map(reversed_dependencies).unwrap_or_default();
    while let Some(id) = pending.pop() {
        if listed.contains(&id) {
            found.push(id);
        } else if let Some(object) = cat.get(id) {
            pending.extend(reversed_dependencies(object));
        }
    }
    found
}

/// The dependencies of an object, last one first. The boundaries lead to whole sections, which would say nothing.
fn reversed_dependencies(object: &Object) -> Vec<DumpId> {
    match object.kind {
        Kind::PreDataBoundary | Kind::PostDataBoundary => Vec::new(),
        _ => object.dependencies.iter().rev().copied().collect(),
    }
}

//! What hangs on other objects: comments, security labels, privileges, membership in an extension.
//!
//! All of them are read in bulk when reading starts; each family looks up what belongs to its objects.

use std::collections::{HashMap, HashSet};

use super::acl::{self, InitialKey, InitialPrivileges, Target};
use super::emit::Emit;
use super::object::{Acl, CatalogId, Components, DumpId, Object, class};
use super::{Catalog, Kind, Step};
use crate::archive::toc::{Entry, Section};
use crate::engine::postgres::connect::session::Query;
use crate::error::Result;
use anyhow::Context as _;

/// Comments, security labels and initial privileges of everything in the database.
#[derive(Debug, Default)]
pub struct Attachments {
    /// By object; each with the column it is for (0: the object itself), in the order of columns.
    comments: HashMap<CatalogId, Vec<(i32, String)>>,
    labels: HashMap<CatalogId, Vec<Label>>,
    initial: HashMap<InitialKey, InitialPrivileges>,
    /// The tables with such of columns.
    initial_of_columns: HashSet<CatalogId>,
}

#[derive(Debug)]
struct Label {
    subid: i32,
    provider: String,
    label: String,
}

impl Attachments {
    /// The comment on an object, or on its column `subid`.
    #[must_use]
    pub fn comment_of(&self, id: CatalogId, subid: i32) -> Option<&str> {
        let comments = self.comments.get(&id)?;
        Some(&comments.iter().find(|(of, _)| *of == subid)?.1)
    }

    /// Which of comments and labels an object has.
    #[must_use]
    pub fn components_of(&self, id: CatalogId) -> Components {
        let mut components = Components::NONE;
        if self.comments.contains_key(&id) {
            components |= Components::COMMENT;
        }
        if self.labels.contains_key(&id) {
            components |= Components::SECLABEL;
        }
        components
    }

    /// What `pg_init_privs` has for an object, or for its column `subid`.
    #[must_use]
    pub fn initial_privileges(&self, id: CatalogId, subid: i32) -> Option<&InitialPrivileges> {
        self.initial.get(&(id.table, id.oid, subid))
    }

    /// Whether a column of the table `id` has initial privileges.
    #[must_use]
    pub fn has_initial_column_privileges(&self, id: CatalogId) -> bool {
        self.initial_of_columns.contains(&id)
    }
}

/// Comments on everything.
pub const COMMENTS: Step = Step {
    what: "comments",
    query: |cat| {
        let sql = "SELECT description, classoid, objoid, objsubid FROM pg_catalog.pg_description \
                   ORDER BY classoid, objoid, objsubid";
        (!cat.options.no_comments).then(|| Query::new(sql))
    },
    absorb: |cat, rows| {
        for row in rows {
            let id = CatalogId::new(row.oid("classoid")?, row.oid("objoid")?);
            let comment = (row.int("objsubid")?, row.text("description")?);
            cat.attachments.comments.entry(id).or_default().push(comment);
        }
        Ok(())
    },
};

/// Security labels on everything but what all databases share.
pub const SECURITY_LABELS: Step = Step {
    what: "security labels",
    query: |cat| {
        let sql = "SELECT label, provider, classoid, objoid, objsubid FROM pg_catalog.pg_seclabels \
                   ORDER BY classoid, objoid, objsubid";
        (!cat.options.no_security_labels).then(|| Query::new(sql))
    },
    absorb: |cat, rows| {
        for row in rows {
            let id = CatalogId::new(row.oid("classoid")?, row.oid("objoid")?);
            cat.attachments.labels.entry(id).or_default().push(Label {
                subid: row.int("objsubid")?,
                provider: row.text("provider")?,
                label: row.text("label")?,
            });
        }
        Ok(())
    },
};

/// Privileges that initdb or the script of an extension gave.
pub const INITIAL_PRIVILEGES: Step = Step {
    what: "initial privileges",
    query: |cat| {
        let sql = "SELECT objoid, classoid, objsubid, privtype, initprivs::pg_catalog.text[] AS initprivs \
                   FROM pg_catalog.pg_init_privs";
        (!cat.options.no_privileges).then(|| Query::new(sql))
    },
    absorb: |cat, rows| {
        for row in rows {
            let key = (row.oid("classoid")?, row.oid("objoid")?, row.int("objsubid")?);
            let it = InitialPrivileges {
                privtype: row.char("privtype")?,
                privileges: row.texts("initprivs")?,
            };
            cat.attachments.initial.insert(key, it);
            if key.2 != 0 {
                cat.attachments.initial_of_columns.insert(CatalogId::new(key.0, key.1));
            }
        }
        Ok(())
    },
};

/// Flags the objects that have comments, labels or initial privileges, once all objects are there.
pub const MARK: Step = Step {
    what: "attachments",
    query: |_| None,
    absorb: |cat, _| {
        let mut marks = Vec::new();
        for (id, comments) in &cat.attachments.comments {
            marks.extend(comments.iter().map(|(subid, _)| (*id, *subid, Components::COMMENT)));
        }
        for (id, labels) in &cat.attachments.labels {
            marks.extend(labels.iter().map(|label| (*id, label.subid, Components::SECLABEL)));
        }
        for (table, oid, _) in cat.attachments.initial.keys() {
            marks.push((CatalogId::new(*table, *oid), 0, Components::ACL));
        }
        for (id, subid, part) in marks {
            let found = cat.find(id.table, id.oid);
            if let Some(object) = found.and_then(|id| cat.get_mut(id)) {
                object.components |= part;
                // The columns of a composite type are listed under its relation, but dumped with the type.
                if subid != 0
                    && let Some(type_id) = composite_type(cat, id)
                    && let Some(object) = cat.get_mut(type_id)
                {
                    object.components |= part;
                }
            }
        }
        Ok(())
    },
};

/// The type that belongs to a composite type's entry in pg_class.
fn composite_type(cat: &Catalog, relation: CatalogId) -> Option<DumpId> {
    let Kind::Table(table) = &cat.object(relation.table, relation.oid)?.kind else {
        return None;
    };
    (table.relkind == 'c').then_some(())?;
    cat.find(class::PG_TYPE, table.reltype)
}

/// Whether comments and labels of objects of this type are dumped: those of large objects are data.
fn wanted(emit: &Emit, type_: &str) -> bool {
    let options = &emit.cat.options;
    if type_ == "LARGE OBJECT" {
        options.dump_data() || options.binary_upgrade
    } else {
        options.dump_schema()
    }
}

fn attachment_entry(
    emit: &mut Emit,
    desc: &str,
    tag: String,
    defn: String,
    namespace: Option<&str>,
    owner: &str,
    on: DumpId,
) -> DumpId {
    let dump_id = emit.new_dump_id();
    let mut entry = Entry::new(dump_id, desc, tag, Section::None);
    entry.defn = defn;
    entry.namespace = namespace.map(str::to_owned);
    owner.clone_into(&mut entry.owner);
    entry.dependencies = vec![on];
    emit.push(entry);
    dump_id
}

/// Writes the comment on an object, if it has one (pg_dump's `dumpComment`). `name` is quoted and without
/// schema, `namespace` is not quoted.
#[allow(clippy::too_many_arguments)] // each family says all of it in one call
pub fn comment(
    emit: &mut Emit,
    type_: &str,
    name: &str,
    namespace: Option<&str>,
    owner: &str,
    catalog_id: CatalogId,
    subid: i32,
    object_dump_id: DumpId,
) {
    let cat = emit.cat;
    if let Some(text) = cat.attachments.comment_of(catalog_id, subid) {
        comment_text(emit, type_, name, namespace, owner, text, object_dump_id);
    }
}

/// Writes `text` as the comment on an object, also an empty one: that takes a comment away.
pub fn comment_text(
    emit: &mut Emit,
    type_: &str,
    name: &str,
    namespace: Option<&str>,
    owner: &str,
    text: &str,
    object_dump_id: DumpId,
) {
    if emit.cat.options.no_comments || !wanted(emit, type_) {
        return;
    }
    let qualified = qualify(emit, namespace, name);
    let sql = format!("COMMENT ON {type_} {qualified} IS {};\n", emit.q.literal(text));
    let tag = format!("{type_} {name}");
    attachment_entry(emit, "COMMENT", tag, sql, namespace, owner, object_dump_id);
}

/// Writes the security labels of an object, if it has any (pg_dump's `dumpSecLabel`).
#[allow(clippy::too_many_arguments)] // as for `comment`
pub fn security_label(
    emit: &mut Emit,
    type_: &str,
    name: &str,
    namespace: Option<&str>,
    owner: &str,
    catalog_id: CatalogId,
    subid: i32,
    object_dump_id: DumpId,
) {
    if !wanted(emit, type_) {
        return;
    }
    let cat = emit.cat;
    let qualified = qualify(emit, namespace, name);
    let mut sql = String::new();
    for label in cat.attachments.labels.get(&catalog_id).into_iter().flatten() {
        if label.subid == subid {
            sql += &label_statement(emit, label, &format!("{type_} {qualified}"));
        }
    }
    if !sql.is_empty() {
        let tag = format!("{type_} {name}");
        attachment_entry(emit, "SECURITY LABEL", tag, sql, namespace, owner, object_dump_id);
    }
}

fn label_statement(emit: &Emit, label: &Label, target: &str) -> String {
    format!(
        "SECURITY LABEL FOR {} ON {target} IS {};\n",
        emit.q.id(&label.provider),
        emit.q.literal(&label.label)
    )
}

fn qualify(emit: &Emit, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(schema) if !schema.is_empty() => format!("{}.{name}", emit.q.id(schema)),
        _ => name.to_owned(),
    }
}

/// Writes the comments on a relation and its columns (pg_dump's `dumpTableComment`). `type_` is `TABLE`,
/// `VIEW` …; `column` gives the name of the column with an `attnum`.
pub fn table_comments<'c>(
    emit: &mut Emit,
    object: &Object,
    type_: &str,
    owner: &str,
    column: impl Fn(i32) -> Option<&'c str>,
) {
    let cat = emit.cat;
    if cat.options.no_comments || !wanted(emit, type_) {
        return;
    }
    let schema = cat.namespace_name(object.namespace);
    let name = emit.q.id(&object.name).into_owned();
    let qualified = emit.qualified(object);
    for (subid, text) in cat.attachments.comments.get(&object.catalog_id).into_iter().flatten() {
        let (tag, target) = if *subid == 0 {
            (format!("{type_} {name}"), format!("{type_} {qualified}"))
        } else if let Some(column) = column(*subid) {
            let column = emit.q.id(column);
            (
                format!("COLUMN {name}.{column}"),
                format!("COLUMN {qualified}.{column}"),
            )
        } else {
            continue;
        };
        let sql = format!("COMMENT ON {target} IS {};\n", emit.q.literal(text));
        attachment_entry(emit, "COMMENT", tag, sql, schema, owner, object.dump_id);
    }
}

/// Writes the security labels of a relation and its columns, as one entry (pg_dump's `dumpTableSecLabel`).
pub fn table_security_labels<'c>(
    emit: &mut Emit,
    object: &Object,
    type_: &str,
    owner: &str,
    column: impl Fn(i32) -> Option<&'c str>,
) {
    let cat = emit.cat;
    if !wanted(emit, type_) {
        return;
    }
    let schema = cat.namespace_name(object.namespace);
    let qualified = emit.qualified(object);
    let mut sql = String::new();
    for label in cat.attachments.labels.get(&object.catalog_id).into_iter().flatten() {
        if label.subid == 0 {
            sql += &label_statement(emit, label, &format!("{type_} {qualified}"));
        } else if let Some(column) = column(label.subid) {
            let target = format!("COLUMN {qualified}.{}", emit.q.id(column));
            sql += &label_statement(emit, label, &target);
        }
    }
    if !sql.is_empty() {
        let tag = format!("{type_} {}", emit.q.id(&object.name));
        attachment_entry(emit, "SECURITY LABEL", tag, sql, schema, owner, object.dump_id);
    }
}

/// Writes the privileges of an object, when they differ from what it has anyway (pg_dump's `dumpACL`).
/// Returns the number of the entry, for what must come after it. `alt_dep` is another object that must come
/// before; `tag` replaces the usual one.
///
/// # Errors
/// The server sent no proper ACL.
#[allow(clippy::too_many_arguments)] // as for `comment`
pub fn acl(
    emit: &mut Emit,
    object_dump_id: DumpId,
    alt_dep: Option<DumpId>,
    type_: &str,
    name: &str,
    subname: Option<&str>,
    namespace: Option<&str>,
    owner: &str,
    tag: Option<&str>,
    acl: &Acl,
) -> Result<Option<DumpId>> {
    let options = &emit.cat.options;
    if options.no_privileges || !(options.dump_schema() || type_ == "LARGE OBJECT") {
        return Ok(None);
    }
    let target = Target {
        type_,
        name,
        subname,
        namespace,
        owner,
        prefix: "",
    };
    let sql = acl::object_commands(emit.q, acl, &target, options.binary_upgrade)
        .with_context(|| format!("privileges of {type_} {name}"))?;
    if sql.is_empty() {
        return Ok(None);
    }
    let tag = match (tag, subname) {
        (Some(tag), _) => tag.to_owned(),
        (None, Some(column)) => format!("COLUMN {name}.{column}"),
        (None, None) => format!("{type_} {name}"),
    };
    let dump_id = attachment_entry(emit, "ACL", tag, sql, namespace, owner, object_dump_id);
    if let (Some(alt), Some(entry)) = (alt_dep, emit.entries.last_mut()) {
        entry.dependencies.push(alt);
    }
    Ok(Some(dump_id))
}

/// What `--binary-upgrade` adds to the definition of a member of an extension; empty for all other objects.
/// `objname` is quoted, `objnamespace` is not.
///
/// # Errors
/// The object is a member, but of no extension that is known.
pub fn extension_member(
    emit: &Emit,
    object: &Object,
    objtype: &str,
    objname: &str,
    objnamespace: Option<&str>,
) -> Result<String> {
    if !object.ext_member {
        return Ok(String::new());
    }
    let extension = object
        .dependencies
        .iter()
        .filter_map(|id| emit.cat.get(*id))
        .find(|it| matches!(it.kind, Kind::Extension(_)))
        .with_context(|| format!("could not find parent extension for {objtype} {objname}"))?;
    Ok(format!(
        "\n-- For binary upgrade, handle extension membership the hard way\nALTER EXTENSION {} ADD {objtype} {};\n",
        emit.q.id(&extension.name),
        qualify(emit, objnamespace, objname)
    ))
}

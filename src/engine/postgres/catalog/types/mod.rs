//! Data types. What all kinds of them share is here; each kind has a file with its query and statements.

mod base;
mod composite;
mod domain;
mod enumeration;
mod range;

use super::annotate::{self, Target};
use super::constraint::Constraint;
use super::emit::Emit;
use super::object::{Acl, CatalogId, Components, DumpId, Object, Oid, class};
use super::{Catalog, Kind, Step, acl, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;

pub use base::READ as BASE;
pub use composite::READ as COMPOSITES;
pub use domain::READ as DOMAINS;
pub use enumeration::READ as ENUMS;
pub use range::READ as RANGES;

/// A data type (pg_dump's `TypeInfo`). Row types of tables, array and multirange types are
/// [`Kind::DummyType`] instead: they come with something else.
#[derive(Debug, Default)]
pub struct TypeInfo {
    /// Name of the owner.
    pub owner: String,
    /// Privileges.
    pub acl: Acl,
    /// `pg_type.typelem`.
    pub typelem: Oid,
    /// `pg_type.typrelid`, of a composite type.
    pub typrelid: Oid,
    /// `pg_type.typarray`.
    pub typarray: Oid,
    /// `b` base, `c` composite, `d` domain, `e` enum, `p` pseudo, `r` range.
    pub typtype: char,
    /// False for a type that was only announced (`CREATE TYPE name;`).
    pub is_defined: bool,
    /// The announcement that a base or range type may need before its functions.
    pub shell_type: Option<DumpId>,
    /// CHECK constraints of a domain, by name.
    pub dom_checks: Vec<DumpId>,
    /// NOT NULL constraint of a domain (17).
    pub notnull: Option<DumpId>,
    /// What its statements say; only of those that are dumped.
    pub details: Option<Details>,
}

/// What only one kind of types has.
#[derive(Debug)]
pub enum Details {
    /// A base type.
    Base(Box<base::Base>),
    /// A composite type's attributes, dropped ones too.
    Composite(Vec<composite::Attribute>),
    /// A domain.
    Domain(domain::Domain),
    /// An enum's labels.
    Enum(Vec<enumeration::Label>),
    /// A range type.
    Range(range::Range),
}

/// The announcement of a type, for functions that must exist before the type does.
#[derive(Debug)]
pub struct ShellType {
    /// The type that is announced.
    pub base_type: DumpId,
}

/// All types of the server, since others refer to them by OID, and the constraints of domains.
pub const READ: Step = Step {
    what: "types",
    query: |_| {
        Some(Query::new(format!(
            "SELECT t.oid, t.typname, t.typnamespace, t.typowner, t.typelem, t.typrelid, t.typarray, t.typtype,
                    t.typisdefined, {acl},
                    {oids} AS constraint_oids, {names} AS constraint_names, {defs} AS constraint_defs,
                    {types} AS constraint_types, {valid} AS constraint_valid
             FROM pg_catalog.pg_type t",
            acl = acl::columns("t.oid", "t.typacl", "'T'", "t.typowner"),
            oids = of_domain("c.oid"),
            names = of_domain("c.conname"),
            defs = of_domain("pg_catalog.pg_get_constraintdef(c.oid)"),
            types = of_domain("c.contype::text"),
            valid = of_domain("c.convalidated::int4"),
        )))
    },
    absorb: |cat, rows| {
        let mut array_of = std::collections::HashMap::new();
        for row in &rows {
            array_of.insert(row.oid("oid")?, row.oid("typarray")?);
        }
        for row in &rows {
            let typelem = row.oid("typelem")?;
            let is_array = array_of.get(&typelem) == Some(&row.oid("oid")?);
            absorb(cat, row, is_array)?;
        }
        Ok(())
    },
};

/// One value per constraint of the domain `t`, in the order of their names; NULL for other types.
fn of_domain(value: &str) -> String {
    format!(
        "CASE WHEN t.typtype = 'd' THEN
             ARRAY(SELECT {value} FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid ORDER BY c.conname)
         END"
    )
}

fn absorb(cat: &mut Catalog, row: &Row, is_array: bool) -> Result<()> {
    let catalog_id = CatalogId::new(class::PG_TYPE, row.oid("oid")?);
    let namespace = cat.namespace(row.oid("typnamespace")?)?;
    let name = row.text("typname")?;
    let typrelid = row.oid("typrelid")?;
    let typtype = row.char("typtype")?;
    if typrelid != 0 && !is_composite(cat, typrelid) {
        let id = cat.add(catalog_id, name, Some(namespace), Kind::DummyType);
        select::row_type(cat, id, typrelid);
        return Ok(());
    }
    if is_array && name.starts_with('_') || typtype == 'm' {
        let id = cat.add(catalog_id, name.clone(), Some(namespace), Kind::DummyType);
        select::type_(cat, id);
        // Nothing ever needs this announcement, but pg_dump numbers it: an array type is a base type.
        if typtype == 'b' && cat.get(id).is_some_and(|object| object.wants(Components::DEFINITION)) {
            add_shell(cat, id, namespace, name);
        }
        return Ok(());
    }
    let info = TypeInfo {
        owner: cat.role(row.oid("typowner")?)?.to_owned(),
        acl: acl::read(cat, row, catalog_id, 0)?,
        typelem: row.oid("typelem")?,
        typrelid,
        typarray: row.oid("typarray")?,
        typtype,
        is_defined: row.bool("typisdefined")?,
        ..TypeInfo::default()
    };
    let has_acl = info.acl.acl.is_some();
    let id = cat.add(catalog_id, name.clone(), Some(namespace), Kind::Type(Box::new(info)));
    select::type_(cat, id);
    annotate::mark_acl(cat, id, has_acl);
    if cat.get(id).is_some_and(|object| object.wants(Components::DEFINITION)) {
        match typtype {
            'd' => add_constraints(cat, id, namespace, row)?,
            'b' | 'r' => add_shell(cat, id, namespace, name),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the relation is that of a composite type: all others have a row type that comes with them.
fn is_composite(cat: &Catalog, typrelid: Oid) -> bool {
    match cat.object(class::PG_CLASS, typrelid).map(|object| &object.kind) {
        Some(Kind::Table(table)) => table.relkind == 'c',
        _ => false,
    }
}

fn add_constraints(cat: &mut Catalog, id: DumpId, namespace: DumpId, row: &Row) -> Result<()> {
    let oids = row.oids("constraint_oids")?;
    let names = row.texts("constraint_names")?;
    let defs = row.texts("constraint_defs")?;
    let types = row.texts("constraint_types")?;
    let valid = row.ints("constraint_valid")?;
    let rows = oids.into_iter().zip(names).zip(defs).zip(types).zip(valid);
    for ((((oid, name), condef), contype), valid) in rows {
        let valid = valid != 0;
        let is_check = contype == "c";
        let constraint = Constraint {
            domain: Some(id),
            contype: if is_check { 'c' } else { 'n' },
            condef: Some(condef),
            conislocal: true,
            separate: !valid,
            ..Constraint::default()
        };
        let catalog_id = CatalogId::new(class::PG_CONSTRAINT, oid);
        let constraint_id = cat.add(catalog_id, name, Some(namespace), Kind::Constraint(constraint));
        if let Some(Kind::Type(domain)) = cat.get_mut(id).map(|object| &mut object.kind) {
            if is_check {
                domain.dom_checks.push(constraint_id);
            } else {
                domain.notnull = Some(constraint_id);
            }
        }
        // What the constraint needs, the domain needs: it is part of CREATE DOMAIN. One that is not valid yet
        // is added later.
        if valid {
            cat.add_dependency(id, constraint_id);
        }
    }
    Ok(())
}

/// The announcement is only dumped when sorting finds that functions need it.
fn add_shell(cat: &mut Catalog, id: DumpId, namespace: DumpId, name: String) {
    let shell = Kind::ShellType(ShellType { base_type: id });
    let shell_id = cat.add(CatalogId::default(), name, Some(namespace), shell);
    if let Some(shell) = cat.get_mut(shell_id) {
        shell.dump = Components::NONE;
    }
    if let Some(Kind::Type(info)) = cat.get_mut(id).map(|object| &mut object.kind) {
        info.shell_type = Some(shell_id);
    }
}

/// OIDs of the wanted types of one kind.
fn wanted(cat: &Catalog, typtype: char) -> Option<Vec<Oid>> {
    let oids = cat.wanted(|kind| matches!(kind, Kind::Type(it) if it.typtype == typtype && it.is_defined));
    (!oids.is_empty()).then_some(oids)
}

/// The type that a row of a query is about.
fn type_of<'a>(cat: &'a mut Catalog, row: &Row) -> Result<Option<&'a mut TypeInfo>> {
    let id = cat.find(class::PG_TYPE, row.oid("oid")?);
    Ok(match id.and_then(|id| cat.get_mut(id)).map(|object| &mut object.kind) {
        Some(Kind::Type(info)) => Some(info),
        _ => None,
    })
}

/// `CREATE TYPE` or `CREATE DOMAIN`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &TypeInfo) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let desc = if it.typtype == 'd' { "DOMAIN" } else { "TYPE" };
    let name = emit.q.id(&object.name).into_owned();
    if object.wants(Components::DEFINITION) {
        let Some(definition) = definition(emit, object, it) else {
            let warning = format!("typtype of data type \"{}\" appears to be invalid", object.name);
            tracing::warn!("{warning}");
            return Ok(());
        };
        let mut entry = emit.entry(object, desc, Section::PreData);
        entry.owner.clone_from(&it.owner);
        entry.defn = definition;
        let schema = emit.cat.namespace_name(object.namespace);
        entry.defn += &attachment::extension_member(emit, object, desc, &name, schema)?;
        entry.drop_stmt = match it.typtype {
            // Nothing else takes away the circle of a base type and its functions.
            'b' => format!("DROP TYPE {} CASCADE;\n", emit.qualified(object)),
            _ => format!("DROP {desc} {};\n", emit.qualified(object)),
        };
        emit.push(entry);
    }
    let target = Target {
        kind: desc,
        name: &name,
        owner: &it.owner,
    };
    annotate::comment(emit, object, &target);
    annotate::security_label(emit, object, &target);
    annotate::acl(emit, object, &Target { kind: "TYPE", ..target }, &it.acl)?;
    match &it.details {
        Some(Details::Domain(_)) => domain::constraint_comments(emit, object, it, &name),
        Some(Details::Composite(attributes)) => composite::attribute_comments(emit, object, it, attributes),
        _ => {}
    }
    Ok(())
}

/// The statement that makes the type; `None` when it cannot be made (a kind that only initdb makes).
fn definition(emit: &Emit, object: &Object, it: &TypeInfo) -> Option<String> {
    let mut out = String::new();
    if emit.cat.options.binary_upgrade {
        out += &upgrade_oids(object.catalog_id.oid, it.typarray);
    }
    out += &match &it.details {
        Some(Details::Base(base)) => base::definition(emit, object, base),
        Some(Details::Composite(attributes)) => composite::definition(emit, object, it, attributes),
        Some(Details::Domain(domain)) => domain::definition(emit, object, it, domain),
        Some(Details::Enum(labels)) => enumeration::definition(emit, object, labels),
        Some(Details::Range(range)) => range::definition(emit, object, range),
        None if !it.is_defined => format!("CREATE TYPE {};\n", emit.qualified(object)),
        None => return None,
    };
    Some(out)
}

/// `CREATE TYPE name;`, which announces a type.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_shell(emit: &mut Emit, object: &Object, it: &ShellType) -> Result<()> {
    if !emit.cat.options.dump_schema() || !object.wants(Components::DEFINITION) {
        return Ok(());
    }
    let base = emit.cat.get(it.base_type);
    let Some((base, Kind::Type(info))) = base.map(|base| (base, &base.kind)) else {
        return Ok(());
    };
    let mut entry = emit.entry(object, "SHELL TYPE", Section::PreData);
    entry.owner.clone_from(&info.owner);
    if emit.cat.options.binary_upgrade {
        entry.defn += &upgrade_oids(base.catalog_id.oid, info.typarray);
    }
    entry.defn += &format!("CREATE TYPE {};\n", emit.qualified(object));
    emit.push(entry);
    Ok(())
}

/// Statements by which a type keeps its OID and that of its array type in an upgrade.
pub(super) fn upgrade_oids(oid: Oid, typarray: Oid) -> String {
    let mut out = upgrade_oid("pg_type oid", "binary_upgrade_set_next_pg_type_oid", oid);
    if typarray != 0 {
        out += &upgrade_oid(
            "pg_type array oid",
            "binary_upgrade_set_next_array_pg_type_oid",
            typarray,
        );
    }
    out
}

fn upgrade_oid(what: &str, function: &str, oid: Oid) -> String {
    format!("\n-- For binary upgrade, must preserve {what}\nSELECT pg_catalog.{function}('{oid}'::pg_catalog.oid);\n\n")
}

//! What CREATE TABLE holds beside its columns' types: defaults, generation expressions and CHECK constraints.

use anyhow::Context as _;

use super::constraint::Constraint;
use super::emit::Emit;
use super::object::{CatalogId, DumpId, Object};
use super::{Catalog, Kind, Step, column};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;

/// A default or a generation expression.
#[derive(Debug, Default)]
pub struct AttrDef {
    /// Its table.
    pub table: DumpId,
    /// Number of its column.
    pub adnum: i32,
    /// The expression.
    pub expr: String,
    /// It needs an entry of its own.
    pub separate: bool,
}

/// Defaults of interesting tables; in 14 all that is here, because it numbers the objects table by table, and later
/// versions kind by kind.
pub const DEFAULTS: Step = Step {
    what: "column defaults",
    query: |cat| {
        let major = cat.server.major();
        query(cat, if major == 14 { of_14() } else { defaults("NULL::tid") })
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

/// NOT NULL constraints that are not valid (18).
pub const NOT_NULLS: Step = Step {
    what: "NOT NULL constraints",
    query: |cat| {
        let has_them = cat.server.major() >= 18;
        has_them.then(|| query(cat, constraints("contype = 'n' AND NOT convalidated")))?
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

/// CHECK constraints of interesting tables.
pub const CHECKS: Step = Step {
    what: "check constraints",
    query: |cat| {
        let apart = cat.server.major() > 14;
        apart.then(|| query(cat, constraints("contype = 'c'")))?
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

fn query(cat: &Catalog, sql: String) -> Option<Query> {
    let order = if cat.server.major() == 14 {
        "relid, kind, place, adnum, name"
    } else {
        "relid, adnum, name"
    };
    let sql = format!("{sql} ORDER BY {order}");
    cat.options
        .dump_schema()
        .then(|| Query::new(sql).oids(column::interesting(cat)).divisible())
}

/// 14 takes the defaults of a table as they lie on disk; the numbers of entries follow from that.
fn of_14() -> String {
    format!("{} UNION ALL {}", defaults("d.ctid"), constraints("contype = 'c'"))
}

/// An expression without a column in it (a `Var`: most defaults) is printed much faster when the server need not look
/// at its table.
fn defaults(place: &str) -> String {
    format!(
        "SELECT 1 AS kind, d.tableoid, d.oid, adrelid AS relid, adnum::int4 AS adnum, ''::name AS name,
                {place} AS place,
                pg_catalog.pg_get_expr(adbin, CASE WHEN adbin::text LIKE '%{{VAR %' THEN adrelid ELSE 0 END)
                    AS definition,
                true AS is_local, true AS valid
         FROM pg_catalog.pg_attrdef d
         WHERE adrelid = ANY ($1)"
    )
}

fn constraints(wanted: &str) -> String {
    format!(
        "SELECT CASE contype WHEN 'n' THEN 2 ELSE 3 END AS kind, tableoid, oid, conrelid AS relid, 0 AS adnum,
                conname AS name, NULL::tid AS place, pg_catalog.pg_get_constraintdef(oid) AS definition,
                conislocal AS is_local, convalidated AS valid
         FROM pg_catalog.pg_constraint
         WHERE conrelid = ANY ($1) AND {wanted}"
    )
}

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let catalog_id = CatalogId::new(row.oid("tableoid")?, row.oid("oid")?);
    let table = cat
        .table_id(row.oid("relid")?)
        .context("a default or constraint of an unknown table")?;
    let definition = row.text("definition")?;
    if row.int("kind")? == 1 {
        return add_default(cat, catalog_id, table, row.int("adnum")?, definition);
    }
    let valid = row.bool("valid")?;
    let contype = if row.int("kind")? == 2 { 'n' } else { 'c' };
    let constraint = Constraint {
        table: Some(table),
        contype,
        condef: Some(definition),
        conislocal: row.bool("is_local")?,
        // Rows that violate it may be there, and they must be loaded before it.
        separate: !valid,
        ..Constraint::default()
    };
    let id = add(cat, catalog_id, table, row.text("name")?, Kind::Constraint(constraint));
    if valid {
        cat.add_dependency(table, id);
    }
    if contype == 'c'
        && let Some(table) = cat.table_mut(table)
    {
        table.checks.push(id);
    }
    Ok(())
}

fn add_default(cat: &mut Catalog, catalog_id: CatalogId, id: DumpId, adnum: i32, expr: String) -> Result<()> {
    let table = cat.table(id).context("a default of an unknown table")?;
    let at = usize::try_from(adnum - 1)?;
    let column = table.columns.get(at).context("a default of an unknown column")?;
    if column.dropped {
        return Ok(());
    }
    // A generation expression cannot be set apart; a view's default cannot be set with it.
    let separate = column.generated == '\0' && (table.relkind == 'v' || !table.prints(&cat.options, column));
    let default = AttrDef {
        table: id,
        adnum,
        expr,
        separate,
    };
    let default = attach(cat, catalog_id, default)?;
    if !separate {
        // What the expression needs must come before the table.
        cat.add_dependency(id, default);
    }
    Ok(())
}

/// Numbers a default and hangs it on its column.
pub(super) fn attach(cat: &mut Catalog, catalog_id: CatalogId, default: AttrDef) -> Result<DumpId> {
    let (table, at) = (default.table, usize::try_from(default.adnum - 1)?);
    let name = cat.get(table).map(|object| object.name.clone()).unwrap_or_default();
    let id = add(cat, catalog_id, table, name, Kind::AttrDef(default));
    if let Some(column) = cat.table_mut(table).and_then(|table| table.columns.get_mut(at)) {
        column.default = Some(id);
    }
    Ok(id)
}

/// Adds a part of a table: it lives in its schema and is dumped when the table is.
fn add(cat: &mut Catalog, catalog_id: CatalogId, table: DumpId, name: String, kind: Kind) -> DumpId {
    let (namespace, dump) = cat
        .get(table)
        .map(|object| (object.namespace, object.dump))
        .unwrap_or_default();
    let id = cat.add(catalog_id, name, namespace, kind);
    if let Some(object) = cat.get_mut(id) {
        object.dump = dump;
    }
    id
}

impl Catalog {
    /// The default with number `id`.
    #[must_use]
    pub fn attr_def(&self, id: DumpId) -> Option<&AttrDef> {
        match &self.get(id)?.kind {
            Kind::AttrDef(default) => Some(default),
            _ => None,
        }
    }
}

/// Writes a default that its table could not hold.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &AttrDef) -> Result<()> {
    if !emit.cat.options.dump_schema() || !it.separate || !object.wants(super::object::Components::DEFINITION) {
        return Ok(());
    }
    let owner = emit.cat.get(it.table).context("a default of an unknown table")?;
    let table = emit.cat.table(it.table).context("a default of an unknown table")?;
    let column = &table.columns[usize::try_from(it.adnum - 1)?];
    let foreign = if table.relkind == 'f' { "FOREIGN " } else { "" };
    let (name, quoted) = (emit.qualified(owner), emit.q.id(&column.name));
    let mut entry = emit.entry(object, "DEFAULT", Section::PreData);
    entry.tag = format!("{} {}", owner.name, column.name);
    entry.owner.clone_from(&table.owner);
    entry.defn = format!(
        "ALTER {foreign}TABLE ONLY {name} ALTER COLUMN {quoted} SET DEFAULT {};\n",
        it.expr
    );
    entry.drop_stmt = format!("ALTER {foreign}TABLE {name} ALTER COLUMN {quoted} DROP DEFAULT;\n");
    emit.push(entry);
    Ok(())
}

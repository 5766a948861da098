//! Triggers of tables and views.

use anyhow::Context as _;

use super::emit::Emit;
use super::object::{CatalogId, Components, DumpId, Object, Oid, class};
use super::{Catalog, Kind, Query, Row, Step, attachment, dependency};
use crate::archive::toc::Section;
use crate::error::Result;

/// A trigger.
#[derive(Debug, Default)]
pub struct Trigger {
    /// Its table or view.
    pub table: DumpId,
    /// `O` origin, `D` disabled, `R` replica, `A` always.
    pub tgenabled: char,
    /// It was made with that of the partitioned table.
    pub tgispartition: bool,
    /// `pg_get_triggerdef`.
    pub tgdef: String,
}

/// Triggers of the tables that are dumped. One that a partition has from its parent is made with that; it matters
/// only when it was switched on or off apart.
pub const READ: Step = Step {
    what: "triggers",
    query: |cat| {
        let tables: Vec<Oid> = cat
            .tables()
            .filter(|(object, table)| table.hastriggers && object.wants(Components::DEFINITION))
            .map(|(_, table)| table.oid)
            .collect();
        let columns = "t.oid, t.tgrelid, t.tgname, t.tgenabled, pg_catalog.pg_get_triggerdef(t.oid, false) AS tgdef";
        // 14 marks the triggers of partitions as internal; since then their parent alone tells. Numbers follow the
        // order of the rows, and 14 asks table by table, so each is a subquery of its own here.
        let query = Query::new(match cat.server.major() {
            ..15 => format!(
                "SELECT t.* FROM unnest($1) AS src(tbloid), LATERAL (
                     SELECT {columns}, t.tgisinternal AS tgispartition
                     FROM pg_catalog.pg_trigger t LEFT JOIN pg_catalog.pg_trigger u ON u.oid = t.tgparentid
                     WHERE t.tgrelid = src.tbloid AND (NOT t.tgisinternal OR t.tgenabled <> u.tgenabled)
                     OFFSET 0) t"
            ),
            _ => format!(
                "SELECT {columns}, t.tgparentid <> 0 AS tgispartition
                 FROM unnest($1) AS src(tbloid)
                 JOIN pg_catalog.pg_trigger t ON src.tbloid = t.tgrelid
                 LEFT JOIN pg_catalog.pg_trigger u ON u.oid = t.tgparentid
                 WHERE (NOT t.tgisinternal AND t.tgparentid = 0) OR t.tgenabled <> u.tgenabled
                 ORDER BY t.tgrelid, t.tgname"
            ),
        });
        (!tables.is_empty()).then(|| query.oids(tables))
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let table = cat.table_id(row.oid("tgrelid")?).context("a trigger without a table")?;
    let namespace = cat.get(table).and_then(|object| object.namespace);
    let trigger = Trigger {
        table,
        tgenabled: row.char("tgenabled")?,
        tgispartition: row.bool("tgispartition")?,
        tgdef: row.text("tgdef")?,
    };
    let catalog_id = CatalogId::new(class::PG_TRIGGER, row.oid("oid")?);
    let id = cat.add(catalog_id, row.text("tgname")?, namespace, Kind::Trigger(trigger));
    if let Some(table) = cat.table_mut(table) {
        table.triggers.push(id);
    }
    Ok(())
}

/// Writes a trigger with its comment.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Trigger) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let table_object = emit.cat.get(it.table).context("a trigger without a table")?;
    let table = emit.cat.table(it.table).context("a trigger without a table")?;
    let name = emit.q.id(&object.name).into_owned();
    let qualified = emit.qualified(table_object);
    let foreign = if table.relkind == 'f' { "FOREIGN " } else { "" };
    let switch = format!(
        "\nALTER {foreign}TABLE {qualified} {} TRIGGER {name};\n",
        firing(it.tgenabled)
    );
    if object.wants(Components::DEFINITION) {
        let mut entry = emit.entry(object, "TRIGGER", Section::PostData);
        entry.tag = format!("{} {}", table_object.name, object.name);
        if it.tgispartition {
            entry.defn = switch;
        } else {
            let identity = format!("{name} ON {qualified}");
            entry.defn = format!("{};\n", it.tgdef);
            entry.defn += &dependency::on_extensions(emit, object, "TRIGGER", &identity);
            if it.tgenabled != 'O' {
                entry.defn += &switch;
            }
            entry.drop_stmt = format!("DROP TRIGGER {identity};\n");
        }
        entry.owner.clone_from(&table.owner);
        emit.push(entry);
    }
    if object.wants(Components::COMMENT) {
        let on = format!("TRIGGER {name} ON");
        let table_name = emit.q.id(&table_object.name).into_owned();
        let schema = emit.cat.namespace_name(table_object.namespace);
        let id = object.catalog_id;
        attachment::comment(emit, &on, &table_name, schema, &table.owner, id, 0, object.dump_id);
    }
    Ok(())
}

/// The statement's words for `pg_trigger.tgenabled` and `pg_event_trigger.evtenabled`.
#[must_use]
pub fn firing(enabled: char) -> &'static str {
    match enabled {
        'D' => "DISABLE",
        'A' => "ENABLE ALWAYS",
        'R' => "ENABLE REPLICA",
        _ => "ENABLE",
    }
}

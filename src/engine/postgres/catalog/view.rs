//! Views and materialized views: their definitions, stand-ins where views depend on each other, and refreshes.

use anyhow::Context as _;

use super::Step;
use super::emit::Emit;
use super::object::{Components, Object, Oid, class};
use super::table::Table;
use super::table_data::TableData;
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::Query;
use crate::error::{Exit, Fail, Result};

/// `pg_get_viewdef` of what is dumped.
pub const DEFINITIONS: Step = Step {
    what: "view definitions",
    query: |cat| {
        let views: Vec<Oid> = cat
            .tables()
            .filter(|(object, table)| matches!(table.relkind, 'v' | 'm') && object.wants(Components::DEFINITION))
            .map(|(_, table)| table.oid)
            .collect();
        (cat.options.dump_schema() && !views.is_empty()).then(|| {
            Query::new("SELECT oid, pg_catalog.pg_get_viewdef(oid) AS viewdef FROM unnest($1) AS view(oid)").oids(views)
        })
    },
    absorb: |cat, rows| {
        for row in rows {
            let text = row.opt_text("viewdef")?;
            let Some(id) = cat.table_id(row.oid("oid")?) else {
                continue;
            };
            let viewdef = text.as_deref().and_then(|text| text.strip_suffix(';'));
            if viewdef.is_none_or(str::is_empty) {
                let name = cat.get(id).map(|object| object.name.clone()).unwrap_or_default();
                let message = format!("definition of view {name} appears to be empty");
                return Err(Fail::new(Exit::Failure, message)
                    .hint("it was dropped while the dump began: run it again")
                    .into());
            }
            let viewdef = viewdef.map(str::to_owned);
            if let Some(table) = cat.table_mut(id) {
                table.viewdef = viewdef;
            }
        }
        Ok(())
    },
};

/// The query of a view, without its semicolon.
pub(super) fn query<'a>(object: &Object, table: &'a Table) -> Result<&'a str> {
    let viewdef = table.viewdef.as_deref();
    viewdef.with_context(|| format!("the definition of view {} was not read", object.name))
}

/// What follows the name of a view in its definition, to the end of the statement.
pub(super) fn definition(emit: &Emit, object: &Object, table: &Table) -> Result<String> {
    let mut sql = String::new();
    if !table.reloptions.is_empty() {
        sql += &format!(" WITH ({})", emit.q.reloptions(&table.reloptions, ""));
    }
    sql += &format!(" AS\n{}", query(object, table)?);
    if let Some(option) = &table.checkoption {
        sql += &format!("\n  WITH {option} CHECK OPTION");
    }
    sql += ";\n";
    Ok(sql)
}

/// A query with the view's columns but without what they come from: it stands in until the real one can.
pub(super) fn dummy(emit: &Emit, table: &Table) -> String {
    let columns: Vec<_> = table
        .columns
        .iter()
        .map(|column| {
            // CREATE OR REPLACE VIEW would not change a collation later.
            let collation = emit.collate(column.collation);
            format!(
                "\n    NULL::{}{collation} AS {}",
                column.type_name,
                emit.q.id(&column.name)
            )
        })
        .collect();
    format!("SELECT{}", columns.join(","))
}

impl Emit<'_> {
    /// ` COLLATE name` where a column's collation differs from its type's (0: it does not).
    #[must_use]
    pub fn collate(&self, collation: Oid) -> String {
        match self.cat.object(class::PG_COLLATION, collation) {
            Some(object) => format!(" COLLATE {}", self.qualified(object)),
            None => String::new(),
        }
    }
}

/// Writes `REFRESH MATERIALIZED VIEW`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_refresh(emit: &mut Emit, object: &Object, it: &TableData) -> Result<()> {
    let view = emit.cat.get(it.table).context("a materialized view to refresh")?;
    let table = emit.cat.table(it.table).context("a materialized view to refresh")?;
    if !table.relispopulated || !object.wants(Components::DATA) {
        return Ok(());
    }
    let mut entry = emit.entry(object, "MATERIALIZED VIEW DATA", Section::PostData);
    entry.owner.clone_from(&table.owner);
    entry.defn = format!("REFRESH MATERIALIZED VIEW {};\n", emit.qualified(view));
    entry.dependencies.clone_from(&object.dependencies);
    emit.push(entry);
    Ok(())
}

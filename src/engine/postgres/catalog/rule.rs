//! Rewrite rules.

use anyhow::Context as _;

use super::emit::Emit;
use super::object::{CatalogId, Components, DumpId, Object, Oid};
use super::{Catalog, Kind, Step, attachment, view};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;

/// A rule; that of a view (`_RETURN`) too, which has an entry only after a loop repair.
#[derive(Debug, Default)]
pub struct Rule {
    /// Its table or view.
    pub table: DumpId,
    /// `1` SELECT, `2` UPDATE, `3` INSERT, `4` DELETE.
    pub ev_type: char,
    /// `DO INSTEAD`.
    pub is_instead: bool,
    /// `O` origin, `D` disabled, `R` replica, `A` always.
    pub ev_enabled: char,
    /// It needs an entry of its own; the ON SELECT rule of a view does not.
    pub separate: bool,
    /// `pg_get_ruledef`.
    pub definition: String,
}

/// The rules. Only those of dumped tables are locked, so only theirs are deparsed; that of a view is written as
/// its definition.
pub const READ: Step = Step {
    what: "rules",
    query: |cat| {
        let tables: Vec<Oid> = cat
            .tables()
            .filter(|(object, table)| table.hasrules && object.wants(Components::DEFINITION))
            .map(|(_, table)| table.oid)
            .collect();
        let query = Query::new(
            "SELECT r.tableoid, r.oid, r.rulename, r.ev_class, r.ev_type, r.is_instead, r.ev_enabled,
                    CASE WHEN r.ev_class = ANY ($1) AND r.ev_type <> '1'
                         THEN pg_catalog.pg_get_ruledef(r.oid) END AS definition
             FROM pg_catalog.pg_rewrite r
             ORDER BY r.oid",
        );
        Some(query.oids(tables))
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let oid = row.oid("ev_class")?;
    let name = row.text("rulename")?;
    let table = cat
        .table_id(oid)
        .with_context(|| format!("table with OID {oid} of rule {name} does not exist"))?;
    let owner = cat.get(table).context("a table that was found")?;
    let (namespace, dump) = (owner.namespace, owner.dump);
    let is_view = cat.table(table).is_some_and(|it| matches!(it.relkind, 'v' | 'm'));
    let rule = Rule {
        table,
        ev_type: row.char("ev_type")?,
        is_instead: row.bool("is_instead")?,
        ev_enabled: row.char("ev_enabled")?,
        separate: false,
        definition: row.opt_text("definition")?.unwrap_or_default(),
    };
    let is_definition = is_view && rule.ev_type == '1' && rule.is_instead;
    let rule = Rule {
        separate: !is_definition,
        ..rule
    };
    let catalog_id = CatalogId::new(row.oid("tableoid")?, row.oid("oid")?);
    let id = cat.add(catalog_id, name, namespace, Kind::Rule(rule));
    if let Some(object) = cat.get_mut(id) {
        object.dump = dump;
    }
    if is_definition {
        // What the definition needs must come before the view.
        cat.add_dependency(table, id);
    } else {
        cat.add_dependency(id, table);
    }
    Ok(())
}

/// Writes a rule, or the real definition of a view that had to be a dummy first.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Rule) -> Result<()> {
    if !emit.cat.options.dump_schema() || !it.separate {
        return Ok(());
    }
    let owner = emit.cat.get(it.table).context("the table of a rule")?;
    let table = emit.cat.table(it.table).context("the table of a rule")?;
    let (qualified, name) = (emit.qualified(owner), emit.q.id(&object.name).into_owned());
    let is_view = it.ev_type == '1' && it.is_instead && table.relkind == 'v';
    let mut entry = emit.entry(object, "RULE", Section::PostData);
    if is_view {
        entry.defn = format!(
            "CREATE OR REPLACE VIEW {qualified}{}",
            view::definition(emit, owner, table)?
        );
        // Dropping it goes back to the dummy: others may still refer to the view.
        entry.drop_stmt = format!("CREATE OR REPLACE VIEW {qualified} AS\n{};\n", view::dummy(emit, table));
    } else {
        entry.defn = format!("{}\n", it.definition);
        entry.drop_stmt = format!("DROP RULE {name} ON {qualified};\n");
    }
    let enabled = match it.ev_enabled {
        'A' => Some("ENABLE ALWAYS"),
        'R' => Some("ENABLE REPLICA"),
        'D' => Some("DISABLE"),
        _ => None,
    };
    if let Some(enabled) = enabled {
        entry.defn += &format!("ALTER TABLE {qualified} {enabled} RULE {name};\n");
    }
    entry.tag = format!("{} {}", owner.name, object.name);
    entry.owner.clone_from(&table.owner);
    if object.wants(Components::DEFINITION) {
        emit.push(entry);
    }
    if object.wants(Components::COMMENT) {
        let kind = format!("RULE {name} ON");
        let table_name = emit.q.id(&owner.name).into_owned();
        let namespace = emit.cat.namespace_name(owner.namespace);
        attachment::comment(
            emit,
            &kind,
            &table_name,
            namespace,
            &table.owner,
            object.catalog_id,
            0,
            object.dump_id,
        );
    }
    Ok(())
}

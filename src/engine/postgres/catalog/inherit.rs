//! Inheritance and partitions: who descends from whom, and what columns only inherit.

use std::collections::HashMap;

use anyhow::Context as _;

use super::column::Column;
use super::emit::Emit;
use super::expression::{self, AttrDef};
use super::object::{CatalogId, Components, DumpId, Object, Oid};
use super::{Catalog, Kind, Step};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::{Exit, Fail, Result};

/// `ALTER TABLE … ATTACH PARTITION`, which has an entry of its own: so a partition can be restored alone, and
/// keeps its own order of columns.
#[derive(Debug, Default)]
pub struct TableAttach {
    /// The partitioned table.
    pub parent: DumpId,
    /// The partition.
    pub partition: DumpId,
}

/// Links tables to their parents, marks the parents of what is dumped, and adds the attachments of partitions.
pub const FLAG_TABLES: Step = Step {
    what: "inheritance",
    query: |_| Some(Query::new("SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits")),
    absorb: flag_tables,
};

/// Partitioned tables whose rows may belong elsewhere after a reload: hash values of an enum come from the OIDs
/// of its labels.
pub const UNSAFE_PARTITIONS: Step = Step {
    what: "partitioning",
    query: |cat| {
        cat.options.dump_data().then(|| {
            Query::new(
                "SELECT partrelid FROM pg_catalog.pg_partitioned_table
                 WHERE EXISTS (SELECT FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_am am ON am.oid = o.opcmethod
                               WHERE o.oid = ANY (partclass) AND o.opcname = 'enum_ops' AND am.amname = 'hash'
                                     AND o.opcnamespace = 'pg_catalog'::regnamespace)",
            )
        })
    },
    absorb: |cat, rows| {
        for row in rows {
            if let Some(id) = cat.table_id(row.oid("partrelid")?)
                && let Some(table) = cat.table_mut(id)
            {
                table.unsafe_partitions = true;
            }
        }
        Ok(())
    },
};

/// Marks what columns only inherit.
pub const FLAG_COLUMNS: Step = Step {
    what: "inherited columns",
    query: |_| None,
    absorb: |cat, _| {
        for id in cat.table_ids() {
            flag_columns(cat, id)?;
        }
        Ok(())
    },
};

/// What the partitions that are attached are FOR.
pub const BOUNDS: Step = Step {
    what: "partition bounds",
    query: |cat| {
        let partitions: Vec<Oid> = cat
            .objects()
            .filter_map(|object| match &object.kind {
                Kind::TableAttach(attach) => Some(cat.table(attach.partition)?.oid),
                _ => None,
            })
            .collect();
        (!partitions.is_empty()).then(|| {
            Query::new(
                "SELECT oid, pg_catalog.pg_get_expr(relpartbound, oid) AS partbound
                 FROM pg_catalog.pg_class WHERE oid = ANY ($1)",
            )
            .oids(partitions)
        })
    },
    absorb: |cat, rows| {
        for row in rows {
            let bound = row.opt_text("partbound")?;
            if let Some(id) = cat.table_id(row.oid("oid")?)
                && let Some(table) = cat.table_mut(id)
            {
                table.partbound = bound;
            }
        }
        Ok(())
    },
};

fn flag_tables(cat: &mut Catalog, rows: Vec<Row>) -> Result<()> {
    let mut parents: HashMap<Oid, Vec<Oid>> = HashMap::new();
    for row in rows {
        parents
            .entry(row.oid("inhrelid")?)
            .or_default()
            .push(row.oid("inhparent")?);
    }
    for id in cat.table_ids() {
        let Some(object) = cat.get(id) else { continue };
        let (dump, name, namespace) = (object.dump, object.name.clone(), object.namespace);
        let Some(table) = cat.table(id) else { continue };
        if matches!(table.relkind, 'S' | 'v' | 'm') {
            continue;
        }
        // The way from a partition up to its root must be known also where the levels between are not dumped.
        if dump.is_none() && !(table.relkind == 'p' && table.ispartition) {
            continue;
        }
        let (ispartition, child) = (table.ispartition, table.oid);
        let mut found = Vec::new();
        for oid in parents.get(&child).map(Vec::as_slice).unwrap_or_default() {
            found.push(
                cat.table_id(*oid)
                    .with_context(|| format!("parent table with OID {oid} of table {name} does not exist"))?,
            );
        }
        if !dump.is_none() {
            for parent in &found {
                if let Some(parent) = cat.table_mut(*parent) {
                    parent.interesting = true;
                }
            }
        }
        // Up to 15 pg_dump numbers an attachment also where privileges alone are dumped of the partition.
        let attaches = dump.has(Components::DEFINITION) || cat.server.major() < 16 && !dump.is_none();
        if attaches && ispartition {
            let [parent] = found[..] else {
                let message = format!("invalid number of parents {} for partition {name}", found.len());
                return Err(Fail::new(Exit::Failure, message).into());
            };
            let attach = TableAttach { parent, partition: id };
            let attach = cat.add(CatalogId::default(), name, namespace, Kind::TableAttach(attach));
            cat.add_dependency(attach, id);
            cat.add_dependency(attach, parent);
        }
        if let Some(table) = cat.table_mut(id) {
            table.parents = found;
        }
    }
    Ok(())
}

/// What the parents' columns of one name say together.
#[derive(Default)]
struct Inherited {
    not_null: bool,
    default: bool,
    generated: bool,
    same_expression: bool,
    other_expression: bool,
}

fn flag_columns(cat: &mut Catalog, id: DumpId) -> Result<()> {
    let Some(object) = cat.get(id) else { return Ok(()) };
    let Some(table) = cat.table(id) else { return Ok(()) };
    if object.dump.is_none() || table.parents.is_empty() {
        return Ok(());
    }
    for at in 0..table.columns.len() {
        flag_column(cat, id, at)?;
    }
    Ok(())
}

fn flag_column(cat: &mut Catalog, id: DumpId, at: usize) -> Result<()> {
    let major = cat.server.major();
    let table = cat.table(id).context("a table that was there")?;
    let column = &table.columns[at];
    if column.dropped {
        return Ok(());
    }
    let inherited = inherited(cat, &table.parents, column);
    let keeps_expression = table.ispartition || cat.options.binary_upgrade;
    let default = column.default;
    let separate = !table.prints(&cat.options, column);

    if inherited.default && default.is_none() {
        // Without it, the server would give the column its parent's default.
        let null = AttrDef {
            table: id,
            adnum: i32::try_from(at + 1)?,
            expr: "NULL".to_owned(),
            separate,
        };
        let null = expression::attach(cat, CatalogId::default(), null)?;
        if separate {
            cat.add_dependency(null, id);
        }
    }
    if !keeps_expression {
        if major >= 16 && inherited.same_expression && !inherited.other_expression {
            if let Some(default) = default.and_then(|id| cat.get_mut(id)) {
                default.dump = Components::NONE;
            }
        } else if major < 16
            && inherited.generated
            && let Some(table) = cat.table_mut(id)
        {
            table.columns[at].default = None;
        }
    }
    if let Some(table) = cat.table_mut(id)
        && let Some(not_null) = &mut table.columns[at].not_null
    {
        if major < 18 && inherited.not_null {
            not_null.is_local = false;
        } else if major >= 18 && !inherited.not_null {
            // A parent gets one that is not valid only after the rows, so the child cannot inherit it before.
            not_null.is_local = true;
        }
    }
    Ok(())
}

fn inherited(cat: &Catalog, parents: &[DumpId], column: &Column) -> Inherited {
    let mut found = Inherited::default();
    let expression = |column: &Column| column.default.and_then(|id| Some(cat.attr_def(id)?.expr.as_str()));
    let own = expression(column);
    let theirs = parents.iter().filter_map(|parent| {
        let columns = &cat.table(*parent)?.columns;
        columns.iter().find(|theirs| theirs.name == column.name)
    });
    for theirs in theirs {
        let default = expression(theirs);
        found.not_null |= theirs.not_null.is_some();
        if theirs.generated == '\0' {
            // Up to 15 pg_dump takes a NULL that it made up for the parent for a default of its own.
            found.default |= default.is_some_and(|expr| expr != "NULL" || cat.server.major() < 16);
        } else {
            found.generated = true;
            found.same_expression |= default.is_some() && default == own;
            found.other_expression |= default.is_none() || default != own;
        }
    }
    found
}

/// Writes `ALTER TABLE … ATTACH PARTITION`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_attach(emit: &mut Emit, object: &Object, it: &TableAttach) -> Result<()> {
    let parent = emit.cat.get(it.parent).context("the parent of a partition")?;
    let partition = emit.cat.get(it.partition).context("a partition to attach")?;
    if !emit.cat.options.dump_schema() || !partition.wants(Components::DEFINITION) {
        return Ok(());
    }
    let table = emit.cat.table(it.partition).context("a partition to attach")?;
    let mut entry = emit.entry(object, "TABLE ATTACH", Section::PreData);
    // It has no owner as such, but it must be run by who may.
    entry.owner.clone_from(&table.owner);
    entry.defn = format!(
        "ALTER TABLE ONLY {} ATTACH PARTITION {} {};\n",
        emit.qualified(parent),
        emit.qualified(partition),
        table.partbound.as_deref().unwrap_or_default()
    );
    emit.push(entry);
    Ok(())
}

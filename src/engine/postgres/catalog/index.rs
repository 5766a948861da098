//! Indexes, and the constraints that come with them.

use anyhow::Context as _;

use super::constraint::Constraint;
use super::emit::Emit;
use super::object::{CatalogId, Components, DumpId, Object, Oid, class};
use super::{Catalog, Kind, Query, Row, Step, attachment, dependency, relation_stats, upgrade};
use crate::archive::toc::Section;
use crate::error::Result;

/// An index.
#[derive(Debug, Default)]
pub struct Index {
    /// Its table.
    pub table: DumpId,
    /// `pg_get_indexdef`.
    pub indexdef: String,
    /// Tablespace; empty for the database's own.
    pub tablespace: String,
    /// Storage parameters, each `name=value`.
    pub options: Vec<String>,
    /// Columns with a statistics target of their own: number and target.
    pub statistics: Vec<(i32, i32)>,
    /// Attribute numbers of its columns, key columns first; 0 for an expression.
    pub indkey: Vec<i32>,
    /// How many of them are key columns.
    pub indnkeyatts: usize,
    /// The table is clustered on it.
    pub indisclustered: bool,
    /// It is the table's replica identity.
    pub indisreplident: bool,
    /// `NULLS NOT DISTINCT` (15).
    pub indnullsnotdistinct: bool,
    /// OID of the partitioned index that it belongs to; 0 for none.
    pub parent: Oid,
    /// The constraint that it carries.
    pub constraint: Option<DumpId>,
    /// For a partitioned index: attachments of its partitions.
    pub attachments: Vec<DumpId>,
}

/// The attachment of a partition's index to the partitioned one.
#[derive(Debug, Default)]
pub struct IndexAttach {
    /// The partitioned index.
    pub parent: DumpId,
    /// The index of the partition.
    pub partition: DumpId,
}

/// The indexes of the tables that matter, with the constraints that they carry.
///
/// An index that a failed `CREATE INDEX CONCURRENTLY` left behind is not dumped; that of a partitioned table is
/// invalid for as long as a partition lacks it, and is.
pub const READ: Step = Step {
    what: "indexes",
    query: |cat| {
        let tables = cat.tables().filter(|(_, table)| table.hasindex && table.interesting);
        let tables: Vec<Oid> = tables.map(|(_, table)| table.oid).collect();
        (!tables.is_empty()).then(|| Query::new(sql(cat.server.major())).oids(tables).divisible())
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

fn sql(major: u32) -> String {
    let frozen = if major >= 18 { "t.relallfrozen" } else { "0" };
    let nulls_not_distinct = if major >= 15 { "i.indnullsnotdistinct" } else { "false" };
    let period = if major >= 18 {
        "coalesce(c.conperiod, false)"
    } else {
        "false"
    };
    // The definition of an index is asked for only where a statement needs it: it takes most of the time.
    format!(
        "SELECT t.oid, i.indrelid, t.relname, t.relkind, t.relpages, t.reltuples::text AS reltuples, t.relallvisible,
                {frozen} AS relallfrozen,
                CASE WHEN c.oid IS NULL THEN pg_catalog.pg_get_indexdef(i.indexrelid) ELSE '' END AS indexdef,
                i.indkey::int2[]::int4[] AS indkey, i.indnkeyatts::int4 AS indnkeyatts,
                i.indisclustered, i.indisreplident, {nulls_not_distinct} AS indnullsnotdistinct,
                coalesce(inh.inhparent, 0) AS parent,
                (SELECT spcname FROM pg_catalog.pg_tablespace s WHERE s.oid = t.reltablespace) AS tablespace,
                t.reloptions,
                (SELECT array_agg(attnum::int4 ORDER BY attnum) FROM pg_catalog.pg_attribute
                  WHERE attrelid = i.indexrelid AND attstattarget >= 0) AS statistics_columns,
                (SELECT array_agg(attstattarget::int4 ORDER BY attnum) FROM pg_catalog.pg_attribute
                  WHERE attrelid = i.indexrelid AND attstattarget >= 0) AS statistics_targets,
                CASE WHEN i.indexprs IS NOT NULL THEN
                    (SELECT array_agg(attname ORDER BY attnum) FROM pg_catalog.pg_attribute
                      WHERE attrelid = i.indexrelid)
                END AS index_columns,
                c.oid AS conoid, c.contype::text AS contype, c.conname,
                coalesce(c.condeferrable, false) AS condeferrable, coalesce(c.condeferred, false) AS condeferred,
                {period} AS conperiod,
                CASE WHEN c.contype = 'x' THEN pg_catalog.pg_get_constraintdef(c.oid, false) END AS condef
         FROM unnest($1) AS src(tbloid)
         JOIN pg_catalog.pg_index i ON src.tbloid = i.indrelid
         JOIN pg_catalog.pg_class t ON t.oid = i.indexrelid
         JOIN pg_catalog.pg_class t2 ON t2.oid = i.indrelid
         LEFT JOIN pg_catalog.pg_constraint c
           ON i.indrelid = c.conrelid AND i.indexrelid = c.conindid AND c.contype IN ('p', 'u', 'x')
         LEFT JOIN pg_catalog.pg_inherits inh ON inh.inhrelid = i.indexrelid
         WHERE (i.indisvalid OR t2.relkind = 'p') AND i.indisready
         ORDER BY i.indrelid, t.relname"
    )
}

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let oid = row.oid("oid")?;
    let name = row.text("relname")?;
    let table = cat.table_id(row.oid("indrelid")?).context("an index without a table")?;
    let (namespace, dump) = cat
        .get(table)
        .map_or((None, Components::NONE), |it| (it.namespace, it.dump));
    let parent = row.oid("parent")?;
    let index = Index {
        table,
        indexdef: row.text("indexdef")?,
        tablespace: row.opt_text("tablespace")?.unwrap_or_default(),
        options: row.texts("reloptions")?,
        statistics: row
            .ints("statistics_columns")?
            .into_iter()
            .zip(row.ints("statistics_targets")?)
            .collect(),
        indkey: row.ints("indkey")?,
        indnkeyatts: usize::try_from(row.int("indnkeyatts")?)?,
        indisclustered: row.bool("indisclustered")?,
        indisreplident: row.bool("indisreplident")?,
        indnullsnotdistinct: row.bool("indnullsnotdistinct")?,
        parent,
        constraint: None,
        attachments: Vec::new(),
    };
    let id = cat.add(
        CatalogId::new(class::PG_CLASS, oid),
        name,
        namespace,
        Kind::Index(Box::new(index)),
    );
    if let Some(object) = cat.get_mut(id) {
        object.dump = dump;
    }
    if let Some(table) = cat.table_mut(table) {
        table.indexes.push(id);
    }
    let relation = relation_stats::Relation {
        // It is pg_dump's way to tell indexes of partitions apart, not the relkind that pg_class has.
        relkind: if parent == 0 { 'i' } else { 'I' },
        index_columns: row.texts("index_columns")?,
        ..relation_stats::Relation::read(row)?
    };
    let statistics = relation_stats::add(cat, id, relation);
    if row.opt_oid("conoid")?.is_some() {
        let constraint = absorb_constraint(cat, row, table, id)?;
        if let Some(statistics) = statistics {
            cat.add_dependency(statistics, constraint);
        }
    }
    Ok(())
}

/// Adds the constraint that an index carries.
fn absorb_constraint(cat: &mut Catalog, row: &Row, table: DumpId, index: DumpId) -> Result<DumpId> {
    let constraint = Constraint {
        table: Some(table),
        contype: row.text("contype")?.chars().next().unwrap_or_default(),
        condef: row.opt_text("condef")?,
        conindex: Some(index),
        condeferrable: row.bool("condeferrable")?,
        condeferred: row.bool("condeferred")?,
        conperiod: row.bool("conperiod")?,
        conislocal: true,
        separate: true,
        ..Constraint::default()
    };
    let (namespace, dump) = cat
        .get(table)
        .map_or((None, Components::NONE), |it| (it.namespace, it.dump));
    let catalog_id = CatalogId::new(class::PG_CONSTRAINT, row.oid("conoid")?);
    let id = cat.add(
        catalog_id,
        row.text("conname")?,
        namespace,
        Kind::Constraint(constraint),
    );
    if let Some(object) = cat.get_mut(id) {
        object.dump = dump;
    }
    if let Some(Kind::Index(it)) = cat.get_mut(index).map(|object| &mut object.kind) {
        it.constraint = Some(id);
    }
    Ok(id)
}

/// Ties the indexes of partitions to those of their parents. What an attachment depends on is not in pg_depend:
/// both indexes, and their tables too, so that a parallel restore does nothing else with these meanwhile.
pub const FLAG_INHERITED: Step = Step {
    what: "indexes of partitions",
    query: |_| None,
    absorb: |cat, _| {
        let partitions = cat
            .tables()
            .filter(|(_, table)| table.ispartition && !table.parents.is_empty());
        let indexes: Vec<DumpId> = partitions
            .flat_map(|(_, table)| table.indexes.iter().copied())
            .collect();
        for index in indexes {
            attach(cat, index);
        }
        Ok(())
    },
};

fn attach(cat: &mut Catalog, partition: DumpId) -> Option<DumpId> {
    let object = cat.get(partition)?;
    let Kind::Index(it) = &object.kind else { return None };
    let parent = cat.find(class::PG_CLASS, it.parent)?;
    let Kind::Index(parent_index) = &cat.get(parent)?.kind else {
        return None;
    };
    let depends_on = [partition, parent, it.table, parent_index.table];
    let (name, namespace) = (object.name.clone(), object.namespace);
    let attach = Kind::IndexAttach(IndexAttach { parent, partition });
    let id = cat.add(CatalogId::default(), name, namespace, attach);
    for on in depends_on {
        cat.add_dependency(id, on);
    }
    if let Some(Kind::Index(parent)) = cat.get_mut(parent).map(|object| &mut object.kind) {
        parent.attachments.push(id);
    }
    Some(id)
}

/// Writes an index with its comment. That of a constraint comes with it, and only the comment is written here:
/// by the order of dependencies the constraint is there already.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Index) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let table = emit.cat.get(it.table).context("an index without a table")?;
    let owner = emit
        .cat
        .table(it.table)
        .map(|table| table.owner.clone())
        .unwrap_or_default();
    if it.constraint.is_none() && object.wants(Components::DEFINITION) {
        let mut entry = emit.entry(object, "INDEX", Section::PostData);
        entry.defn = definition(emit, object, it, &emit.qualified(table));
        // The server does not let go of a partition's index alone.
        if it.parent == 0 {
            entry.drop_stmt = format!("DROP INDEX {};\n", emit.qualified(object));
        }
        entry.tablespace = Some(it.tablespace.clone());
        entry.owner.clone_from(&owner);
        emit.push(entry);
    }
    if object.wants(Components::COMMENT) {
        let name = emit.q.id(&object.name).into_owned();
        let schema = emit.cat.namespace_name(object.namespace);
        let depends_on = it.constraint.unwrap_or(object.dump_id);
        attachment::comment(emit, "INDEX", &name, schema, &owner, object.catalog_id, 0, depends_on);
    }
    Ok(())
}

fn definition(emit: &Emit, object: &Object, it: &Index, table: &str) -> String {
    let name = emit.qualified(object);
    let mut sql = String::new();
    if emit.cat.options.binary_upgrade {
        sql += &upgrade::class_oids(emit, object.catalog_id.oid, true);
    }
    sql += &format!("{};\n", it.indexdef);
    sql += &clustered(emit, object, it, table);
    sql += &statistics_targets(it, &name);
    sql += &dependency::on_extensions(emit, object, "INDEX", &name);
    sql += &replica_identity(emit, object, it, table);
    sql
}

/// The statistics targets of an index' columns; `name` is qualified.
pub fn statistics_targets(it: &Index, name: &str) -> String {
    let set =
        |(column, target): &(i32, i32)| format!("ALTER INDEX {name} ALTER COLUMN {column} SET STATISTICS {target};\n");
    it.statistics.iter().map(set).collect()
}

/// What says that its table is clustered on an index, if it is.
pub fn clustered(emit: &Emit, object: &Object, it: &Index, table: &str) -> String {
    if !it.indisclustered {
        return String::new();
    }
    format!("\nALTER TABLE {table} CLUSTER ON {};\n", emit.q.id(&object.name))
}

/// What says that an index is its table's replica identity, if it is.
pub fn replica_identity(emit: &Emit, object: &Object, it: &Index, table: &str) -> String {
    if !it.indisreplident {
        return String::new();
    }
    let name = emit.q.id(&object.name);
    format!("\nALTER TABLE ONLY {table} REPLICA IDENTITY USING INDEX {name};\n")
}

/// Writes the attachment of a partition's index. There is nothing to drop: it goes with either of both.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_attach(emit: &mut Emit, object: &Object, it: &IndexAttach) -> Result<()> {
    let partition = emit.cat.get(it.partition).context("an attachment without an index")?;
    let parent = emit.cat.get(it.parent).context("an attachment without a parent")?;
    if !emit.cat.options.dump_schema() || !partition.wants(Components::DEFINITION) {
        return Ok(());
    }
    let mut entry = emit.entry(object, "INDEX ATTACH", Section::PostData);
    entry.defn = format!(
        "ALTER INDEX {} ATTACH PARTITION {};\n",
        emit.qualified(parent),
        emit.qualified(partition)
    );
    // It has no owner of its own, but must be run by someone who may: the owner of the partitioned table.
    if let Kind::Index(parent) = &parent.kind
        && let Some(table) = emit.cat.table(parent.table)
    {
        entry.owner.clone_from(&table.owner);
    }
    emit.push(entry);
    Ok(())
}

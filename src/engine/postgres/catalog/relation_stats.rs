//! Planner statistics of relations and their columns, which pg_dump carries over since 18.

use std::collections::{BTreeSet, HashMap};

use super::emit::Emit;
use super::object::{CatalogId, Components, DumpId, Object, Oid};
use super::{Catalog, Kind, Query, Row, Step};
use crate::archive::toc::Section;
use crate::error::Result;

/// Planner statistics of one relation.
#[derive(Debug)]
pub struct RelationStats {
    /// The numbers in pg_class.
    pub relation: Relation,
    /// Where it is restored: with the data, or after it.
    pub section: Section,
    /// Statistics of its columns, in the order of their names.
    pub columns: Vec<ColumnStats>,
}

/// What pg_class knows of the size of a relation.
#[derive(Debug)]
pub struct Relation {
    /// `r` table, `p` partitioned table, `m` materialized view, `f` foreign table, `i` index, `I` partition's index.
    pub relkind: char,
    /// `pg_class.relpages`.
    pub relpages: i32,
    /// `pg_class.reltuples`, as text.
    pub reltuples: String,
    /// `pg_class.relallvisible`.
    pub relallvisible: i32,
    /// `pg_class.relallfrozen`.
    pub relallfrozen: i32,
    /// Names of the columns of an index on expressions, by number; else empty.
    pub index_columns: Vec<String>,
}

impl Relation {
    /// What a row of pg_class says.
    ///
    /// # Errors
    /// A column is missing.
    pub fn read(row: &Row) -> Result<Self> {
        Ok(Relation {
            relkind: row.char("relkind")?,
            relpages: row.int("relpages")?,
            reltuples: row.text("reltuples")?,
            relallvisible: row.int("relallvisible")?,
            relallfrozen: row.int("relallfrozen")?,
            index_columns: Vec::new(),
        })
    }
}

/// Planner statistics of one column.
#[derive(Debug)]
pub struct ColumnStats {
    /// Name of the column.
    pub attname: String,
    /// The arguments of the function that restores them, which are the columns of pg_stats: value by value, where
    /// there is one, in the order of `ARGUMENTS`.
    pub values: Vec<Option<String>>,
}

/// Columns of pg_stats and their types as arguments.
const ARGUMENTS: [(&str, &str); 14] = [
    ("inherited", "boolean"),
    ("null_frac", "real"),
    ("avg_width", "integer"),
    ("n_distinct", "real"),
    ("most_common_vals", "text"),
    ("most_common_freqs", "real[]"),
    ("histogram_bounds", "text"),
    ("correlation", "real"),
    ("most_common_elems", "text"),
    ("most_common_elem_freqs", "real[]"),
    ("elem_count_histogram", "real[]"),
    ("range_length_histogram", "text"),
    ("range_empty_frac", "real"),
    ("range_bounds_histogram", "text"),
];

/// Adds the statistics of the relation numbered `of`, where this dump wants them and its kind has some.
pub fn add(cat: &mut Catalog, of: DumpId, relation: Relation) -> Option<DumpId> {
    if cat.server.major() < 18 || !cat.options.statistics {
        return None;
    }
    let section = match relation.relkind {
        'r' | 'p' | 'm' | 'f' => Section::Data,
        'i' | 'I' => Section::PostData,
        _ => return None,
    };
    let object = cat.get(of)?;
    let (name, namespace) = (object.name.clone(), object.namespace);
    let stats = Kind::RelationStats(Box::new(RelationStats {
        relation,
        section,
        columns: Vec::new(),
    }));
    let id = cat.add(CatalogId::default(), name, namespace, stats);
    cat.add_dependency(id, of);
    if let Some(object) = cat.get_mut(id) {
        object.components |= Components::STATISTICS;
    }
    Some(id)
}

/// Moves the statistics of a materialized view behind its refresh, which begins them anew.
pub fn follow_refresh(cat: &mut Catalog, view: DumpId, refresh: DumpId) {
    let Some(stats) = cat.table(view).and_then(|table| table.stats) else {
        return;
    };
    cat.add_dependency(stats, refresh);
    if let Some(Kind::RelationStats(stats)) = cat.get_mut(stats).map(|object| &mut object.kind) {
        stats.section = Section::PostData;
    }
}

/// Statistics of all columns of the relations that have been added.
pub const READ: Step = Step {
    what: "column statistics",
    query: |cat| {
        // Indexes are added in the same batch, so what belongs to which relation is sorted out afterwards.
        if cat.server.major() < 18 || !cat.options.statistics {
            return None;
        }
        let values: Vec<String> = ARGUMENTS
            .iter()
            .map(|(name, _)| match *name {
                "inherited" => "CASE WHEN s.inherited THEN 't' ELSE 'f' END AS inherited".to_owned(),
                name => format!("s.{name}::text AS {name}"),
            })
            .collect();
        let schemas: BTreeSet<Oid> = cat
            .tables()
            .filter(|(_, table)| table.interesting)
            .filter_map(|(object, _)| Some(cat.get(object.namespace?)?.catalog_id.oid))
            .collect();
        let query = Query::new(format!(
            "SELECT s.schemaname, s.tablename, s.attname, {}
             FROM pg_catalog.pg_stats s
             JOIN pg_catalog.pg_namespace n ON n.nspname = s.schemaname
             WHERE n.oid = ANY($1)
             ORDER BY s.schemaname, s.tablename, s.attname, s.inherited",
            values.join(", ")
        ));
        Some(query.oids(schemas))
    },
    absorb: |cat, rows| {
        let mut by_name: HashMap<(String, String), Vec<ColumnStats>> = HashMap::new();
        for row in &rows {
            let relation = (row.text("schemaname")?, row.text("tablename")?);
            by_name.entry(relation).or_default().push(column(row)?);
        }
        let names: HashMap<DumpId, String> = cat
            .objects()
            .filter(|object| matches!(object.kind, Kind::Namespace(_)))
            .map(|object| (object.dump_id, object.name.clone()))
            .collect();
        for object in cat.objects_mut() {
            let Some(schema) = object.namespace.and_then(|id| names.get(&id)) else {
                continue;
            };
            let relation = (schema.clone(), object.name.clone());
            if let Kind::RelationStats(stats) = &mut object.kind {
                stats.columns = by_name.remove(&relation).unwrap_or_default();
            }
        }
        Ok(())
    },
};

fn column(row: &Row) -> Result<ColumnStats> {
    let values: Result<Vec<_>> = ARGUMENTS.iter().map(|(name, _)| row.opt_text(name)).collect();
    Ok(ColumnStats {
        attname: row.text("attname")?,
        values: values?,
    })
}

/// Writes the statements that restore the statistics of a relation.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &RelationStats) -> Result<()> {
    if !emit.cat.options.statistics {
        return Ok(());
    }
    let mut entry = emit.entry(object, "STATISTICS DATA", it.section);
    entry.dump_id = emit.new_dump_id();
    entry.dependencies.clone_from(&object.dependencies);
    entry.defn = definition(emit, object, it);
    emit.push(entry);
    Ok(())
}

fn definition(emit: &Emit, object: &Object, it: &RelationStats) -> String {
    let q = emit.q;
    let version = emit.cat.server.version_num;
    let schema = q.literal(emit.cat.namespace_name(object.namespace).unwrap_or_default());
    let name = q.literal(&object.name);
    let Relation {
        relpages,
        reltuples,
        relallvisible,
        relallfrozen,
        ..
    } = &it.relation;
    let mut sql = format!(
        "SELECT * FROM pg_catalog.pg_restore_relation_stats(\n\t'version', '{version}'::integer,\n\t\
         'schemaname', {schema},\n\t'relname', {name},\n\t'relpages', '{relpages}'::integer,\n\t\
         'reltuples', '{reltuples}'::real,\n\t'relallvisible', '{relallvisible}'::integer,\n\t\
         'relallfrozen', '{relallfrozen}'::integer\n);\n"
    );
    for column in &it.columns {
        sql += &format!(
            "SELECT * FROM pg_catalog.pg_restore_attribute_stats(\n\t'version', '{version}'::integer,\n\t\
             'schemaname', {schema},\n\t'relname', {name},\n\t"
        );
        // Names of index columns may change on the way, their numbers do not.
        match it
            .relation
            .index_columns
            .iter()
            .position(|name| *name == column.attname)
        {
            Some(place) => sql += &format!("'attnum', '{}'::smallint", place + 1),
            None => sql += &format!("'attname', {}", q.literal(&column.attname)),
        }
        for ((argument, of_type), value) in ARGUMENTS.iter().zip(&column.values) {
            if let Some(value) = value {
                sql += &format!(",\n\t'{argument}', {}::{of_type}", q.literal(value));
            }
        }
        sql += "\n);\n";
    }
    sql
}

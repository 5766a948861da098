//! The rows of tables: which are dumped, and the statements that carry them.

use std::borrow::Cow;

use anyhow::Context as _;

use super::emit::Emit;
use super::object::{CatalogId, Components, DumpId, Object, Oid};
use super::table::Table;
use super::{Catalog, Kind, Step, relation_stats};
use crate::archive::plain::sanitize;
use crate::archive::required::LOAD_VIA_ROOT;
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;
use crate::sql::quote::Quote;

/// The rows of a table; also the value of a sequence and the refresh of a materialized view.
#[derive(Debug, Default)]
pub struct TableData {
    /// The relation.
    pub table: DumpId,
    /// `WHERE …` of an extension's configuration table.
    pub filtercond: Option<String>,
}

/// Which rows are dumped, and in which order materialized views are refreshed.
pub const READ: Step = Step {
    what: "table data",
    query: |cat| cat.options.dump_data().then(|| Query::new(MATVIEWS)),
    absorb,
};

/// Which materialized view reads which other, also through views.
const MATVIEWS: &str = "
    WITH RECURSIVE reads (matview, oid, relkind) AS (
        SELECT r.ev_class, c.oid, c.relkind
        FROM pg_catalog.pg_class m
             JOIN pg_catalog.pg_rewrite r ON r.ev_class = m.oid
             JOIN pg_catalog.pg_depend d ON d.classid = 2618 AND d.objid = r.oid AND d.refobjid <> m.oid
             JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND c.relkind IN ('m', 'v')
        WHERE m.relkind = 'm'
        UNION
        SELECT reads.matview, c.oid, c.relkind
        FROM reads
             JOIN pg_catalog.pg_rewrite r ON r.ev_class = reads.oid
             JOIN pg_catalog.pg_depend d ON d.classid = 2618 AND d.objid = r.oid AND d.refobjid <> reads.oid
             JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND c.relkind IN ('m', 'v')
    )
    SELECT matview, oid FROM reads WHERE relkind = 'm'";

fn absorb(cat: &mut Catalog, matviews: Vec<Row>) -> Result<()> {
    let only_sequences = !cat.options.dump_data();
    if only_sequences && !cat.options.sequence_data {
        return Ok(());
    }
    for id in cat.table_ids() {
        let is_sequence = cat.table(id).is_some_and(|table| table.relkind == 'S');
        let wanted = cat.get(id).is_some_and(|object| object.wants(Components::DATA));
        if wanted && (is_sequence || !only_sequences) {
            add(cat, id, None);
        }
    }
    for row in matviews {
        order_refresh(cat, row.oid("matview")?, row.oid("oid")?);
    }
    if cat.options.dump_data() && !cat.options.dump_schema() {
        follow_foreign_keys(cat);
    }
    Ok(())
}

/// Adds the rows of a table to the dump (pg_dump's `makeTableDataInfo`), unless they are there already or an
/// option leaves them out. `filtercond` is the `WHERE …` of an extension's configuration table.
pub fn add(cat: &mut Catalog, id: DumpId, filtercond: Option<String>) {
    let (Some(object), Some(table)) = (cat.get(id), cat.table(id)) else {
        return;
    };
    let (name, namespace) = (object.name.clone(), object.namespace);
    let relkind = table.relkind;
    let unwanted = match relkind {
        'v' | 'p' => true,
        'f' => !cat.selection.include_foreign_servers.contains(&table.foreign_server),
        _ => false,
    };
    let unlogged = table.relpersistence == 'u' && cat.options.no_unlogged_table_data;
    if table.data.is_some() || unwanted || unlogged || cat.selection.exclude_table_data.contains(&table.oid) {
        return;
    }
    // Catalog 0: what pg_depend says of the table is not true of its rows.
    let catalog_id = CatalogId::new(0, table.oid);
    let data = TableData { table: id, filtercond };
    let kind = match relkind {
        'm' => Kind::RefreshMatView(data),
        'S' => Kind::SequenceSet(data),
        _ => Kind::TableData(data),
    };
    let data = cat.add(catalog_id, name, namespace, kind);
    cat.add_dependency(data, id);
    if let Some(object) = cat.get_mut(data) {
        object.components |= Components::DATA;
    }
    if let Some(table) = cat.table_mut(id) {
        table.data = Some(data);
        table.interesting = true;
    }
    if relkind == 'm' {
        relation_stats::follow_refresh(cat, id, data);
    }
}

/// A materialized view is refreshed after those that it reads, and not at all when one of them has no rows.
fn order_refresh(cat: &mut Catalog, matview: Oid, reads: Oid) {
    let (Some(matview), Some(reads)) = (cat.table_id(matview), cat.table_id(reads)) else {
        return;
    };
    let Some(table) = cat.table(reads) else { return };
    let (Some(refresh), populated) = (table.data, table.relispopulated) else {
        return;
    };
    let Some(table) = cat.table_mut(matview) else { return };
    let Some(own) = table.data else { return };
    table.relispopulated &= populated;
    cat.add_dependency(own, refresh);
}

/// In a data-only dump the constraints are there already, so rows come after the rows that they refer to.
fn follow_foreign_keys(cat: &mut Catalog) {
    let pairs: Vec<_> = cat
        .objects()
        .filter_map(|object| match &object.kind {
            Kind::FkConstraint(key) => {
                let from = cat.table(key.table?)?.data?;
                let to = cat.table(cat.table_id(key.confrelid)?)?.data?;
                Some((from, to))
            }
            _ => None,
        })
        .collect();
    for (from, to) in pairs {
        cat.add_dependency(from, to);
    }
}

/// What a worker needs to read and write the rows of a table.
#[derive(Debug, Clone)]
pub struct Source {
    /// OID of the relation.
    pub oid: Oid,
    /// `r`, or `f` for a foreign table.
    pub relkind: char,
    /// Schema, unquoted.
    pub schema: String,
    /// Name, unquoted.
    pub name: String,
    /// `schema.name`, quoted.
    pub qualified: String,
    /// `(a, b)`, quoted; empty when the table has no column that can be written.
    pub column_list: String,
    /// The columns that are not dropped, in order.
    pub columns: Vec<SourceColumn>,
    /// `WHERE …` to apply, or empty.
    pub filter: String,
    /// Its heap may be read in ranges of ctid.
    pub by_ctid: bool,
    /// Pages of the table and its TOAST table, as the statistics have them.
    pub pages: u64,
    /// `COPY … TO stdout` of the whole table, without semicolon.
    pub copy_out: String,
    /// `COPY … FROM stdin;` with its line feed, as the archive holds it.
    pub copy_in: String,
    /// The relation that rows are loaded into, quoted with its schema: itself or the partition root.
    pub target: String,
    /// The partitioned table at the root, as `schema.name` without quotes, when this is a partition.
    pub root: Option<String>,
    /// Some columns are GENERATED ALWAYS AS IDENTITY: INSERTs need `OVERRIDING SYSTEM VALUE`.
    pub needs_override: bool,
}

/// A column of a [`Source`].
#[derive(Debug, Clone)]
pub struct SourceColumn {
    /// Name, unquoted.
    pub name: String,
    /// The type of its values where INSERTs are made, which quote by it.
    pub value_type: Option<Oid>,
    /// Its value is computed: COPY leaves it out, INSERT writes DEFAULT.
    pub generated: bool,
}

/// Where the rows of `it` come from and go to.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn source(cat: &Catalog, it: &TableData) -> Result<Source> {
    let q = cat.quote();
    let object = cat.get(it.table).context("the table of rows")?;
    let table = cat.table(it.table).context("the table of rows")?;
    let schema = cat.namespace_name(object.namespace).unwrap_or_default().to_owned();
    let qualified = q.qualified(&schema, &object.name);
    let columns: Vec<_> = table.columns.iter().filter(|column| !column.dropped).collect();
    let written: Vec<_> = columns
        .iter()
        .filter(|column| column.generated == '\0')
        .map(|column| q.id(&column.name))
        .collect();
    let column_list = list(&written);
    let filter = it.filtercond.clone().unwrap_or_default();
    let (root, target) = match partition_root(cat, it.table) {
        Some((root, forced)) => {
            let target = if forced { name(cat, root)? } else { qualified.clone() };
            (plain_name(cat, root), target)
        }
        None => (None, qualified.clone()),
    };
    let mut source = Source {
        oid: table.oid,
        relkind: table.relkind,
        copy_in: format!("COPY {target} {column_list} FROM stdin;\n"),
        schema,
        name: object.name.clone(),
        qualified,
        column_list,
        columns: columns
            .iter()
            .map(|column| SourceColumn {
                name: column.name.clone(),
                value_type: column.rare().value_type,
                generated: column.generated != '\0',
            })
            .collect(),
        filter,
        by_ctid: table.relkind == 'r' && table.amname.as_deref() == Some("heap"),
        pages: pages(table.relpages) + pages(table.toastpages),
        copy_out: String::new(),
        target,
        root,
        needs_override: columns.iter().any(|column| column.identity == 'a'),
    };
    source.copy_out = source.copy_out();
    Ok(source)
}

/// Columns as COPY names them; nothing where there are none.
fn list(quoted: &[Cow<'_, str>]) -> String {
    match quoted {
        [] => String::new(),
        names => format!("({})", names.join(", ")),
    }
}

impl Source {
    /// Reads these columns in this order, where they are the table's in any order: rows can only be compared with others of
    /// the same order, and a restored child table may have another one than its original.
    pub fn read_in_order(&mut self, columns: &[String], quote: &Quote) {
        let written = self.columns.iter().filter(|column| !column.generated);
        let mut own: Vec<&str> = written.map(|column| column.name.as_str()).collect();
        let mut wanted: Vec<&str> = columns.iter().map(String::as_str).collect();
        own.sort_unstable();
        wanted.sort_unstable();
        if own != wanted {
            return;
        }
        let quoted: Vec<_> = columns.iter().map(|name| quote.id(name)).collect();
        self.column_list = list(&quoted);
        self.copy_out = self.copy_out();
    }

    /// Reads of these columns those that the table has, in this order, where it has any: so that what a table has in common
    /// with one that had other columns can be compared.
    pub fn read_common(&mut self, columns: &[String], quote: &Quote) {
        let has = |name: &&String| self.columns.iter().any(|own| !own.generated && own.name == **name);
        let quoted: Vec<_> = columns.iter().filter(has).map(|name| quote.id(name)).collect();
        if quoted.is_empty() {
            return;
        }
        self.column_list = list(&quoted);
        self.copy_out = self.copy_out();
    }

    /// The columns without the parentheses around them.
    #[must_use]
    pub fn selected(&self) -> &str {
        let inside = self
            .column_list
            .strip_prefix('(')
            .and_then(|list| list.strip_suffix(')'));
        inside.unwrap_or_default()
    }

    fn copy_out(&self) -> String {
        let (qualified, filter) = (&self.qualified, &self.filter);
        // A foreign table and a filter need a query.
        if filter.is_empty() && self.relkind != 'f' {
            return format!("COPY {qualified} {} TO stdout", self.column_list);
        }
        let selected = match self.selected() {
            "" => "*",
            names => names,
        };
        format!("COPY (SELECT {selected} FROM {qualified} {filter}) TO stdout")
    }
}

/// `relpages` is declared as a signed integer, but is a block number.
fn pages(relpages: i32) -> u64 {
    u64::from(relpages.cast_unsigned())
}

fn name(cat: &Catalog, id: DumpId) -> Result<String> {
    let object = cat.get(id).context("the table of rows")?;
    Ok(cat
        .quote()
        .qualified(cat.namespace_name(object.namespace).unwrap_or_default(), &object.name))
}

/// `schema.name`, without quotes.
fn plain_name(cat: &Catalog, id: DumpId) -> Option<String> {
    let object = cat.get(id)?;
    Some(format!("{}.{}", cat.namespace_name(object.namespace)?, object.name))
}

/// The partitioned table at the root of a partition, and whether its rows are to be loaded through it: because the option
/// says so, or because a level above may put them elsewhere.
fn partition_root(cat: &Catalog, id: DumpId) -> Option<(DumpId, bool)> {
    let parent = |table: &Table| {
        if table.ispartition {
            table.parents.first().copied()
        } else {
            None
        }
    };
    let mut root = parent(cat.table(id)?)?;
    let mut forced = cat.options.load_via_partition_root;
    loop {
        let table = cat.table(root)?;
        forced |= table.unsafe_partitions;
        match parent(table) {
            Some(above) => root = above,
            None => return Some((root, forced)),
        }
    }
}

/// Writes the entry that stands for the rows.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &TableData) -> Result<()> {
    if !object.wants(Components::DATA) {
        return Ok(());
    }
    let table = emit.cat.table(it.table).context("the table of rows")?;
    let source = source(emit.cat, it)?;
    let mut entry = emit.entry(object, "TABLE DATA", Section::Data);
    entry.owner.clone_from(&table.owner);
    if source.target != source.qualified {
        entry.defn = format!("{LOAD_VIA_ROOT}{}", sanitize(&source.target));
    }
    if emit.cat.options.inserts.is_none() {
        entry.copy_stmt = source.copy_in;
    }
    entry.dependencies = vec![it.table];
    entry.has_data = true;
    emit.push(entry);
    Ok(())
}

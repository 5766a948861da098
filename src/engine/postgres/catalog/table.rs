//! Tables and what is listed beside them in `pg_class`: views, materialized views, sequences, foreign
//! tables and composite types. What they look like in a dump is in [`super::table_ddl`].

use anyhow::Context as _;

use super::acl;
use super::column::Column;
use super::object::{Acl, CatalogId, Components, DumpId, Object, Oid, class};
use super::sequence::Sequence;
use super::{Catalog, Kind, Step};
use super::{relation_stats, select};
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;

/// A relation. What only some kinds have is empty on the others.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // they are columns of pg_class
pub struct Table {
    /// OID in `pg_class`.
    pub oid: Oid,
    /// Name of the owner.
    pub owner: String,
    /// Privileges on the relation itself.
    pub acl: Acl,
    /// Privileges on single columns, system columns too, in the order of their numbers.
    pub column_acls: Vec<(String, Acl)>,
    /// `r` table, `p` partitioned, `v` view, `m` materialized view, `S` sequence, `f` foreign, `c` composite type.
    pub relkind: char,
    /// `p` permanent, `u` unlogged, `t` temporary.
    pub relpersistence: char,
    /// A materialized view has rows, and so have all that it reads.
    pub relispopulated: bool,
    /// `d` default, `n` nothing, `f` full, `i` index.
    pub relreplident: char,
    /// Name of the tablespace; empty is the database's own.
    pub reltablespace: String,
    /// Name of the access method.
    pub amname: Option<String>,
    /// Storage parameters, each `name=value`; without `check_option`.
    pub reloptions: Vec<String>,
    /// Those of the TOAST table.
    pub toast_reloptions: Vec<String>,
    /// `LOCAL` or `CASCADED` for a view `WITH CHECK OPTION`.
    pub checkoption: Option<String>,
    /// `pg_class.relhasindex`.
    pub hasindex: bool,
    /// `pg_class.relhasrules`.
    pub hasrules: bool,
    /// `pg_class.relhastriggers`.
    pub hastriggers: bool,
    /// Some column has privileges of its own.
    pub hascolumn_acls: bool,
    /// `ENABLE ROW LEVEL SECURITY`.
    pub rowsec: bool,
    /// `FORCE ROW LEVEL SECURITY`.
    pub forcerowsec: bool,
    /// `relfrozenxid` and `relminmxid`, for `--binary-upgrade`.
    pub frozen: (u32, u32),
    /// OID of the TOAST table, 0 without one.
    pub toast_oid: Oid,
    /// `relfrozenxid` and `relminmxid` of the TOAST table.
    pub toast_frozen: (u32, u32),
    /// OID of the row type.
    pub reltype: Oid,
    /// OID of the type of a typed table, 0 for others.
    pub reloftype: Oid,
    /// OID of the server of a foreign table, 0 for others.
    pub foreign_server: Oid,
    /// For a sequence that a column owns: OID of that table.
    pub owning_tab: Oid,
    /// For a sequence that a column owns: number of that column.
    pub owning_col: i32,
    /// The sequence belongs to an identity column.
    pub is_identity_sequence: bool,
    /// Pages of the table, as the last VACUUM or ANALYZE saw them.
    pub relpages: i32,
    /// Pages of the TOAST table.
    pub toastpages: i32,
    /// Details are needed: it is dumped, or is a parent of a table that is.
    pub interesting: bool,
    /// A view whose real definition comes later, as a rule (loop repair).
    pub dummy_view: bool,
    /// A materialized view that moves behind the data (loop repair).
    pub postponed_def: bool,
    /// `pg_class.relispartition`.
    pub ispartition: bool,
    /// Partitioned in a way that may put rows elsewhere on reload (hash over an enum).
    pub unsafe_partitions: bool,
    /// Parents in the order of inheritance.
    pub parents: Vec<DumpId>,
    /// Columns by `attnum - 1`, dropped ones too; only of interesting tables.
    pub columns: Vec<Column>,
    /// CHECK constraints, by name.
    pub checks: Vec<DumpId>,
    /// Indexes, in the order in which they were read.
    pub indexes: Vec<DumpId>,
    /// Triggers that make INSERT … work on it; see [`super::trigger`].
    pub triggers: Vec<DumpId>,
    /// Its planner statistics, if they are dumped (18).
    pub stats: Option<DumpId>,
    /// Its rows, if they are dumped.
    pub data: Option<DumpId>,
    /// For views: `pg_get_viewdef` without its semicolon.
    pub viewdef: Option<String>,
    /// For partitioned tables: `pg_get_partkeydef`.
    pub partkeydef: Option<String>,
    /// For partitions: `FOR VALUES …`.
    pub partbound: Option<String>,
    /// For foreign tables: name of the server.
    pub server_name: Option<String>,
    /// For foreign tables: their options, formatted.
    pub ftoptions: Option<String>,
    /// For typed tables: the formatted type.
    pub of_type: Option<String>,
    /// For sequences: parameters and value.
    pub sequence: Option<Box<Sequence>>,
}

/// The relations that there are.
pub const READ: Step = Step {
    what: "tables",
    query: |cat| Some(Query::new(relations(cat))),
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

/// Sequences follow the tables that own them.
pub const OWNED_SEQUENCES: Step = Step {
    what: "owned sequences",
    query: |_| None,
    absorb: |cat, _| follow_owners(cat),
};

fn relations(cat: &Catalog) -> String {
    let allfrozen = if cat.server.major() >= 18 {
        "c.relallfrozen"
    } else {
        "0"
    };
    // An upgrade makes the privileges that an extension gave again, before those that were changed since.
    let upgraded = if cat.options.binary_upgrade {
        "OR pip.privtype = 'e'"
    } else {
        ""
    };
    let changed_acl = if cat.server.major() == 14 {
        &format!(
            "EXISTS (SELECT FROM (VALUES (c.relacl, 0)) own(acl, subid)
                        LEFT JOIN pg_catalog.pg_init_privs pip
                               ON pip.objoid = c.oid AND pip.classoid = 1259 AND pip.objsubid = subid
                  WHERE acl IS DISTINCT FROM pip.initprivs {upgraded}
                 UNION ALL
                 SELECT FROM pg_catalog.pg_attribute a
                        LEFT JOIN pg_catalog.pg_init_privs pip
                               ON pip.objoid = c.oid AND pip.classoid = 1259 AND pip.objsubid = a.attnum
                  WHERE a.attrelid = c.oid AND (a.attacl IS DISTINCT FROM pip.initprivs {upgraded}))"
        )
    } else {
        "false"
    };
    // They are xids, which have no cast but their text.
    let frozen = if cat.options.binary_upgrade {
        "c.relfrozenxid::text::oid AS frozenxid, c.relminmxid::text::oid AS minmxid,
         tc.relfrozenxid::text::oid AS toast_frozenxid, tc.relminmxid::text::oid AS toast_minmxid"
    } else {
        "NULL::oid AS frozenxid, NULL::oid AS minmxid, NULL::oid AS toast_frozenxid, NULL::oid AS toast_minmxid"
    };
    format!(
        "SELECT c.tableoid, c.oid, c.relname, c.relnamespace, c.relowner, c.relkind, c.relpersistence,
                c.relispopulated, c.relreplident, c.relhasindex, c.relhasrules,
                c.relhastriggers, c.relrowsecurity, c.relforcerowsecurity, c.relispartition, c.reltype,
                c.reloftype, c.relpages, c.reltuples::text AS reltuples, c.relallvisible,
                {allfrozen} AS relallfrozen, {frozen}, c.reloptions,
                tc.oid AS toast_oid, tc.relpages AS toastpages, tc.reloptions AS toast_reloptions,
                ts.spcname, am.amname, ft.ftserver, {acl},
                c.oid IN (SELECT attrelid FROM pg_catalog.pg_attribute WHERE attacl IS NOT NULL) AS hascolumn_acls,
                {changed_acl} AS changed_acl, d.refobjid AS owning_tab, d.refobjsubid AS owning_col, d.deptype = 'i' AS is_identity
         FROM pg_catalog.pg_class c
              LEFT JOIN pg_catalog.pg_class tc
                     ON tc.oid = c.reltoastrelid AND tc.relkind = 't' AND c.relkind <> 'p'
              LEFT JOIN pg_catalog.pg_tablespace ts ON ts.oid = c.reltablespace
              LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
              LEFT JOIN pg_catalog.pg_foreign_table ft ON ft.ftrelid = c.oid
              LEFT JOIN pg_catalog.pg_depend d
                     ON c.relkind = 'S' AND d.classid = 1259 AND d.objid = c.oid AND d.objsubid = 0
                        AND d.refclassid = 1259 AND d.deptype IN ('a', 'i')
         WHERE c.relkind IN ('r', 'S', 'v', 'c', 'm', 'f', 'p')
         ORDER BY c.oid",
        acl = acl::columns(
            "c.oid",
            "c.relacl",
            "CASE WHEN c.relkind = 'S' THEN 's'::\"char\" ELSE 'r'::\"char\" END",
            "c.relowner"
        ),
    )
}

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let catalog_id = CatalogId::new(row.oid("tableoid")?, row.oid("oid")?);
    let namespace = cat.namespace(row.oid("relnamespace")?)?;
    let table = read(cat, catalog_id, row)?;
    let mut components = Components::DATA;
    if table.acl.acl.is_some() || table.acl.initprivs.is_some() || table.hascolumn_acls {
        components |= Components::ACL;
    }
    let selectable = table.relkind != 'c';
    let is_14 = cat.server.major() == 14;
    let id = cat.add(
        catalog_id,
        row.text("relname")?,
        Some(namespace),
        Kind::Table(Box::new(table)),
    );
    if selectable {
        select::table(cat, id);
    }
    let object = cat.get_mut(id).context("a table that was just added")?;
    object.components |= components;
    if !selectable {
        // A composite type's columns are dumped with the type.
        object.dump = Components::NONE;
    }
    let mut looked_at = Components::DEFINITION | Components::DATA | Components::STATISTICS;
    if is_14 {
        // 14 looks closer also at a relation whose privileges alone are dumped, when they are not what initdb gave.
        looked_at |= Components::ACL;
        if !row.bool("changed_acl")? {
            object.dump &= !Components::ACL;
        }
    }
    let wanted = object.dump.has(looked_at);
    if let Some(table) = cat.table_mut(id) {
        table.interesting = wanted;
    }
    if wanted {
        let relation = relation_stats::Relation::read(row)?;
        let stats = relation_stats::add(cat, id, relation);
        if let Some(table) = cat.table_mut(id) {
            table.stats = stats;
        }
    }
    Ok(())
}

fn read(cat: &Catalog, catalog_id: CatalogId, row: &Row) -> Result<Table> {
    let mut reloptions = row.texts("reloptions")?;
    let checkoption = ["check_option=local", "check_option=cascaded"]
        .iter()
        .position(|option| reloptions.iter().any(|set| set == option))
        .map(|at| ["LOCAL", "CASCADED"][at].to_owned());
    reloptions.retain(|option| option != "check_option=local" && option != "check_option=cascaded");
    Ok(Table {
        oid: catalog_id.oid,
        owner: cat.role(row.oid("relowner")?)?.to_owned(),
        acl: acl::read(cat, row, catalog_id, 0)?,
        relkind: row.char("relkind")?,
        relpersistence: row.char("relpersistence")?,
        relispopulated: row.bool("relispopulated")?,
        relreplident: row.char("relreplident")?,
        reltablespace: row.opt_text("spcname")?.unwrap_or_default(),
        amname: row.opt_text("amname")?,
        reloptions,
        toast_reloptions: row.texts("toast_reloptions")?,
        checkoption,
        hasindex: row.bool("relhasindex")?,
        hasrules: row.bool("relhasrules")?,
        hastriggers: row.bool("relhastriggers")?,
        hascolumn_acls: row.bool("hascolumn_acls")? || cat.attachments.has_initial_column_privileges(catalog_id),
        rowsec: row.bool("relrowsecurity")?,
        forcerowsec: row.bool("relforcerowsecurity")?,
        frozen: pair(row, "frozenxid", "minmxid")?,
        toast_oid: row.opt_oid("toast_oid")?.unwrap_or_default(),
        toast_frozen: pair(row, "toast_frozenxid", "toast_minmxid")?,
        reltype: row.oid("reltype")?,
        reloftype: row.oid("reloftype")?,
        foreign_server: row.opt_oid("ftserver")?.unwrap_or_default(),
        owning_tab: row.opt_oid("owning_tab")?.unwrap_or_default(),
        owning_col: row.opt_int("owning_col")?.unwrap_or_default(),
        is_identity_sequence: row.opt_bool("is_identity")?.unwrap_or_default(),
        relpages: row.int("relpages")?,
        toastpages: row.opt_int("toastpages")?.unwrap_or_default(),
        ispartition: row.bool("relispartition")?,
        ..Table::default()
    })
}

fn pair(row: &Row, first: &str, second: &str) -> Result<(u32, u32)> {
    Ok((
        row.opt_oid(first)?.unwrap_or_default(),
        row.opt_oid(second)?.unwrap_or_default(),
    ))
}

fn follow_owners(cat: &mut Catalog) -> Result<()> {
    let owned: Vec<_> = cat
        .tables()
        .filter(|(_, table)| table.relkind == 'S' && table.owning_tab != 0)
        .map(|(object, table)| (object.dump_id, table.owning_tab, table.is_identity_sequence))
        .collect();
    for (id, owning_tab, is_identity) in owned {
        let owner_dump = cat
            .object(class::PG_CLASS, owning_tab)
            .with_context(|| format!("table with OID {owning_tab}, which owns a sequence, does not exist"))?
            .dump;
        let Some(sequence) = cat.get_mut(id) else { continue };
        // That of an identity column is a part of its table.
        sequence.dump = if is_identity {
            owner_dump
        } else {
            sequence.dump | owner_dump
        };
        if sequence.dump.is_none() {
            continue;
        }
        // The table may be left out itself, but pg_dump numbers what belongs to it.
        for relation in [Some(id), cat.table_id(owning_tab)].into_iter().flatten() {
            if let Some(table) = cat.table_mut(relation) {
                table.interesting = true;
            }
        }
    }
    Ok(())
}

impl Catalog {
    /// The relation with number `id`.
    #[must_use]
    pub fn table(&self, id: DumpId) -> Option<&Table> {
        match &self.get(id)?.kind {
            Kind::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The relation with number `id`, to change.
    pub fn table_mut(&mut self, id: DumpId) -> Option<&mut Table> {
        match &mut self.get_mut(id)?.kind {
            Kind::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Number of the relation with OID `oid` in `pg_class` (not an index).
    #[must_use]
    pub fn table_id(&self, oid: Oid) -> Option<DumpId> {
        self.find(class::PG_CLASS, oid).filter(|id| self.table(*id).is_some())
    }

    /// All relations with their objects, in the order of their numbers.
    pub fn tables(&self) -> impl Iterator<Item = (&Object, &Table)> {
        self.objects().filter_map(|object| match &object.kind {
            Kind::Table(table) => Some((object, table.as_ref())),
            _ => None,
        })
    }

    /// Numbers of all relations.
    #[must_use]
    pub fn table_ids(&self) -> Vec<DumpId> {
        self.tables().map(|(object, _)| object.dump_id).collect()
    }
}

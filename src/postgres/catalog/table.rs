//! Tables and what is listed beside them in `pg_class`: views, materialized views, sequences, foreign
//! tables and composite types.

use super::column::Column;
use super::emit::Emit;
use super::object::{Acl, DumpId, Object, Oid, class};
use super::sequence::Sequence;
use super::{Catalog, Kind, Step};
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
    /// `r` table, `p` partitioned, `v` view, `m` materialized view, `S` sequence, `f` foreign, `c` composite type.
    pub relkind: char,
    /// `p` permanent, `u` unlogged, `t` temporary.
    pub relpersistence: char,
    /// A materialized view has rows.
    pub relispopulated: bool,
    /// `d` default, `n` nothing, `f` full, `i` index.
    pub relreplident: char,
    /// Name of the tablespace; empty is the database's own.
    pub reltablespace: String,
    /// Name of the access method.
    pub amname: Option<String>,
    /// Storage parameters as `name=value, …`, already quoted; without `check_option`.
    pub reloptions: String,
    /// Those of the TOAST table, each `toast.name=value`.
    pub toast_reloptions: String,
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
    /// Number of CHECK constraints as `pg_class` says.
    pub ncheck: i32,
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
    /// `pg_class.reltuples` as text.
    pub reltuples: String,
    /// `pg_class.relallvisible`.
    pub relallvisible: i32,
    /// `pg_class.relallfrozen` (18).
    pub relallfrozen: i32,
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
    /// Its rows, if they are dumped.
    pub data: Option<DumpId>,
    /// For views: `pg_get_viewdef`, still with its semicolon.
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
    pub sequence: Option<Sequence>,
}

/// The relations that there are.
pub const READ: Step = Step {
    what: "tables",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// Sequences follow the tables that own them.
pub const OWNED_SEQUENCES: Step = Step {
    what: "owned sequences",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

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
}

/// Writes a relation with its comments, labels and privileges.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(_emit: &mut Emit, _object: &Object, _it: &Table) -> Result<()> {
    Ok(())
}

/// Locks what is dumped.
pub async fn lock(_cat: &mut Catalog, _session: &crate::postgres::session::Session) -> Result<()> {
    Ok(())
}

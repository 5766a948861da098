//! Columns of relations, their defaults and their privileges.

use super::emit::Emit;
use super::object::{Acl, DumpId, Object, Oid};
use super::{Catalog, Step};
use crate::error::Result;

/// A column, as `pg_attribute` has it.
#[derive(Debug, Default, Clone)]
#[allow(clippy::struct_excessive_bools)] // they are columns of pg_attribute
pub struct Column {
    /// Name; `........pg.dropped.N........` once dropped.
    pub name: String,
    /// Type with modifier, as `format_type` writes it.
    pub type_name: String,
    /// `SET STATISTICS`; -1 is the default.
    pub stattarget: i32,
    /// Storage, and that of the type.
    pub storage: char,
    /// Storage of the type.
    pub type_storage: char,
    /// It was dropped.
    pub dropped: bool,
    /// `a` ALWAYS, `d` BY DEFAULT; NUL: no identity.
    pub identity: char,
    /// `s` STORED, `v` VIRTUAL (18); NUL: not generated.
    pub generated: char,
    /// `attlen`, for `--binary-upgrade`.
    pub len: i32,
    /// `attalign`, for `--binary-upgrade`.
    pub align: char,
    /// It is defined here, not only inherited.
    pub is_local: bool,
    /// `SET (…)` options, formatted.
    pub options: String,
    /// Collation that differs from the type's; 0: none.
    pub collation: Oid,
    /// `p` pglz, `l` lz4; NUL: the default.
    pub compression: char,
    /// Options of a foreign table's column, formatted.
    pub fdw_options: String,
    /// `attmissingval`, for `--binary-upgrade`.
    pub missing_value: Option<String>,
    /// NOT NULL.
    pub not_null: NotNull,
    /// The default or generation expression.
    pub default: Option<DumpId>,
    /// Privileges on the column.
    pub acl: Option<Acl>,
}

/// How a column came to be NOT NULL.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct NotNull {
    /// The column is NOT NULL (before 18: all there is to know).
    pub set: bool,
    /// It has to be written with this column: it is not only inherited.
    pub print: bool,
    /// Name of the constraint where it must be given (18).
    pub name: Option<String>,
    /// `NO INHERIT` (18).
    pub no_inherit: bool,
    /// Defined here, not only inherited (18).
    pub is_local: bool,
}

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

/// The columns of interesting tables.
pub const READ: Step = Step {
    what: "columns",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// Their defaults.
pub const DEFAULTS: Step = Step {
    what: "column defaults",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// CHECK constraints, which are written with the table.
pub const CHECKS: Step = Step {
    what: "check constraints",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

/// Privileges of columns.
pub const ACLS: Step = Step {
    what: "column privileges",
    query: |_| None,
    absorb: |_, _| Ok(()),
};

impl Catalog {
    /// The default with number `id`.
    #[must_use]
    pub fn attr_def(&self, id: DumpId) -> Option<&AttrDef> {
        match &self.get(id)?.kind {
            super::Kind::AttrDef(default) => Some(default),
            _ => None,
        }
    }
}

/// Writes a default that its table could not hold.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_default(_emit: &mut Emit, _object: &Object, _it: &AttrDef) -> Result<()> {
    Ok(())
}

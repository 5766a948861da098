//! What every dumpable object has, whatever its type.

use std::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Not};

use super::Kind;
pub use crate::archive::toc::DumpId;

/// An object identifier of the server.
pub type Oid = u32;

/// Where an object is listed: the OID of its catalog and its own. Two objects that belong to one catalog
/// row (a table and its data) have different dump ids, and only one of them has this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CatalogId {
    /// OID of the catalog (`tableoid`).
    pub table: Oid,
    /// OID of the row.
    pub oid: Oid,
}

impl CatalogId {
    /// The row `oid` of the catalog with OID `table`.
    #[must_use]
    pub fn new(table: Oid, oid: Oid) -> Self {
        CatalogId { table, oid }
    }
}

/// OIDs of the system catalogs, which are the same in every version.
#[allow(missing_docs)] // each constant is named after its catalog
pub mod class {
    use super::Oid;
    pub const PG_TYPE: Oid = 1247;
    pub const PG_PROC: Oid = 1255;
    pub const PG_CLASS: Oid = 1259;
    pub const PG_AUTHID: Oid = 1260;
    pub const PG_DATABASE: Oid = 1262;
    pub const PG_FOREIGN_SERVER: Oid = 1417;
    pub const PG_ATTRDEF: Oid = 2604;
    pub const PG_CAST: Oid = 2605;
    pub const PG_CONSTRAINT: Oid = 2606;
    pub const PG_CONVERSION: Oid = 2607;
    pub const PG_LANGUAGE: Oid = 2612;
    pub const PG_LARGEOBJECT: Oid = 2613;
    pub const PG_NAMESPACE: Oid = 2615;
    pub const PG_OPCLASS: Oid = 2616;
    pub const PG_TRANSFORM: Oid = 3576;
    pub const PG_OPERATOR: Oid = 2617;
    pub const PG_OPFAMILY: Oid = 2753;
    pub const PG_REWRITE: Oid = 2618;
    pub const PG_TRIGGER: Oid = 2620;
    pub const PG_AM: Oid = 2601;
    pub const PG_AMOP: Oid = 2602;
    pub const PG_AMPROC: Oid = 2603;
    pub const PG_LARGEOBJECT_METADATA: Oid = 2995;
    pub const PG_EXTENSION: Oid = 3079;
    pub const PG_COLLATION: Oid = 3456;
    pub const PG_DEFAULT_ACL: Oid = 826;
}

/// Parts of an object that are dumped apart (pg_dump's `DumpComponents`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Components(u16);

impl Components {
    /// Nothing.
    pub const NONE: Self = Components(0);
    /// The statements that create it.
    pub const DEFINITION: Self = Components(1);
    /// Its rows.
    pub const DATA: Self = Components(1 << 1);
    /// Its comments.
    pub const COMMENT: Self = Components(1 << 2);
    /// Its security labels.
    pub const SECLABEL: Self = Components(1 << 3);
    /// Its privileges.
    pub const ACL: Self = Components(1 << 4);
    /// Its row-level security policies.
    pub const POLICY: Self = Components(1 << 5);
    /// Its user mappings.
    pub const USERMAP: Self = Components(1 << 6);
    /// The planner's statistics of it.
    pub const STATISTICS: Self = Components(1 << 7);
    /// Everything.
    pub const ALL: Self = Components(0xFFFF);

    /// Whether any part of `other` is in this set.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is in this set.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Components {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Components(self.0 | other.0)
    }
}
impl BitAnd for Components {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Components(self.0 & other.0)
    }
}
impl Not for Components {
    type Output = Self;
    fn not(self) -> Self {
        Components(!self.0)
    }
}
impl BitOrAssign for Components {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
impl BitAndAssign for Components {
    fn bitand_assign(&mut self, other: Self) {
        self.0 &= other.0;
    }
}

/// One dumpable object (pg_dump's `DumpableObject`).
#[derive(Debug)]
pub struct Object {
    /// Its number in this dump.
    pub dump_id: DumpId,
    /// Where the server lists it; zero for what exists only in dumps.
    pub catalog_id: CatalogId,
    /// Name, unquoted and without schema.
    pub name: String,
    /// The schema object it lives in.
    pub namespace: Option<DumpId>,
    /// Parts that this dump wants.
    pub dump: Components,
    /// Parts that are wanted of what the object contains (schemas and extensions).
    pub dump_contains: Components,
    /// Parts that the object has at all (a comment, an ACL …): what is absent needs no work.
    pub components: Components,
    /// Member of an extension.
    pub ext_member: bool,
    /// Depends on an extension (`ALTER … DEPENDS ON EXTENSION`).
    pub depends_on_ext: bool,
    /// Objects that must come first.
    pub dependencies: Vec<DumpId>,
    /// What it is, with what only its type has.
    pub kind: Kind,
}

impl Object {
    /// Whether the definition of the object is to be dumped.
    #[must_use]
    pub fn wants(&self, part: Components) -> bool {
        self.dump.has(part)
    }
}

/// The ACL columns of a catalog row, as `aclitem` text.
#[derive(Clone, Debug, Default)]
pub struct Acl {
    /// The ACL as it is; `None`: NULL.
    pub acl: Option<Vec<String>>,
    /// What the server gives such an object of this owner (`acldefault`).
    pub acldefault: Vec<String>,
    /// `pg_init_privs.privtype` ('i' initdb, 'e' extension; NUL: no row).
    pub privtype: char,
    /// `pg_init_privs.initprivs`.
    pub initprivs: Option<Vec<String>>,
}

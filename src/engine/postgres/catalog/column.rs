//! Columns of relations and their privileges.

use anyhow::{Context as _, bail};

use super::acl;
use super::object::{CatalogId, DumpId, Oid, class};
use super::table::Table;
use super::{Catalog, Step};
use crate::engine::postgres::connect::session::{Query, Row};
use crate::engine::postgres::options::DumpOptions;
use crate::error::Result;

/// A column, as `pg_attribute` has it.
#[derive(Debug, Default, Clone)]
pub struct Column {
    /// Name; `........pg.dropped.N........` once dropped.
    pub name: String,
    /// Type with modifier, as `format_type` writes it.
    pub type_name: String,
    /// `SET STATISTICS`; -1 is the default.
    pub stattarget: i32,
    /// Storage.
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
    /// Collation that differs from the type's; 0: none.
    pub collation: Oid,
    /// `p` pglz, `l` lz4; NUL: the default.
    pub compression: char,
    /// What few columns have.
    rare: Option<Box<Rare>>,
    /// NOT NULL, unless a constraint with its own entry says so.
    pub not_null: Option<NotNull>,
    /// The default or generation expression.
    pub default: Option<DumpId>,
}

/// What few columns have: apart, because a database has very many columns.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rare {
    /// The type of its values, only for INSERT: for a domain the one that it is made of in the end, as which the server
    /// sends them.
    pub value_type: Option<Oid>,
    /// `SET (…)` options, formatted.
    pub options: Option<String>,
    /// Its version, for `--binary-upgrade`; none for what an older release made.
    pub version: Option<String>,
    /// Options of a foreign table's column, formatted.
    pub fdw_options: Option<String>,
    /// `attmissingval`, for `--binary-upgrade`.
    pub missing_value: Option<String>,
}

impl Rare {
    const NONE: &Rare = &Rare {
        value_type: None,
        options: None,
        version: None,
        fdw_options: None,
        missing_value: None,
    };

    fn read(row: &Row) -> Result<Self> {
        let text = |column| Ok::<_, anyhow::Error>(row.opt_text(column)?.filter(|text| !text.is_empty()));
        Ok(Rare {
            value_type: row.opt_oid("value_type")?,
            options: text("attoptions")?,
            version: row.opt_text("attversion")?,
            fdw_options: text("attfdwoptions")?,
            missing_value: row.opt_text("attmissingval")?,
        })
    }
}

impl Column {
    /// What few columns have.
    #[must_use]
    pub fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(Rare::NONE)
    }
}

/// The option in which newer minor releases count the versions of a column.
const VERSION: &str = "pg_attver";

/// How a column is NOT NULL.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct NotNull {
    /// Name of the constraint, where it is not the one that the server would choose (18).
    pub name: Option<String>,
    /// `NO INHERIT` (18).
    pub no_inherit: bool,
    /// Defined here, not only inherited.
    pub is_local: bool,
    /// The constraint as the server names it, with its comment (18).
    pub comment: Option<Box<(String, String)>>,
}

/// The columns of interesting tables.
pub const READ: Step = Step {
    what: "columns",
    query: |cat| Some(Query::new(columns(cat)).oids(interesting(cat)).divisible()),
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

/// Privileges of columns; those of system columns too, and of tables that are not interesting otherwise.
pub const ACLS: Step = Step {
    what: "column privileges",
    query: |cat| {
        let wanted: Vec<_> = cat
            .tables()
            .filter(|(object, table)| table.hascolumn_acls && object.dump.has(super::object::Components::ACL))
            .map(|(_, table)| table.oid)
            .collect();
        (!wanted.is_empty()).then(|| Query::new(privileges()).oids(wanted))
    },
    absorb: absorb_acls,
};

/// OIDs of the tables whose details are needed; sequences have no columns worth reading.
pub(super) fn interesting(cat: &Catalog) -> Vec<Oid> {
    cat.tables()
        .filter(|(_, table)| table.interesting && table.relkind != 'S')
        .map(|(_, table)| table.oid)
        .collect()
}

fn columns(cat: &Catalog) -> String {
    let not_null = if cat.server.major() >= 18 {
        "CASE WHEN co.convalidated THEN co.conname END AS notnull_name,
         CASE WHEN co.convalidated THEN pg_catalog.obj_description(co.oid, 'pg_constraint') END AS notnull_comment,
         co.connoinherit, co.conislocal"
    } else {
        "CASE WHEN a.attnotnull THEN ''::name END AS notnull_name, NULL AS notnull_comment,
         false AS connoinherit, true AS conislocal"
    };
    let constraint = if cat.server.major() >= 18 {
        "LEFT JOIN pg_catalog.pg_constraint co
                ON co.conrelid = a.attrelid AND co.contype = 'n' AND co.conkey = ARRAY[a.attnum]"
    } else {
        ""
    };
    let missing = if cat.options.binary_upgrade {
        "CASE WHEN a.atthasmissing AND NOT a.attisdropped THEN a.attmissingval::text END"
    } else {
        "NULL"
    };
    let value_type = if cat.options.inserts.is_some() {
        "CASE WHEN t.typtype = 'd' THEN (
             WITH RECURSIVE base AS (
                 SELECT t.typbasetype AS oid
                 UNION ALL
                 SELECT d.typbasetype FROM base JOIN pg_catalog.pg_type d ON d.oid = base.oid AND d.typtype = 'd'
             )
             SELECT b.oid FROM base JOIN pg_catalog.pg_type b ON b.oid = base.oid AND b.typtype <> 'd'
         ) ELSE t.oid END"
    } else {
        "NULL::pg_catalog.oid"
    };
    format!(
        "SELECT a.attrelid, a.attnum::int4 AS attnum, a.attname, pg_catalog.format_type(t.oid, a.atttypmod) AS type,
                {value_type} AS value_type, a.attstattarget::int4 AS attstattarget, a.attstorage,
                coalesce(t.typstorage, a.attstorage) AS typstorage, a.attisdropped, a.attidentity,
                a.attgenerated, a.attlen::int4 AS attlen, a.attalign, a.attislocal, a.attcompression,
                {options} AS attoptions, {version} AS attversion,
                CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation END AS attcollation,
                CASE WHEN a.attfdwoptions IS NOT NULL THEN {fdw} END AS attfdwoptions,
                {missing} AS attmissingval, {not_null}
         FROM pg_catalog.pg_attribute a
              LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
              {constraint}
         WHERE a.attrelid = ANY ($1) AND a.attnum > 0
         ORDER BY a.attrelid, a.attnum",
        options = attribute_options(),
        version = attribute_version(cat),
        fdw = options("a.attfdwoptions"),
    )
}

/// SQL for a column's options without its version, which is the server's own affair and refused in a statement.
fn attribute_options() -> String {
    format!(
        "(SELECT pg_catalog.string_agg(o, ', ' ORDER BY place)
          FROM pg_catalog.unnest(a.attoptions) WITH ORDINALITY AS u(o, place)
          WHERE NOT pg_catalog.starts_with(o, '{VERSION}='))"
    )
}

/// SQL for the version of column `a`, which only an upgrade keeps: a position in the WAL that the server has among
/// the options (from the minor releases of November 2026 on).
pub(super) fn attribute_version(cat: &Catalog) -> String {
    if !cat.options.binary_upgrade || !cat.server.versions_columns() {
        return "NULL".to_owned();
    }
    format!(
        "(SELECT ('0/0'::pg_catalog.pg_lsn + pg_catalog.split_part(o, '=', 2)::numeric)::text
          FROM pg_catalog.unnest(a.attoptions) AS o WHERE pg_catalog.starts_with(o, '{VERSION}='))"
    )
}

/// SQL for foreign-data options as they stand between the parentheses of `OPTIONS`, one a line.
pub(super) fn options(array: &str) -> String {
    format!(
        "(SELECT pg_catalog.string_agg(pg_catalog.quote_ident(option_name) || ' '
                 || pg_catalog.quote_literal(option_value), E',\\n    ' ORDER BY option_name)
          FROM pg_catalog.pg_options_to_table({array}))"
    )
}

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let oid = row.oid("attrelid")?;
    let id = cat.table_id(oid).context("a column of an unknown table")?;
    let name = cat.get(id).map(|object| object.name.clone()).unwrap_or_default();
    let binary_upgrade = cat.options.binary_upgrade;
    let table = cat.table_mut(id).context("a column of an unknown table")?;
    if row.int("attnum")? != i32::try_from(table.columns.len())? + 1 {
        bail!("invalid column numbering in table {name}");
    }
    let column = row.text("attname")?;
    let not_null = match row.opt_text("notnull_name")? {
        None => None,
        Some(constraint) => {
            let is_local = row.bool("conislocal")?;
            let comment = row.opt_text("notnull_comment")?;
            // An upgrade corrects inherited constraints by name afterwards, so the name must be known.
            let needs_name = binary_upgrade && !table.ispartition && !is_local;
            let is_default = constraint == format!("{name}_{column}_not_null");
            let needs_name = needs_name || comment.is_some() || !is_default;
            Some(NotNull {
                name: (!constraint.is_empty() && needs_name).then(|| constraint.clone()),
                no_inherit: row.bool("connoinherit")?,
                is_local,
                comment: comment.map(|comment| Box::new((constraint, comment))),
            })
        }
    };
    table.columns.push(Column {
        name: column,
        type_name: row.opt_text("type")?.unwrap_or_default(),
        stattarget: row.opt_int("attstattarget")?.unwrap_or(-1),
        storage: row.char("attstorage")?,
        type_storage: row.char("typstorage")?,
        dropped: row.bool("attisdropped")?,
        identity: row.char("attidentity")?,
        generated: row.char("attgenerated")?,
        len: row.int("attlen")?,
        align: row.char("attalign")?,
        is_local: row.bool("attislocal")?,
        collation: row.opt_oid("attcollation")?.unwrap_or_default(),
        compression: row.char("attcompression")?,
        rare: Some(Rare::read(row)?).filter(|rare| rare != Rare::NONE).map(Box::new),
        not_null,
        default: None,
    });
    Ok(())
}

fn privileges() -> String {
    format!(
        "SELECT a.attrelid, a.attnum::int4 AS attnum, a.attname, {acl}
         FROM pg_catalog.pg_attribute a
              LEFT JOIN pg_catalog.pg_init_privs i
                     ON i.objoid = a.attrelid AND i.classoid = 1259 AND i.objsubid = a.attnum
         WHERE a.attrelid = ANY ($1) AND NOT a.attisdropped
               AND (a.attacl IS NOT NULL OR i.initprivs IS NOT NULL)
         ORDER BY a.attrelid, a.attnum",
        acl = acl::columns("a.attrelid", "a.attacl", "'c'", "0"),
    )
}

fn absorb_acls(cat: &mut Catalog, rows: Vec<Row>) -> Result<()> {
    for row in rows {
        let oid = row.oid("attrelid")?;
        let acl = acl::read(cat, &row, CatalogId::new(class::PG_CLASS, oid), row.int("attnum")?)?;
        let id = cat
            .table_id(oid)
            .context("privileges on a column of an unknown table")?;
        if let Some(table) = cat.table_mut(id) {
            table.column_acls.push((row.text("attname")?, acl));
        }
    }
    Ok(())
}

impl Table {
    /// Whether CREATE TABLE lists the column (pg_dump's `shouldPrintColumn`): it is there and not only
    /// inherited. Partitions are created alone and attached later, so they list all; a binary upgrade must
    /// keep the physical order of all columns, dropped ones too.
    #[must_use]
    pub fn prints(&self, options: &DumpOptions, column: &Column) -> bool {
        options.binary_upgrade || (!column.dropped && (column.is_local || self.ispartition))
    }

    /// Whether NOT NULL is written with the column.
    #[must_use]
    pub fn prints_not_null(&self, options: &DumpOptions, column: &Column) -> bool {
        column
            .not_null
            .as_ref()
            .is_some_and(|it| it.is_local || options.binary_upgrade || self.ispartition)
    }
}

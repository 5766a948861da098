//! Range types, which bring their multirange types with them.

use super::{Details, type_of, upgrade_oid, wanted};
use crate::engine::postgres::catalog::Step;
use crate::engine::postgres::catalog::emit::Emit;
use crate::engine::postgres::catalog::object::{Object, Oid};
use crate::engine::postgres::connect::session::Query;

/// Columns of `pg_range` as the statements of a range type need them.
#[derive(Debug)]
pub struct Range {
    subtype: String,
    multirange: Option<String>,
    multirange_oid: Oid,
    multirange_array: Oid,
    /// Schema and name of the operator class, if it is not the default of the subtype.
    opclass: Option<(String, String)>,
    /// OID of the collation, if it is not that of the subtype.
    collation: Option<Oid>,
    canonical: Option<String>,
    subdiff: Option<String>,
}

/// What the range types look like that are dumped.
pub const READ: Step = Step {
    what: "definitions of range types",
    query: |cat| {
        wanted(cat, 'r').map(|oids| {
            Query::new(
                "SELECT r.rngtypid AS oid, pg_catalog.format_type(r.rngsubtype, NULL) AS subtype,
                        pg_catalog.format_type(r.rngmultitypid, NULL) AS multirange,
                        r.rngmultitypid, m.typarray AS multirange_array,
                        CASE WHEN NOT o.opcdefault THEN o.opcname END AS opcname, n.nspname,
                        CASE WHEN r.rngcollation <> s.typcollation THEN r.rngcollation END AS collation,
                        NULLIF(r.rngcanonical::text, '-') AS canonical,
                        NULLIF(r.rngsubdiff::text, '-') AS subdiff
                 FROM pg_catalog.pg_range r
                 JOIN pg_catalog.pg_type s ON s.oid = r.rngsubtype
                 JOIN pg_catalog.pg_opclass o ON o.oid = r.rngsubopc
                 JOIN pg_catalog.pg_namespace n ON n.oid = o.opcnamespace
                 LEFT JOIN pg_catalog.pg_type m ON m.oid = r.rngmultitypid
                 WHERE r.rngtypid = ANY ($1)",
            )
            .oids(oids)
        })
    },
    absorb: |cat, rows| {
        for row in &rows {
            let range = Range {
                subtype: row.text("subtype")?,
                multirange: row.opt_text("multirange")?,
                multirange_oid: row.oid("rngmultitypid")?,
                multirange_array: row.opt_oid("multirange_array")?.unwrap_or(0),
                opclass: Some(row.text("nspname")?).zip(row.opt_text("opcname")?),
                collation: row.opt_oid("collation")?,
                canonical: row.opt_text("canonical")?,
                subdiff: row.opt_text("subdiff")?,
            };
            if let Some(info) = type_of(cat, row)? {
                info.details = Some(Details::Range(range));
            }
        }
        Ok(())
    },
};

pub fn definition(emit: &Emit, object: &Object, it: &Range) -> String {
    let collation = it.collation.and_then(|oid| emit.cat.collation_name(oid));
    let opclass = it.opclass.as_ref().map(|(schema, name)| emit.q.qualified(schema, name));
    let parameters = [
        ("subtype", Some(&it.subtype)),
        ("multirange_type_name", it.multirange.as_ref()),
        ("subtype_opclass", opclass.as_ref()),
        ("collation", collation.as_ref()),
        ("canonical", it.canonical.as_ref()),
        ("subtype_diff", it.subdiff.as_ref()),
    ];
    let parameters: Vec<_> = parameters
        .into_iter()
        .filter_map(|(name, value)| Some(format!("\n    {name} = {}", value?)))
        .collect();
    let mut out = String::new();
    if emit.cat.options.binary_upgrade {
        out += &upgrade_oid(
            "multirange pg_type oid",
            "binary_upgrade_set_next_multirange_pg_type_oid",
            it.multirange_oid,
        );
        out += &upgrade_oid(
            "multirange pg_type array oid",
            "binary_upgrade_set_next_multirange_array_pg_type_oid",
            it.multirange_array,
        );
    }
    out + &format!(
        "CREATE TYPE {} AS RANGE ({}\n);\n",
        emit.qualified(object),
        parameters.join(",")
    )
}

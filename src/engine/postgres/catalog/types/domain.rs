//! Domains and their constraints.

use super::{Details, TypeInfo, type_of, wanted};
use crate::engine::postgres::catalog::constraint::Constraint;
use crate::engine::postgres::catalog::emit::Emit;
use crate::engine::postgres::catalog::object::{Components, DumpId, Object, Oid};
use crate::engine::postgres::catalog::{Catalog, Kind, Step, attachment};
use crate::engine::postgres::connect::session::Query;

/// Columns of `pg_type` as the statements of a domain need them.
#[derive(Debug)]
pub struct Domain {
    base_type: String,
    notnull: bool,
    /// The default as an expression, where the catalog has it.
    default_expression: Option<String>,
    /// The default as a string.
    default_text: Option<String>,
    /// OID of the collation, if it is not that of the base type.
    collation: Option<Oid>,
}

/// What the domains look like that are dumped.
pub const READ: Step = Step {
    what: "definitions of domains",
    query: |cat| {
        wanted(cat, 'd').map(|oids| {
            Query::new(
                "SELECT t.oid, t.typnotnull, pg_catalog.format_type(t.typbasetype, t.typtypmod) AS base_type,
                        pg_catalog.pg_get_expr(t.typdefaultbin, 'pg_catalog.pg_type'::pg_catalog.regclass)
                            AS default_expression,
                        t.typdefault,
                        CASE WHEN t.typcollation <> u.typcollation THEN t.typcollation END AS collation
                 FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type u ON u.oid = t.typbasetype
                 WHERE t.oid = ANY ($1)",
            )
            .oids(oids)
        })
    },
    absorb: |cat, rows| {
        for row in &rows {
            let domain = Domain {
                base_type: row.text("base_type")?,
                notnull: row.bool("typnotnull")?,
                default_expression: row.opt_text("default_expression")?,
                default_text: row.opt_text("typdefault")?,
                collation: row.opt_oid("collation")?,
            };
            if let Some(info) = type_of(cat, row)? {
                info.details = Some(Details::Domain(domain));
            }
        }
        Ok(())
    },
};

pub fn definition(emit: &Emit, object: &Object, info: &TypeInfo, it: &Domain) -> String {
    let mut out = format!("CREATE DOMAIN {} AS {}", emit.qualified(object), it.base_type);
    if let Some(collation) = it.collation.and_then(|oid| emit.cat.collation_name(oid)) {
        out += &format!(" COLLATE {collation}");
    }
    if it.notnull {
        out += &not_null(emit, object, info);
    }
    match (&it.default_expression, &it.default_text) {
        (Some(expression), _) => out += &format!(" DEFAULT {expression}"),
        (None, Some(text)) => out += &format!(" DEFAULT {}", emit.q.literal(text)),
        (None, None) => {}
    }
    for (check, constraint) in constraints(emit.cat, &info.dom_checks) {
        if !constraint.separate {
            out += &format!("\n\t{}", clause(emit, check, constraint));
        }
    }
    out + ";\n"
}

/// ` NOT NULL`, by name if it has one of its own (17).
fn not_null(emit: &Emit, object: &Object, info: &TypeInfo) -> String {
    let Some((named, constraint)) = constraints(emit.cat, info.notnull.as_slice()).next() else {
        return " NOT NULL".to_owned();
    };
    if constraint.separate {
        String::new()
    } else if named.name == format!("{}_not_null", object.name) {
        " NOT NULL".to_owned()
    } else {
        format!(" {}", clause(emit, named, constraint))
    }
}

fn clause(emit: &Emit, object: &Object, constraint: &Constraint) -> String {
    let condef = constraint.condef.as_deref().unwrap_or_default();
    format!("CONSTRAINT {} {condef}", emit.q.id(&object.name))
}

fn constraints<'a>(cat: &'a Catalog, ids: &'a [DumpId]) -> impl Iterator<Item = (&'a Object, &'a Constraint)> {
    ids.iter().filter_map(|id| {
        let object = cat.get(*id)?;
        match &object.kind {
            Kind::Constraint(constraint) => Some((object, constraint)),
            _ => None,
        }
    })
}

/// Comments on the constraints that are part of the domain; those that are added later have them there.
pub fn constraint_comments(emit: &mut Emit, object: &Object, info: &TypeInfo, name: &str) {
    let cat = emit.cat;
    let namespace = cat.namespace_name(object.namespace);
    let ids: Vec<_> = info.dom_checks.iter().chain(&info.notnull).copied().collect();
    for (named, constraint) in constraints(cat, &ids) {
        if !constraint.separate && named.wants(Components::COMMENT) {
            let kind = format!("CONSTRAINT {} ON DOMAIN", emit.q.id(&named.name));
            attachment::comment(
                emit,
                &kind,
                name,
                namespace,
                &info.owner,
                named.catalog_id,
                0,
                object.dump_id,
            );
        }
    }
}

//! Composite types that stand alone.

use super::{Details, TypeInfo, type_of, wanted};
use crate::engine::postgres::catalog::emit::Emit;
use crate::engine::postgres::catalog::object::{CatalogId, Components, Object, Oid, class};
use crate::engine::postgres::catalog::{Step, attachment, column, upgrade};
use crate::engine::postgres::connect::session::Query;

/// One attribute of a composite type.
#[derive(Debug)]
pub struct Attribute {
    name: String,
    number: i32,
    type_name: String,
    length: i32,
    align: char,
    dropped: bool,
    /// OID of the collation, if it is not that of its type.
    collation: Option<Oid>,
    version: Option<String>,
}

/// The attributes of composite types.
pub const READ: Step = Step {
    what: "attributes of composite types",
    query: |cat| {
        wanted(cat, 'c').map(|oids| {
            Query::new(format!(
                "SELECT t.oid, a.attname, a.attnum::int4 AS attnum, a.attlen::int4 AS attlen, a.attalign,
                        a.attisdropped, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name,
                        CASE WHEN a.attcollation <> u.typcollation THEN a.attcollation END AS collation,
                        {version} AS version
                 FROM pg_catalog.pg_type t
                 LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0
                 LEFT JOIN pg_catalog.pg_type u ON u.oid = a.atttypid
                 WHERE t.oid = ANY ($1)
                 ORDER BY t.oid, a.attnum",
                version = column::attribute_version(cat),
            ))
            .oids(oids)
        })
    },
    absorb: |cat, rows| {
        for row in &rows {
            let attribute = match row.opt_text("attname")? {
                // A composite type without attributes.
                None => None,
                Some(name) => Some(Attribute {
                    name,
                    number: row.int("attnum")?,
                    type_name: row.text("type_name")?,
                    length: row.int("attlen")?,
                    align: row.char("attalign")?,
                    dropped: row.bool("attisdropped")?,
                    collation: row.opt_oid("collation")?,
                    version: row.opt_text("version")?,
                }),
            };
            let Some(info) = type_of(cat, row)? else { continue };
            match &mut info.details {
                Some(Details::Composite(attributes)) => attributes.extend(attribute),
                details => *details = Some(Details::Composite(attribute.into_iter().collect())),
            }
        }
        Ok(())
    },
};

pub fn definition(emit: &Emit, object: &Object, info: &TypeInfo, attributes: &[Attribute]) -> String {
    let is_upgrade = emit.cat.options.binary_upgrade;
    let mut lines = Vec::new();
    let mut dropped = String::new();
    for it in attributes {
        let name = emit.q.id(&it.name);
        if !it.dropped {
            let collation = it.collation.and_then(|oid| emit.cat.collation_name(oid));
            let collation = collation.map(|name| format!(" COLLATE {name}")).unwrap_or_default();
            lines.push(format!("\n\t{name} {}{collation}", it.type_name));
        } else if is_upgrade {
            // Rows have room for it, so it must be there, and be dropped again.
            lines.push(format!("\n\t{name} INTEGER /* dummy */"));
            dropped += &drop_again(emit, object, it);
        }
    }
    let mut out = String::new();
    if is_upgrade {
        out += &upgrade_class_oid(emit, info.typrelid);
        out += &upgrade::column_versions(emit, attributes.iter().map(|it| it.version.as_deref()));
    }
    out + &format!(
        "CREATE TYPE {} AS ({}\n);\n{dropped}",
        emit.qualified(object),
        lines.join(",")
    )
}

/// The statement by which the relation of the type keeps its OID.
fn upgrade_class_oid(emit: &Emit, typrelid: Oid) -> String {
    let files = if emit.cat.server.major() < 15 {
        ""
    } else {
        " and relfilenodes"
    };
    format!(
        "\n-- For binary upgrade, must preserve pg_class oids{files}\n\
         SELECT pg_catalog.binary_upgrade_set_next_heap_pg_class_oid('{typrelid}'::pg_catalog.oid);\n\n"
    )
}

fn drop_again(emit: &Emit, object: &Object, it: &Attribute) -> String {
    let qualified = emit.qualified(object);
    format!(
        "\n-- For binary upgrade, recreate dropped column.\n\
         UPDATE pg_catalog.pg_attribute\n\
         SET attlen = {}, attalign = '{}', attbyval = false\n\
         WHERE attname = {}\n  \
         AND attrelid = {}::pg_catalog.regclass;\n\
         ALTER TYPE {qualified} DROP ATTRIBUTE {};\n",
        it.length,
        it.align,
        emit.q.literal(&it.name),
        emit.q.literal(&qualified),
        emit.q.id(&it.name)
    )
}

/// Comments on the attributes.
pub fn attribute_comments(emit: &mut Emit, object: &Object, info: &TypeInfo, attributes: &[Attribute]) {
    if !object.wants(Components::COMMENT) {
        return;
    }
    let cat = emit.cat;
    let namespace = cat.namespace_name(object.namespace);
    let relation = CatalogId::new(class::PG_CLASS, info.typrelid);
    for it in attributes.iter().filter(|it| !it.dropped) {
        let name = format!("{}.{}", emit.q.id(&object.name), emit.q.id(&it.name));
        attachment::comment(
            emit,
            "COLUMN",
            &name,
            namespace,
            &info.owner,
            relation,
            it.number,
            object.dump_id,
        );
    }
}

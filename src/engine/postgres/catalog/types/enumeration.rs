//! Enums.

use super::{Details, type_of, wanted};
use crate::engine::postgres::catalog::Step;
use crate::engine::postgres::catalog::emit::Emit;
use crate::engine::postgres::catalog::object::{Object, Oid};
use crate::engine::postgres::connect::session::Query;

/// One label of an enum.
#[derive(Debug)]
pub struct Label {
    oid: Oid,
    text: String,
}

/// The labels of enums, in their order.
pub const READ: Step = Step {
    what: "labels of enums",
    query: |cat| {
        wanted(cat, 'e').map(|oids| {
            Query::new(
                "SELECT t.oid, ARRAY(SELECT e.oid FROM pg_catalog.pg_enum e
                                     WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) AS oids,
                        ARRAY(SELECT e.enumlabel FROM pg_catalog.pg_enum e
                              WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) AS labels
                 FROM pg_catalog.pg_type t
                 WHERE t.oid = ANY ($1)",
            )
            .oids(oids)
        })
    },
    absorb: |cat, rows| {
        for row in &rows {
            let labels = row.oids("oids")?.into_iter().zip(row.texts("labels")?);
            let labels = labels.map(|(oid, text)| Label { oid, text }).collect();
            if let Some(info) = type_of(cat, row)? {
                info.details = Some(Details::Enum(labels));
            }
        }
        Ok(())
    },
};

pub fn definition(emit: &Emit, object: &Object, labels: &[Label]) -> String {
    let qualified = emit.qualified(object);
    let mut out = format!("CREATE TYPE {qualified} AS ENUM (");
    if emit.cat.options.binary_upgrade {
        // Labels keep their OIDs, since rows hold them; so they are added one by one.
        out += "\n);\n";
        for (nth, label) in labels.iter().enumerate() {
            if nth == 0 {
                out += "\n-- For binary upgrade, must preserve pg_enum oids\n";
            }
            out += &format!(
                "SELECT pg_catalog.binary_upgrade_set_next_pg_enum_oid('{}'::pg_catalog.oid);\n\
                 ALTER TYPE {qualified} ADD VALUE {};\n\n",
                label.oid,
                emit.q.literal(&label.text)
            );
        }
        return out;
    }
    let labels: Vec<_> = labels
        .iter()
        .map(|label| format!("\n    {}", emit.q.literal(&label.text)))
        .collect();
    out + &labels.join(",") + "\n);\n"
}

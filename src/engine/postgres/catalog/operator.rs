//! Operators.

use anyhow::Context as _;

use super::annotate::{self, Target};
use super::emit::Emit;
use super::object::{CatalogId, Components, Object, Oid, class};
use super::{Catalog, Kind, Step, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;

/// An operator.
#[derive(Debug, Default)]
pub struct Operator {
    /// Name of the owner.
    pub owner: String,
    /// `b` infix, `l` prefix.
    pub oprkind: char,
    /// OID of the left operand's type, 0 for a prefix operator.
    pub oprleft: Oid,
    /// OID of the right operand's type.
    pub oprright: Oid,
    /// OID of the function; 0 for an operator that another one only mentions.
    pub oprcode: Oid,
    /// What its statements say; only of those that are dumped.
    pub details: Option<Details>,
}

/// Columns of `pg_operator` as the statements of an operator need them.
#[derive(Debug)]
pub struct Details {
    oprcode: Option<String>,
    oprleft: String,
    oprright: String,
    oprcom: Oid,
    oprnegate: Oid,
    oprrest: Option<String>,
    oprjoin: Option<String>,
    oprcanmerge: bool,
    oprcanhash: bool,
}

/// All operators, those of the system too: others refer to them by OID.
pub const READ: Step = Step {
    what: "operators",
    query: |_| {
        Some(Query::new(
            "SELECT oid, oprname, oprnamespace, oprowner, oprkind, oprleft, oprright, oprcode::oid AS oprcode
             FROM pg_catalog.pg_operator",
        ))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let operator = Operator {
                owner: cat.role(row.oid("oprowner")?)?.to_owned(),
                oprkind: row.char("oprkind")?,
                oprleft: row.oid("oprleft")?,
                oprright: row.oid("oprright")?,
                oprcode: row.oid("oprcode")?,
                details: None,
            };
            let catalog_id = CatalogId::new(class::PG_OPERATOR, row.oid("oid")?);
            let namespace = cat.namespace(row.oid("oprnamespace")?)?;
            let id = cat.add(
                catalog_id,
                row.text("oprname")?,
                Some(namespace),
                Kind::Operator(Box::new(operator)),
            );
            select::object(cat, id);
        }
        Ok(())
    },
};

/// What the operators look like that are dumped.
pub const DETAILS: Step = Step {
    what: "definitions of operators",
    query: |cat| {
        let oids = cat.wanted(|kind| matches!(kind, Kind::Operator(_)));
        (!oids.is_empty()).then(|| Query::new(DETAILS_SQL).oids(oids))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let id = cat.find(class::PG_OPERATOR, row.oid("oid")?);
            if let Some(Kind::Operator(operator)) = id.and_then(|id| cat.get_mut(id)).map(|object| &mut object.kind) {
                operator.details = Some(Details::of(row)?);
            }
        }
        Ok(())
    },
};

// regproc instead of regprocedure would name a function without its arguments, but qualify an overloaded
// one in places where the arguments' types make it plain.
const DETAILS_SQL: &str = "
    SELECT oid, NULLIF(oprcode::pg_catalog.regprocedure::text, '-') AS oprcode,
           oprleft::pg_catalog.regtype::text AS oprleft, oprright::pg_catalog.regtype::text AS oprright,
           oprcom, oprnegate,
           NULLIF(oprrest::pg_catalog.regprocedure::text, '-') AS oprrest,
           NULLIF(oprjoin::pg_catalog.regprocedure::text, '-') AS oprjoin,
           oprcanmerge, oprcanhash
    FROM pg_catalog.pg_operator
    WHERE oid = ANY ($1)";

impl Details {
    fn of(row: &Row) -> Result<Self> {
        let function = |column| Ok::<_, anyhow::Error>(row.opt_text(column)?.map(|name| without_arguments(&name)));
        Ok(Details {
            oprcode: function("oprcode")?,
            oprleft: row.text("oprleft")?,
            oprright: row.text("oprright")?,
            oprcom: row.oid("oprcom")?,
            oprnegate: row.oid("oprnegate")?,
            oprrest: function("oprrest")?,
            oprjoin: function("oprjoin")?,
            oprcanmerge: row.bool("oprcanmerge")?,
            oprcanhash: row.bool("oprcanhash")?,
        })
    }
}

/// The name of a `regprocedure`: what stands before the first parenthesis that is not quoted.
fn without_arguments(procedure: &str) -> String {
    let mut quoted = false;
    let end = procedure.find(|c| {
        quoted ^= c == '"';
        c == '(' && !quoted
    });
    procedure[..end.unwrap_or(procedure.len())].to_owned()
}

/// How other statements refer to the operator with OID `oid`; `None` for 0.
#[must_use]
pub fn reference(cat: &Catalog, oid: Oid) -> Option<String> {
    let object = cat.object(class::PG_OPERATOR, oid)?;
    let schema = cat.namespace_name(object.namespace)?;
    Some(format!("OPERATOR({}.{})", cat.quote().id(schema), object.name))
}

/// `CREATE OPERATOR`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Operator) -> Result<()> {
    // An operator that was only mentioned, as the commutator of another, comes with that one.
    if !emit.cat.options.dump_schema() || it.oprcode == 0 {
        return Ok(());
    }
    let details = it
        .details
        .as_ref()
        .with_context(|| format!("operator {} was not read", object.name))?;
    let left = if it.oprkind == 'l' { "NONE" } else { &details.oprleft };
    let right = if it.oprkind == 'r' { "NONE" } else { &details.oprright };
    let signature = format!("{} ({left}, {right})", object.name);
    if object.wants(Components::DEFINITION) {
        let schema = emit.cat.namespace_name(object.namespace);
        let qschema = emit.q.id(schema.unwrap_or_default());
        let mut entry = emit.entry(object, "OPERATOR", Section::PreData);
        entry.owner.clone_from(&it.owner);
        entry.defn = format!(
            "CREATE OPERATOR {qschema}.{} (\n{}\n);\n",
            object.name,
            parameters(emit.cat, it, details).join(",\n")
        );
        entry.defn += &attachment::extension_member(emit, object, "OPERATOR", &signature, schema)?;
        entry.drop_stmt = format!("DROP OPERATOR {qschema}.{signature};\n");
        emit.push(entry);
    }
    let target = Target {
        kind: "OPERATOR",
        name: &signature,
        owner: &it.owner,
    };
    annotate::comment(emit, object, &target);
    Ok(())
}

fn parameters(cat: &Catalog, it: &Operator, details: &Details) -> Vec<String> {
    let mut out = Vec::new();
    let mut set = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            out.push(format!("    {name} = {value}"));
        }
    };
    set("FUNCTION", details.oprcode.as_ref());
    set("LEFTARG", (it.oprkind != 'l').then_some(&details.oprleft));
    set("RIGHTARG", (it.oprkind != 'r').then_some(&details.oprright));
    set("COMMUTATOR", reference(cat, details.oprcom).as_ref());
    set("NEGATOR", reference(cat, details.oprnegate).as_ref());
    if details.oprcanmerge {
        out.push("    MERGES".to_owned());
    }
    if details.oprcanhash {
        out.push("    HASHES".to_owned());
    }
    for (name, function) in [("RESTRICT", &details.oprrest), ("JOIN", &details.oprjoin)] {
        if let Some(function) = function {
            out.push(format!("    {name} = {function}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_end_a_name_unless_quoted() {
        assert_eq!(without_arguments("int4eq(integer,integer)"), "int4eq");
        assert_eq!(without_arguments(r#"s."odd(name"(s."t)x")"#), r#"s."odd(name""#);
    }
}

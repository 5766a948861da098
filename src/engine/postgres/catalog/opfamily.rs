//! Operator families, and the operators and functions in them.

use anyhow::Context as _;

use super::annotate::{self, Target};
use super::emit::Emit;
use super::object::{CatalogId, Components, Object, Oid, class};
use super::{Catalog, Kind, Step, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;
use crate::sql::quote::Quote;

/// An operator family.
#[derive(Debug, Default)]
pub struct OpFamily {
    /// Name of the owner.
    pub owner: String,
    /// OID of the access method.
    pub opfmethod: Oid,
    /// Operators and functions that belong to no class of the family.
    pub members: Members,
}

/// Operators and support functions of a class or, loosely, of a family.
#[derive(Debug, Default)]
pub struct Members {
    operators: Vec<AmOp>,
    functions: Vec<AmProc>,
}

#[derive(Debug)]
struct AmOp {
    strategy: i32,
    operator: String,
    sort_family: Option<(String, String)>,
}

#[derive(Debug)]
struct AmProc {
    number: i32,
    function: String,
    left_type: String,
    right_type: String,
}

/// All operator families.
pub const READ: Step = Step {
    what: "operator families",
    query: |_| {
        Some(Query::new(
            "SELECT oid, opfname, opfnamespace, opfowner, opfmethod FROM pg_catalog.pg_opfamily",
        ))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let opfamily = OpFamily {
                owner: cat.role(row.oid("opfowner")?)?.to_owned(),
                opfmethod: row.oid("opfmethod")?,
                ..OpFamily::default()
            };
            let catalog_id = CatalogId::new(class::PG_OPFAMILY, row.oid("oid")?);
            let namespace = cat.namespace(row.oid("opfnamespace")?)?;
            let id = cat.add(
                catalog_id,
                row.text("opfname")?,
                Some(namespace),
                Kind::OpFamily(Box::new(opfamily)),
            );
            select::object(cat, id);
        }
        Ok(())
    },
};

/// Operators of the families and classes that are dumped: what they depend on says which of the two they
/// belong to.
pub const OPERATORS: Step = Step {
    what: "operators of operator families",
    query: |cat| {
        members(cat, |owner, family| {
            format!(
                "SELECT amopstrategy::int4 AS strategy, amopopr::pg_catalog.regoperator::text AS operator, opfname, nspname
                 FROM pg_catalog.pg_amop ao
                 JOIN pg_catalog.pg_depend ON (classid = 'pg_catalog.pg_amop'::pg_catalog.regclass AND objid = ao.oid)
                 LEFT JOIN pg_catalog.pg_opfamily f ON f.oid = amopsortfamily
                 LEFT JOIN pg_catalog.pg_namespace n ON n.oid = opfnamespace
                 WHERE refclassid = {} AND refobjid = {} AND amopfamily = {family} ORDER BY amopstrategy",
                owner.table, owner.oid
            )
        })
    },
    absorb: |cat, rows| {
        for row in &rows {
            let operator = AmOp {
                strategy: row.int("strategy")?,
                operator: row.text("operator")?,
                sort_family: row.opt_text("nspname")?.zip(row.opt_text("opfname")?),
            };
            if let Some(members) = members_of(cat, row)? {
                members.operators.push(operator);
            }
        }
        Ok(())
    },
};

/// Support functions of the families and classes that are dumped.
pub const FUNCTIONS: Step = Step {
    what: "functions of operator families",
    query: |cat| {
        members(cat, |owner, _| {
            format!(
                "SELECT amprocnum::int4 AS number, amproc::pg_catalog.regprocedure::text AS function,
                        amproclefttype::pg_catalog.regtype::text AS left_type,
                        amprocrighttype::pg_catalog.regtype::text AS right_type
                 FROM pg_catalog.pg_amproc ap, pg_catalog.pg_depend
                 WHERE refclassid = {} AND refobjid = {} AND classid = 'pg_catalog.pg_amproc'::pg_catalog.regclass
                   AND objid = ap.oid ORDER BY amprocnum",
                owner.table, owner.oid
            )
        })
    },
    absorb: |cat, rows| {
        for row in &rows {
            let function = AmProc {
                number: row.int("number")?,
                function: row.text("function")?,
                left_type: row.text("left_type")?,
                right_type: row.text("right_type")?,
            };
            if let Some(members) = members_of(cat, row)? {
                members.functions.push(function);
            }
        }
        Ok(())
    },
};

/// Asks for the members of each class and family that is dumped, given its family, with the very query of pg_dump:
/// the order of members with the same number is whatever the server's plan and sort make of it.
fn members(cat: &Catalog, of: impl Fn(CatalogId, Oid) -> String) -> Option<Query> {
    let wanted = cat
        .objects()
        .filter(|object| !(object.dump & object.components).is_none());
    let queries: Vec<String> = wanted
        .filter_map(|object| match &object.kind {
            Kind::OpClass(it) => Some((object.catalog_id, it.opcfamily)),
            Kind::OpFamily(_) => Some((object.catalog_id, object.catalog_id.oid)),
            _ => None,
        })
        .map(|(owner, family)| {
            let member = of(owner, family);
            let CatalogId { table, oid } = owner;
            format!("SELECT {table}::oid AS refclassid, {oid}::oid AS refobjid, member.* FROM ({member}) member")
        })
        .collect();
    (!queries.is_empty()).then(|| Query::new(queries.join(" UNION ALL ")))
}

fn members_of<'a>(cat: &'a mut Catalog, row: &Row) -> Result<Option<&'a mut Members>> {
    let id = cat.find(row.oid("refclassid")?, row.oid("refobjid")?);
    Ok(match id.and_then(|id| cat.get_mut(id)).map(|object| &mut object.kind) {
        Some(Kind::OpClass(opclass)) => Some(&mut opclass.members),
        Some(Kind::OpFamily(opfamily)) => Some(&mut opfamily.members),
        _ => None,
    })
}

impl Members {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operators.is_empty() && self.functions.is_empty()
    }

    /// Each as `CREATE OPERATOR CLASS` and `ALTER OPERATOR FAMILY … ADD` take it.
    #[must_use]
    pub fn clauses(&self, q: &Quote) -> Vec<String> {
        let operators = self.operators.iter().map(|it| {
            let order = it
                .sort_family
                .as_ref()
                .map(|(schema, name)| format!(" FOR ORDER BY {}", q.qualified(schema, name)));
            format!("OPERATOR {} {}{}", it.strategy, it.operator, order.unwrap_or_default())
        });
        let functions = self.functions.iter().map(|it| {
            format!(
                "FUNCTION {} ({}, {}) {}",
                it.number, it.left_type, it.right_type, it.function
            )
        });
        operators.chain(functions).collect()
    }
}

/// `CREATE OPERATOR FAMILY`, and `ALTER OPERATOR FAMILY … ADD` for what is loose in it.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &OpFamily) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let method = emit.cat.object(class::PG_AM, it.opfmethod);
    let method = method.with_context(|| format!("access method of operator family {} is unknown", object.name))?;
    let amname = emit.q.id(&method.name);
    let using = format!("{} USING {amname}", emit.q.id(&object.name));
    if object.wants(Components::DEFINITION) {
        let schema = emit.cat.namespace_name(object.namespace);
        let qualified = format!("{} USING {amname}", emit.qualified(object));
        let mut entry = emit.entry(object, "OPERATOR FAMILY", Section::PreData);
        entry.owner.clone_from(&it.owner);
        entry.defn = format!("CREATE OPERATOR FAMILY {qualified};\n");
        if !it.members.is_empty() {
            let clauses = it.members.clauses(&emit.q).join(" ,\n    ");
            entry.defn += &format!("ALTER OPERATOR FAMILY {qualified} ADD\n    {clauses};\n");
        }
        entry.defn += &attachment::extension_member(emit, object, "OPERATOR FAMILY", &using, schema)?;
        entry.drop_stmt = format!("DROP OPERATOR FAMILY {qualified};\n");
        emit.push(entry);
    }
    let target = Target {
        kind: "OPERATOR FAMILY",
        name: &using,
        owner: &it.owner,
    };
    annotate::comment(emit, object, &target);
    Ok(())
}

//! Operator classes.

use anyhow::Context as _;

use super::annotate::{self, Target};
use super::emit::Emit;
use super::object::{CatalogId, Components, Object, Oid, class};
use super::opfamily::Members;
use super::{Kind, Step, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;

/// An operator class.
#[derive(Debug, Default)]
pub struct OpClass {
    /// Name of the owner.
    pub owner: String,
    /// OID of the access method.
    pub opcmethod: Oid,
    /// OID of the family.
    pub opcfamily: Oid,
    /// What its statements say; only of those that are dumped.
    pub details: Option<Details>,
    /// Operators and functions that belong to the class itself.
    pub members: Members,
}

/// Columns of `pg_opclass` as the statements of an operator class need them.
#[derive(Debug)]
pub struct Details {
    amname: String,
    opcintype: String,
    opckeytype: Option<String>,
    opcdefault: bool,
    family: Option<(String, String)>,
}

/// All operator classes.
pub const READ: Step = Step {
    what: "operator classes",
    query: |_| {
        Some(Query::new(
            "SELECT oid, opcname, opcnamespace, opcowner, opcmethod, opcfamily FROM pg_catalog.pg_opclass",
        ))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let opclass = OpClass {
                owner: cat.role(row.oid("opcowner")?)?.to_owned(),
                opcmethod: row.oid("opcmethod")?,
                opcfamily: row.oid("opcfamily")?,
                ..OpClass::default()
            };
            let catalog_id = CatalogId::new(class::PG_OPCLASS, row.oid("oid")?);
            let namespace = cat.namespace(row.oid("opcnamespace")?)?;
            let id = cat.add(
                catalog_id,
                row.text("opcname")?,
                Some(namespace),
                Kind::OpClass(Box::new(opclass)),
            );
            select::object(cat, id);
        }
        Ok(())
    },
};

/// What the operator classes look like that are dumped; their members are read with those of families.
pub const DETAILS: Step = Step {
    what: "definitions of operator classes",
    query: |cat| {
        let oids = cat.wanted(|kind| matches!(kind, Kind::OpClass(_)));
        (!oids.is_empty()).then(|| Query::new(DETAILS_SQL).oids(oids))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let id = cat.find(class::PG_OPCLASS, row.oid("oid")?);
            if let Some(Kind::OpClass(opclass)) = id.and_then(|id| cat.get_mut(id)).map(|object| &mut object.kind) {
                opclass.details = Some(Details::of(row)?);
            }
        }
        Ok(())
    },
};

const DETAILS_SQL: &str = "
    SELECT c.oid, a.amname, c.opcintype::pg_catalog.regtype::text AS opcintype,
           NULLIF(c.opckeytype::pg_catalog.regtype::text, '-') AS opckeytype, c.opcdefault,
           f.opfname, n.nspname AS opfnamespace
    FROM pg_catalog.pg_opclass c
    JOIN pg_catalog.pg_am a ON a.oid = c.opcmethod
    LEFT JOIN pg_catalog.pg_opfamily f ON f.oid = c.opcfamily
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = f.opfnamespace
    WHERE c.oid = ANY ($1)";

impl Details {
    fn of(row: &Row) -> Result<Self> {
        Ok(Details {
            amname: row.text("amname")?,
            opcintype: row.text("opcintype")?,
            opckeytype: row.opt_text("opckeytype")?,
            opcdefault: row.bool("opcdefault")?,
            family: row.opt_text("opfnamespace")?.zip(row.opt_text("opfname")?),
        })
    }
}

/// `CREATE OPERATOR CLASS`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &OpClass) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let details = it
        .details
        .as_ref()
        .with_context(|| format!("operator class {} was not read", object.name))?;
    let using = format!("{} USING {}", emit.q.id(&object.name), emit.q.id(&details.amname));
    if object.wants(Components::DEFINITION) {
        let schema = emit.cat.namespace_name(object.namespace);
        let mut entry = emit.entry(object, "OPERATOR CLASS", Section::PreData);
        entry.owner.clone_from(&it.owner);
        entry.defn = definition(emit, object, it, details);
        entry.defn += &attachment::extension_member(emit, object, "OPERATOR CLASS", &using, schema)?;
        entry.drop_stmt = format!(
            "DROP OPERATOR CLASS {} USING {};\n",
            emit.qualified(object),
            emit.q.id(&details.amname)
        );
        emit.push(entry);
    }
    let target = Target {
        kind: "OPERATOR CLASS",
        name: &using,
        owner: &it.owner,
    };
    annotate::comment(emit, object, &target);
    Ok(())
}

fn definition(emit: &Emit, object: &Object, it: &OpClass, details: &Details) -> String {
    let mut out = format!("CREATE OPERATOR CLASS {}\n    ", emit.qualified(object));
    if details.opcdefault {
        out += "DEFAULT ";
    }
    out += &format!("FOR TYPE {} USING {}", details.opcintype, emit.q.id(&details.amname));
    if let Some((schema, name)) = &details.family {
        out += &format!(" FAMILY {}", emit.q.qualified(schema, name));
    }
    let mut items: Vec<_> = details
        .opckeytype
        .iter()
        .map(|name| format!("STORAGE {name}"))
        .collect();
    items.extend(it.members.clauses(&emit.q));
    if items.is_empty() {
        // AS must be followed by something, and this changes nothing.
        items.push(format!("STORAGE {}", details.opcintype));
    }
    out + &format!(" AS\n    {};\n", items.join(" ,\n    "))
}

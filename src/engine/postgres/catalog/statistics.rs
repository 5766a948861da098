//! Extended statistics objects.

use super::emit::Emit;
use super::object::{CatalogId, Components, Object, Oid};
use super::{Catalog, Kind, Query, Row, Step, attachment, select};
use crate::archive::toc::Section;
use crate::error::Result;

/// OID of `pg_statistic_ext`.
const PG_STATISTIC_EXT: Oid = 3381;

/// An extended statistics object.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Owner.
    pub owner: String,
    /// `pg_get_statisticsobjdef`.
    pub definition: String,
    /// The statistics target; negative for the default.
    pub stxstattarget: i32,
}

/// All statistics objects; the definitions of those in schemas that are dumped.
pub const READ: Step = Step {
    what: "extended statistics",
    query: |cat| {
        let schemas = cat.objects().filter(|object| {
            matches!(object.kind, Kind::Namespace(_)) && object.dump_contains.has(Components::DEFINITION)
        });
        let query = Query::new(
            "SELECT oid, stxname, stxnamespace, stxowner, stxrelid,
                    coalesce(stxstattarget::int4, -1) AS stxstattarget,
                    CASE WHEN stxnamespace = ANY($1) THEN pg_catalog.pg_get_statisticsobjdef(oid) END AS stxdef
             FROM pg_catalog.pg_statistic_ext",
        );
        Some(query.oids(schemas.map(|object| object.catalog_id.oid)))
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let table = cat.table_id(row.oid("stxrelid")?);
    let it = Statistics {
        owner: cat.role(row.oid("stxowner")?)?.to_owned(),
        definition: row.opt_text("stxdef")?.unwrap_or_default(),
        stxstattarget: row.int("stxstattarget")?,
    };
    let namespace = cat.namespace(row.oid("stxnamespace")?)?;
    let catalog_id = CatalogId::new(PG_STATISTIC_EXT, row.oid("oid")?);
    let id = cat.add(catalog_id, row.text("stxname")?, Some(namespace), Kind::Statistics(it));
    select::statistics(cat, id, table);
    Ok(())
}

/// Writes a statistics object with its comment.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Statistics) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    if object.wants(Components::DEFINITION) {
        let qualified = emit.qualified(object);
        let mut entry = emit.entry(object, "STATISTICS", Section::PostData);
        entry.defn = format!("{};\n", it.definition);
        if it.stxstattarget >= 0 {
            entry.defn += &format!("ALTER STATISTICS {qualified} SET STATISTICS {};\n", it.stxstattarget);
        }
        entry.drop_stmt = format!("DROP STATISTICS {qualified};\n");
        entry.owner.clone_from(&it.owner);
        emit.push(entry);
    }
    if object.wants(Components::COMMENT) {
        let name = emit.q.id(&object.name).into_owned();
        let schema = emit.cat.namespace_name(object.namespace);
        let id = object.catalog_id;
        attachment::comment(emit, "STATISTICS", &name, schema, &it.owner, id, 0, object.dump_id);
    }
    Ok(())
}

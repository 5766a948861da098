//! Publications with their tables and schemas.

use anyhow::Context as _;

use super::emit::Emit;
use super::object::{CatalogId, Components, DumpId, Object, Oid, class};
use super::{Catalog, Kind, Query, Row, Step, attachment, select};
use crate::archive::toc::Section;
use crate::error::Result;

/// OID of `pg_publication`.
const PG_PUBLICATION: Oid = 6104;
/// OID of `pg_publication_rel`.
const PG_PUBLICATION_REL: Oid = 6106;
/// OID of `pg_publication_namespace`.
const PG_PUBLICATION_NAMESPACE: Oid = 6237;

/// A publication.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // they are columns of pg_publication
pub struct Publication {
    /// Owner.
    pub owner: String,
    /// `FOR ALL TABLES`.
    pub puballtables: bool,
    /// What is published, in the order of the statement.
    pub publish: Vec<&'static str>,
    /// `publish_via_partition_root`.
    pub pubviaroot: bool,
    /// Generated columns (18): `n` none, `s` stored.
    pub pubgencols: char,
}

/// A table in a publication.
#[derive(Debug, Default)]
pub struct PublicationRel {
    /// The publication.
    pub publication: DumpId,
    /// The table.
    pub table: DumpId,
    /// The row filter.
    pub prqual: Option<String>,
    /// The columns, if not all.
    pub prattrs: Option<Vec<String>>,
}

/// A schema in a publication (15).
#[derive(Debug, Default)]
pub struct PublicationSchema {
    /// The publication.
    pub publication: DumpId,
}

/// All publications.
pub const READ: Step = Step {
    what: "publications",
    query: |cat| {
        let gencols = if cat.server.major() >= 18 {
            "pubgencols"
        } else {
            "'n'::\"char\""
        };
        let query = Query::new(format!(
            "SELECT oid, pubname, pubowner, puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot,
                    {gencols} AS pubgencols
             FROM pg_catalog.pg_publication"
        ));
        (!cat.options.no_publications).then_some(query)
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let mut publish = Vec::new();
    for action in ["insert", "update", "delete", "truncate"] {
        if row.bool(&format!("pub{action}"))? {
            publish.push(action);
        }
    }
    let it = Publication {
        owner: cat.role(row.oid("pubowner")?)?.to_owned(),
        puballtables: row.bool("puballtables")?,
        publish,
        pubviaroot: row.bool("pubviaroot")?,
        pubgencols: row.char("pubgencols")?,
    };
    let catalog_id = CatalogId::new(PG_PUBLICATION, row.oid("oid")?);
    let id = cat.add(catalog_id, row.text("pubname")?, None, Kind::Publication(it));
    select::object(cat, id);
    Ok(())
}

/// Tables in publications, with their row filters and column lists (15).
pub const RELATIONS: Step = Step {
    what: "tables of publications",
    query: |cat| {
        let sql = if cat.server.major() >= 15 {
            "SELECT oid, prpubid, prrelid, pg_catalog.pg_get_expr(prqual, prrelid) AS prqual,
                    prattrs IS NOT NULL AS has_attrs,
                    ARRAY(SELECT attname FROM pg_catalog.pg_attribute
                           WHERE attrelid = pr.prrelid AND attnum = ANY(pr.prattrs::int2[]) ORDER BY attnum) AS prattrs
             FROM pg_catalog.pg_publication_rel pr"
        } else {
            "SELECT oid, prpubid, prrelid, NULL::text AS prqual, false AS has_attrs, NULL::text[] AS prattrs
             FROM pg_catalog.pg_publication_rel"
        };
        (!cat.options.no_publications).then(|| Query::new(sql))
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb_relation(cat, row)),
};

fn absorb_relation(cat: &mut Catalog, row: &Row) -> Result<()> {
    let publication = cat.find(PG_PUBLICATION, row.oid("prpubid")?);
    let (Some(publication), Some(table)) = (publication, cat.table_id(row.oid("prrelid")?)) else {
        return Ok(());
    };
    let it = PublicationRel {
        publication,
        table,
        prqual: row.opt_text("prqual")?,
        prattrs: if row.bool("has_attrs")? {
            Some(row.texts("prattrs")?)
        } else {
            None
        },
    };
    let Some(object) = cat.get(table) else { return Ok(()) };
    // 18 adds tables and schemas also where their definitions are left out.
    if cat.server.major() < 18 && !object.wants(Components::DEFINITION) {
        return Ok(());
    }
    let (name, namespace) = (object.name.clone(), object.namespace);
    let catalog_id = CatalogId::new(PG_PUBLICATION_REL, row.oid("oid")?);
    let id = cat.add(catalog_id, name, namespace, Kind::PublicationRel(it));
    select::publication(cat, id);
    Ok(())
}

/// Schemas in publications (15).
pub const SCHEMAS: Step = Step {
    what: "schemas of publications",
    query: |cat| {
        let sql = "SELECT oid, pnpubid, pnnspid FROM pg_catalog.pg_publication_namespace";
        (!cat.options.no_publications && cat.server.major() >= 15).then(|| Query::new(sql))
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb_schema(cat, row)),
};

fn absorb_schema(cat: &mut Catalog, row: &Row) -> Result<()> {
    let publication = cat.find(PG_PUBLICATION, row.oid("pnpubid")?);
    let schema = cat.object(class::PG_NAMESPACE, row.oid("pnnspid")?);
    let (Some(publication), Some(schema)) = (publication, schema) else {
        return Ok(());
    };
    if cat.server.major() < 18 && schema.dump.is_none() {
        return Ok(());
    }
    let name = schema.name.clone();
    let catalog_id = CatalogId::new(PG_PUBLICATION_NAMESPACE, row.oid("oid")?);
    let it = PublicationSchema { publication };
    let id = cat.add(catalog_id, name, None, Kind::PublicationSchema(it));
    select::publication(cat, id);
    Ok(())
}

/// Writes a publication with its comment and labels.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Publication) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let name = emit.q.id(&object.name).into_owned();
    if object.wants(Components::DEFINITION) {
        let mut entry = emit.entry(object, "PUBLICATION", Section::PostData);
        let all_tables = if it.puballtables { " FOR ALL TABLES" } else { "" };
        let via_root = if it.pubviaroot {
            ", publish_via_partition_root = true"
        } else {
            ""
        };
        let generated = match it.pubgencols {
            's' => ", publish_generated_columns = stored",
            _ => "",
        };
        let publish = it.publish.join(", ");
        entry.defn =
            format!("CREATE PUBLICATION {name}{all_tables} WITH (publish = '{publish}'{via_root}{generated});\n");
        entry.drop_stmt = format!("DROP PUBLICATION {name};\n");
        entry.owner.clone_from(&it.owner);
        emit.push(entry);
    }
    let id = object.catalog_id;
    if object.wants(Components::COMMENT) {
        attachment::comment(emit, "PUBLICATION", &name, None, &it.owner, id, 0, object.dump_id);
    }
    if object.wants(Components::SECLABEL) {
        attachment::security_label(emit, "PUBLICATION", &name, None, &it.owner, id, 0, object.dump_id);
    }
    Ok(())
}

/// The publication numbered `id` with its object.
fn publication(cat: &Catalog, id: DumpId) -> Result<(&Object, &Publication)> {
    let object = cat.get(id).context("a member of no publication")?;
    match &object.kind {
        Kind::Publication(it) => Ok((object, it)),
        _ => anyhow::bail!("{} is no publication", object.name),
    }
}

/// Writes that a table is in a publication. Dropping the table drops that too.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_relation(emit: &mut Emit, object: &Object, it: &PublicationRel) -> Result<()> {
    if !emit.cat.options.dump_schema() || !object.wants(Components::DEFINITION) {
        return Ok(());
    }
    let (of, publication) = publication(emit.cat, it.publication)?;
    let table = emit
        .cat
        .get(it.table)
        .context("a member of a publication without a table")?;
    let mut sql = format!(
        "ALTER PUBLICATION {} ADD TABLE ONLY {}",
        emit.q.id(&of.name),
        emit.qualified(table)
    );
    if let Some(columns) = &it.prattrs {
        let columns: Vec<_> = columns.iter().map(|name| emit.q.id(name)).collect();
        sql += &format!(" ({})", columns.join(", "));
    }
    if let Some(filter) = &it.prqual {
        sql += &format!(" WHERE ({filter})");
    }
    let mut entry = emit.entry(object, "PUBLICATION TABLE", Section::PostData);
    entry.tag = format!("{} {}", of.name, table.name);
    entry.defn = format!("{sql};\n");
    // It has no owner of its own, but must be run by someone who may.
    entry.owner.clone_from(&publication.owner);
    emit.push(entry);
    Ok(())
}

/// Writes that a schema is in a publication. Dropping the schema drops that too.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_schema(emit: &mut Emit, object: &Object, it: &PublicationSchema) -> Result<()> {
    if !emit.cat.options.dump_schema() || !object.wants(Components::DEFINITION) {
        return Ok(());
    }
    let (of, publication) = publication(emit.cat, it.publication)?;
    let mut entry = emit.entry(object, "PUBLICATION TABLES IN SCHEMA", Section::PostData);
    entry.tag = format!("{} {}", of.name, object.name);
    entry.namespace = Some(object.name.clone());
    entry.defn = format!(
        "ALTER PUBLICATION {} ADD TABLES IN SCHEMA {};\n",
        emit.q.id(&of.name),
        emit.q.id(&object.name)
    );
    entry.owner.clone_from(&publication.owner);
    emit.push(entry);
    Ok(())
}

//! Conversions between encodings.

use anyhow::Context as _;

use super::annotate::{self, Target};
use super::emit::Emit;
use super::object::{CatalogId, Components, Object, class};
use super::{Kind, Step, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::Query;
use crate::error::Result;

/// A conversion between encodings.
#[derive(Debug, Default)]
pub struct Conversion {
    /// Name of the owner.
    pub owner: String,
    /// What its statements say; only of those that are dumped.
    pub details: Option<Details>,
}

/// Columns of `pg_conversion` as the statements of a conversion need them.
#[derive(Debug)]
pub struct Details {
    from: String,
    to: String,
    conproc: String,
    condefault: bool,
}

/// All conversions.
pub const READ: Step = Step {
    what: "conversions",
    query: |_| {
        Some(Query::new(
            "SELECT oid, conname, connamespace, conowner FROM pg_catalog.pg_conversion",
        ))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let conversion = Conversion {
                owner: cat.role(row.oid("conowner")?)?.to_owned(),
                details: None,
            };
            let catalog_id = CatalogId::new(class::PG_CONVERSION, row.oid("oid")?);
            let namespace = cat.namespace(row.oid("connamespace")?)?;
            let id = cat.add(
                catalog_id,
                row.text("conname")?,
                Some(namespace),
                Kind::Conversion(Box::new(conversion)),
            );
            select::object(cat, id);
        }
        Ok(())
    },
};

/// What the conversions look like that are dumped.
pub const DETAILS: Step = Step {
    what: "definitions of conversions",
    query: |cat| {
        let oids = cat.wanted(|kind| matches!(kind, Kind::Conversion(_)));
        (!oids.is_empty()).then(|| {
            Query::new(
                "SELECT oid, pg_catalog.pg_encoding_to_char(conforencoding) AS from,
                        pg_catalog.pg_encoding_to_char(contoencoding) AS to, conproc::text AS conproc, condefault
                 FROM pg_catalog.pg_conversion
                 WHERE oid = ANY ($1)",
            )
            .oids(oids)
        })
    },
    absorb: |cat, rows| {
        for row in &rows {
            let details = Details {
                from: row.text("from")?,
                to: row.text("to")?,
                conproc: row.text("conproc")?,
                condefault: row.bool("condefault")?,
            };
            let id = cat.find(class::PG_CONVERSION, row.oid("oid")?);
            if let Some(Kind::Conversion(it)) = id.and_then(|id| cat.get_mut(id)).map(|object| &mut object.kind) {
                it.details = Some(details);
            }
        }
        Ok(())
    },
};

/// `CREATE CONVERSION`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Conversion) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let details = it
        .details
        .as_ref()
        .with_context(|| format!("conversion {} was not read", object.name))?;
    let name = emit.q.id(&object.name).into_owned();
    if object.wants(Components::DEFINITION) {
        let qualified = emit.qualified(object);
        let mut entry = emit.entry(object, "CONVERSION", Section::PreData);
        entry.owner.clone_from(&it.owner);
        entry.defn = format!(
            "CREATE {}CONVERSION {qualified} FOR {} TO {} FROM {};\n",
            if details.condefault { "DEFAULT " } else { "" },
            emit.q.literal(&details.from),
            emit.q.literal(&details.to),
            details.conproc
        );
        let schema = emit.cat.namespace_name(object.namespace);
        entry.defn += &attachment::extension_member(emit, object, "CONVERSION", &name, schema)?;
        entry.drop_stmt = format!("DROP CONVERSION {qualified};\n");
        emit.push(entry);
    }
    let target = Target {
        kind: "CONVERSION",
        name: &name,
        owner: &it.owner,
    };
    annotate::comment(emit, object, &target);
    Ok(())
}

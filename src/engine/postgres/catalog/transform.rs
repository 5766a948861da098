//! Transforms: how procedural languages see types.

use anyhow::Context as _;

use super::annotate::{self, Target};
use super::emit::Emit;
use super::object::{CatalogId, Components, Object, Oid, class};
use super::{Kind, Step, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::Query;
use crate::error::Result;

/// A transform: how a language sees a type.
#[derive(Debug, Default)]
pub struct Transform {
    /// OID of the type.
    pub trftype: Oid,
    /// Name of the language, quoted.
    pub language: String,
    /// OID of the function that converts for the language; 0: none.
    pub trffromsql: Oid,
    /// OID of the function that converts for SQL; 0: none.
    pub trftosql: Oid,
}

/// All transforms.
pub const READ: Step = Step {
    what: "transforms",
    query: |_| {
        Some(Query::new(
            "SELECT t.oid, t.trftype, l.lanname, t.trffromsql::oid AS trffromsql, t.trftosql::oid AS trftosql
             FROM pg_catalog.pg_transform t JOIN pg_catalog.pg_language l ON l.oid = t.trflang
             ORDER BY t.trftype, t.trflang",
        ))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let transform = Transform {
                trftype: row.oid("trftype")?,
                language: cat.quote().id(&row.text("lanname")?).into_owned(),
                trffromsql: row.oid("trffromsql")?,
                trftosql: row.oid("trftosql")?,
            };
            let name = match cat.object(class::PG_TYPE, transform.trftype) {
                Some(of) => format!("{} {}", of.name, transform.language),
                None => String::new(),
            };
            let catalog_id = CatalogId::new(class::PG_TRANSFORM, row.oid("oid")?);
            let id = cat.add(catalog_id, name, None, Kind::Transform(transform));
            select::object(cat, id);
        }
        Ok(())
    },
};

/// `CREATE TRANSFORM`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Transform) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let name = format!("FOR {} LANGUAGE {}", emit.cat.type_name(it.trftype)?, it.language);
    if object.wants(Components::DEFINITION) {
        let mut functions = Vec::new();
        for (words, oid) in [("FROM SQL", it.trffromsql), ("TO SQL", it.trftosql)] {
            if oid != 0 {
                let function = emit.cat.qualified_function(oid)?;
                let function = function
                    .with_context(|| format!("could not find function definition for function with OID {oid}"))?;
                functions.push(format!("{words} WITH FUNCTION {function}"));
            }
        }
        let mut entry = emit.entry(object, "TRANSFORM", Section::PreData);
        entry.tag = format!("TRANSFORM {name}");
        entry.defn = format!("CREATE TRANSFORM {name} ({});\n", functions.join(", "));
        entry.defn += &attachment::extension_member(emit, object, "TRANSFORM", &name, None)?;
        entry.drop_stmt = format!("DROP TRANSFORM {name};\n");
        entry.dependencies.clone_from(&object.dependencies);
        emit.push(entry);
    }
    let target = Target {
        kind: "TRANSFORM",
        name: &name,
        owner: "",
    };
    annotate::comment(emit, object, &target);
    Ok(())
}

//! Procedural languages.

use super::annotate::{self, Target};
use super::emit::Emit;
use super::object::{Acl, CatalogId, Components, Object, Oid, class};
use super::{Catalog, Kind, Step, acl, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::Query;
use crate::error::Result;

/// A procedural language.
#[derive(Debug, Default)]
pub struct Language {
    /// Name of the owner.
    pub owner: String,
    /// Privileges.
    pub acl: Acl,
    /// `pg_language.lanpltrusted`.
    pub lanpltrusted: bool,
    /// OID of the call handler.
    pub lanplcallfoid: Oid,
    /// OID of the handler of DO blocks; 0: none.
    pub laninline: Oid,
    /// OID of the validator; 0: none.
    pub lanvalidator: Oid,
}

/// All languages but those that are part of the server.
pub const READ: Step = Step {
    what: "languages",
    query: |_| {
        Some(Query::new(format!(
            "SELECT oid, lanname, lanowner, lanpltrusted, lanplcallfoid, laninline, lanvalidator, {acl}
             FROM pg_catalog.pg_language
             WHERE lanispl
             ORDER BY oid",
            acl = acl::columns("oid", "lanacl", "'l'", "lanowner")
        )))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let catalog_id = CatalogId::new(class::PG_LANGUAGE, row.oid("oid")?);
            let language = Language {
                owner: cat.role(row.oid("lanowner")?)?.to_owned(),
                acl: acl::read(cat, row, catalog_id, 0)?,
                lanpltrusted: row.bool("lanpltrusted")?,
                lanplcallfoid: row.oid("lanplcallfoid")?,
                laninline: row.oid("laninline")?,
                lanvalidator: row.oid("lanvalidator")?,
            };
            let has_acl = language.acl.acl.is_some();
            let id = cat.add(
                catalog_id,
                row.text("lanname")?,
                None,
                Kind::Language(Box::new(language)),
            );
            select::language(cat, id);
            annotate::mark_acl(cat, id, has_acl);
        }
        Ok(())
    },
};

/// `CREATE LANGUAGE`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Language) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let name = emit.q.id(&object.name).into_owned();
    if object.wants(Components::DEFINITION) {
        let mut entry = emit.entry(object, "PROCEDURAL LANGUAGE", Section::PreData);
        entry.owner.clone_from(&it.owner);
        entry.defn = definition(emit, &name, it);
        entry.defn += &attachment::extension_member(emit, object, "LANGUAGE", &name, None)?;
        entry.drop_stmt = format!("DROP PROCEDURAL LANGUAGE {name};\n");
        emit.push(entry);
    }
    let target = Target {
        kind: "LANGUAGE",
        name: &name,
        owner: &it.owner,
    };
    annotate::comment(emit, object, &target);
    annotate::security_label(emit, object, &target);
    if it.lanpltrusted {
        annotate::acl(emit, object, &target, &it.acl)?;
    }
    Ok(())
}

fn definition(emit: &Emit, name: &str, it: &Language) -> String {
    let Some(handlers) = handlers(emit, it) else {
        // Without its functions the language must come from where it is installed, and may be there already.
        return format!("CREATE OR REPLACE PROCEDURAL LANGUAGE {name};\n");
    };
    let trusted = if it.lanpltrusted { "TRUSTED " } else { "" };
    format!("CREATE {trusted}PROCEDURAL LANGUAGE {name}{handlers};\n")
}

/// The clauses that name the functions of the language, if all of them are in the dump.
fn handlers(emit: &Emit, it: &Language) -> Option<String> {
    let mut out = format!(" HANDLER {}", dumped_function(emit.cat, it.lanplcallfoid)?);
    for (word, oid) in [("INLINE", it.laninline), ("VALIDATOR", it.lanvalidator)] {
        if oid != 0 {
            out += &format!(" {word} {}", dumped_function(emit.cat, oid)?);
        }
    }
    Some(out)
}

/// The name of a function, if anything of it is dumped at all.
fn dumped_function(cat: &Catalog, oid: Oid) -> Option<String> {
    let function = cat
        .object(class::PG_PROC, oid)
        .filter(|function| !(function.dump & function.components).is_none())?;
    let schema = cat.namespace_name(function.namespace)?;
    Some(cat.quote().qualified(schema, &function.name))
}

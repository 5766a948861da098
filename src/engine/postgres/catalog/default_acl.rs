//! Default privileges: what objects that a role will create shall have.

use super::emit::Emit;
use super::object::{CatalogId, Components, Object};
use super::{Kind, Step, acl, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::Query;
use crate::error::Result;
use anyhow::bail;

/// The default privileges of one role for one type of object, in one schema or everywhere. The object's name
/// is `defaclobjtype`.
#[derive(Debug, Default)]
pub struct DefaultAcl {
    /// The role whose objects get the privileges.
    pub defaclrole: String,
    acl: Vec<String>,
    /// What they are a change of: the server's own defaults, or nothing within a schema, where privileges
    /// can only be added.
    base: Vec<String>,
}

/// All default privileges.
pub const READ: Step = Step {
    what: "default privileges",
    query: |_| {
        Some(Query::new(
            "SELECT tableoid, oid, defaclrole, defaclnamespace, defaclobjtype, \
             defaclacl::pg_catalog.text[] AS acl, CASE WHEN defaclnamespace = 0 THEN \
             pg_catalog.acldefault(CASE WHEN defaclobjtype = 'S' THEN 's'::pg_catalog.\"char\" \
             ELSE defaclobjtype END, defaclrole)::pg_catalog.text[] ELSE '{}' END AS base \
             FROM pg_catalog.pg_default_acl",
        ))
    },
    absorb: |cat, rows| {
        for row in rows {
            let catalog_id = CatalogId::new(row.oid("tableoid")?, row.oid("oid")?);
            let namespace = match row.oid("defaclnamespace")? {
                0 => None,
                oid => Some(cat.namespace(oid)?),
            };
            let kind = Kind::DefaultAcl(DefaultAcl {
                defaclrole: cat.role(row.oid("defaclrole")?)?.to_owned(),
                acl: row.texts("acl")?,
                base: row.texts("base")?,
            });
            let id = cat.add(catalog_id, row.char("defaclobjtype")?, namespace, kind);
            if let Some(object) = cat.get_mut(id) {
                object.components = Components::ACL;
            }
            select::default_acl(cat, id);
        }
        Ok(())
    },
};

/// Writes default privileges.
///
/// # Errors
/// They are for a type of object that this version does not know.
pub fn dump(emit: &mut Emit, object: &Object, it: &DefaultAcl) -> Result<()> {
    let options = &emit.cat.options;
    if !options.dump_schema() || options.no_privileges || !object.wants(Components::ACL) {
        return Ok(());
    }
    let type_ = match object.name.as_str() {
        "r" => "TABLES",
        "S" => "SEQUENCES",
        "f" => "FUNCTIONS",
        "T" => "TYPES",
        "n" => "SCHEMAS",
        "L" => "LARGE OBJECTS",
        other => bail!("unrecognized object type in default privileges: \"{other}\""),
    };
    let mut entry = emit.entry(object, "DEFAULT ACL", Section::PostData);
    entry.tag = format!("DEFAULT PRIVILEGES FOR {type_}");
    entry.owner.clone_from(&it.defaclrole);
    let mut prefix = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {} ", emit.q.id(&it.defaclrole));
    if let Some(schema) = &entry.namespace {
        prefix += &format!("IN SCHEMA {} ", emit.q.id(schema));
    }
    let target = acl::Target {
        type_,
        name: "",
        subname: None,
        namespace: None,
        owner: &it.defaclrole,
        prefix: &prefix,
    };
    entry.defn = acl::commands(emit.q, &it.acl, &it.base, &target)?;
    emit.push(entry);
    Ok(())
}

//! Schemas, and what is special about `public`: every new database has it, so it is never created.

use super::emit::Emit;
use super::object::{Acl, CatalogId, Components, Object, Oid};
use super::{Catalog, Kind, Step, acl, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::Query;
use crate::error::Result;

/// What initdb says of the public schema.
const PUBLIC_COMMENT: &str = "standard public schema";

/// A schema.
#[derive(Debug, Default)]
pub struct Namespace {
    /// OID of the owner.
    pub nspowner: Oid,
    /// Name of the owner.
    pub owner: String,
    /// Whether CREATE SCHEMA is written, which would fail for `public`.
    pub create: bool,
    /// Privileges.
    pub acl: Acl,
}

/// All schemas, the system's too: what is in them asks them whether to be dumped.
pub const READ: Step = Step {
    what: "schemas",
    query: |cat| {
        let acl = acl::columns("n.oid", "n.nspacl", "'n'", "n.nspowner");
        // The join says nothing that is not known, but it gives the rows the order in which 14 numbers them.
        // Its column is asked for, or else the server would see through it.
        let (column, join) = match cat.server.major() {
            14 => (
                ", pip.privtype",
                " LEFT JOIN pg_catalog.pg_init_privs pip ON n.oid = pip.objoid \
                 AND pip.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND pip.objsubid = 0",
            ),
            _ => ("", ""),
        };
        Some(Query::new(format!(
            "SELECT n.tableoid, n.oid, n.nspname, n.nspowner, {acl}{column} FROM pg_catalog.pg_namespace n{join}"
        )))
    },
    absorb: |cat, rows| {
        for row in rows {
            let catalog_id = CatalogId::new(row.oid("tableoid")?, row.oid("oid")?);
            let name = row.text("nspname")?;
            let nspowner = row.oid("nspowner")?;
            let owner = cat.role(nspowner)?.to_owned();
            let mut acl = acl::read(cat, &row, catalog_id, 0)?;
            let mut has_acl = acl.acl.is_some();
            if name == "public" && cat.server.major() >= 15 {
                set_public_privileges(&mut acl, &owner);
                has_acl = true;
            }
            let kind = Kind::Namespace(Box::new(Namespace {
                nspowner,
                owner,
                create: true,
                acl,
            }));
            let id = cat.add(catalog_id, name, None, kind);
            if let (true, Some(object)) = (has_acl, cat.get_mut(id)) {
                object.components |= Components::ACL;
            }
            select::namespace(cat, id);
        }
        Ok(())
    },
};

/// Whose schema `public` is, where that is another role than the one which made the cluster, and pg_dump does not tell: before
/// 15 it takes the owner for given.
#[must_use]
pub fn untold_owner(cat: &Catalog) -> Option<String> {
    if cat.server.major() >= 15 {
        return None;
    }
    let public = cat.objects().find_map(|object| match &object.kind {
        Kind::Namespace(it) if object.name == "public" => Some(it),
        _ => None,
    })?;
    (public.nspowner != BOOTSTRAP_ROLE).then(|| public.owner.clone())
}

/// The role that initdb made, and whose template0's `public` is.
const BOOTSTRAP_ROLE: Oid = 10;

/// What the new database's public schema will have after `ALTER SCHEMA … OWNER`, whatever `pg_init_privs`
/// remembers here: that row is gone once somebody has dropped and made the schema again.
fn set_public_privileges(acl: &mut Acl, owner: &str) {
    let owner = acl::item_user(owner);
    acl.privtype = 'i';
    acl.initprivs = Some(vec![format!("{owner}=UC/{owner}"), format!("=U/{owner}")]);
}

/// Writes a schema.
///
/// # Errors
/// The server sent no proper ACL.
pub fn dump(emit: &mut Emit, object: &Object, it: &Namespace) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let name = emit.q.id(&object.name).into_owned();
    if object.wants(Components::DEFINITION) {
        let mut entry = emit.entry(object, "SCHEMA", Section::PreData);
        entry.owner.clone_from(&it.owner);
        if it.create {
            entry.defn = format!("CREATE SCHEMA {name};\n");
            entry.drop_stmt = format!("DROP SCHEMA {name};\n");
        } else {
            entry.defn = "-- *not* creating schema, since initdb creates it\n".to_owned();
            entry.drop_stmt = "-- *not* dropping schema, since initdb creates it\n".to_owned();
        }
        if emit.cat.options.binary_upgrade {
            entry.defn += &attachment::extension_member(emit, object, "SCHEMA", &name, None)?;
        }
        emit.push(entry);
    }
    if object.wants(Components::COMMENT) {
        dump_comment(emit, object, it, &name);
    }
    if object.wants(Components::SECLABEL) {
        let (id, on) = (object.catalog_id, object.dump_id);
        attachment::security_label(emit, "SCHEMA", &name, None, &it.owner, id, 0, on);
    }
    if object.wants(Components::ACL) {
        let on = object.dump_id;
        attachment::acl(emit, on, None, "SCHEMA", &name, None, None, &it.owner, None, &it.acl)?;
    }
    Ok(())
}

fn dump_comment(emit: &mut Emit, object: &Object, it: &Namespace, name: &str) {
    let cat = emit.cat;
    let text = cat.attachments.comment_of(object.catalog_id, 0);
    // The new public schema comes with a comment: the same one is not repeated, a missing one is taken away.
    let text = match text {
        // pg_dump looks at the quoted name, so --quote-all-identifiers hides the schema from it.
        _ if it.create || name != "public" => text,
        Some(PUBLIC_COMMENT) => None,
        other => Some(other.unwrap_or_default()),
    };
    if let Some(text) = text {
        attachment::comment_text(emit, "SCHEMA", name, None, &it.owner, text, object.dump_id);
    }
}

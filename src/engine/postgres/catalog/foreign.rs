//! Foreign data wrappers, foreign servers and user mappings.

use super::emit::Emit;
use super::object::{Acl, CatalogId, Components, Object, class};
use super::{Catalog, Kind, Step, acl, attachment, select};
use crate::archive::toc::{Entry, Section};
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;

/// A foreign data wrapper.
#[derive(Debug, Default)]
pub struct ForeignDataWrapper {
    owner: String,
    /// Name of the handler function; `-` for none.
    handler: String,
    /// Name of the validator function; `-` for none.
    validator: String,
    options: String,
    acl: Acl,
}

/// A foreign server.
#[derive(Debug, Default)]
pub struct ForeignServer {
    owner: String,
    /// Name of the wrapper.
    wrapper: String,
    type_: Option<String>,
    version: Option<String>,
    options: String,
    acl: Acl,
    user_mappings: Vec<UserMapping>,
}

#[derive(Debug)]
struct UserMapping {
    /// `public` for all users.
    user: String,
    options: String,
}

/// SQL for the options in the array `column`, as they stand in a statement, ordered by name.
#[must_use]
pub fn options(column: &str) -> String {
    format!(
        "pg_catalog.array_to_string(ARRAY(SELECT pg_catalog.quote_ident(option_name) || ' ' || \
         pg_catalog.quote_literal(option_value) FROM pg_catalog.pg_options_to_table({column}) \
         ORDER BY option_name), E',\\n    ')"
    )
}

/// All foreign data wrappers.
pub const WRAPPERS: Step = Step {
    what: "foreign-data wrappers",
    query: |_| {
        Some(Query::new(format!(
            "SELECT tableoid, oid, fdwname, fdwowner, fdwhandler::pg_catalog.regproc::pg_catalog.text AS handler, \
             fdwvalidator::pg_catalog.regproc::pg_catalog.text AS validator, {}, {} AS options \
             FROM pg_catalog.pg_foreign_data_wrapper",
            acl::columns("oid", "fdwacl", "'F'", "fdwowner"),
            options("fdwoptions")
        )))
    },
    absorb: |cat, rows| {
        for row in rows {
            let catalog_id = CatalogId::new(row.oid("tableoid")?, row.oid("oid")?);
            let acl = acl::read(cat, &row, catalog_id, 0)?;
            let wrapper = ForeignDataWrapper {
                owner: cat.role(row.oid("fdwowner")?)?.to_owned(),
                handler: row.text("handler")?,
                validator: row.text("validator")?,
                options: row.text("options")?,
                acl,
            };
            let has_acl = wrapper.acl.acl.is_some();
            add(
                cat,
                catalog_id,
                row.text("fdwname")?,
                Kind::ForeignDataWrapper(Box::new(wrapper)),
                has_acl,
            );
        }
        Ok(())
    },
};

/// All foreign servers.
pub const SERVERS: Step = Step {
    what: "foreign servers",
    query: |_| {
        Some(Query::new(format!(
            "SELECT tableoid, oid, srvname, srvowner, srvtype, srvversion, (SELECT w.fdwname \
             FROM pg_catalog.pg_foreign_data_wrapper w WHERE w.oid = srvfdw) AS wrapper, {}, {} AS options \
             FROM pg_catalog.pg_foreign_server",
            acl::columns("oid", "srvacl", "'S'", "srvowner"),
            options("srvoptions")
        )))
    },
    absorb: |cat, rows| {
        for row in rows {
            let catalog_id = CatalogId::new(row.oid("tableoid")?, row.oid("oid")?);
            let server = read_server(cat, &row, catalog_id)?;
            let has_acl = server.acl.acl.is_some();
            let id = add(
                cat,
                catalog_id,
                row.text("srvname")?,
                Kind::ForeignServer(Box::new(server)),
                has_acl,
            );
            if let Some(object) = cat.get_mut(id) {
                object.components |= Components::USERMAP;
            }
        }
        Ok(())
    },
};

fn read_server(cat: &Catalog, row: &Row, catalog_id: CatalogId) -> Result<ForeignServer> {
    Ok(ForeignServer {
        owner: cat.role(row.oid("srvowner")?)?.to_owned(),
        wrapper: row.text("wrapper")?,
        type_: row.opt_text("srvtype")?,
        version: row.opt_text("srvversion")?,
        options: row.text("options")?,
        acl: acl::read(cat, row, catalog_id, 0)?,
        user_mappings: Vec::new(),
    })
}

fn add(cat: &mut Catalog, catalog_id: CatalogId, name: String, kind: Kind, has_acl: bool) -> i32 {
    let id = cat.add(catalog_id, name, None, kind);
    if let (true, Some(object)) = (has_acl, cat.get_mut(id)) {
        object.components |= Components::ACL;
    }
    select::object(cat, id);
    id
}

/// The user mappings of the wanted servers. The view hides the options from those who may not see them, so
/// anybody can read it.
pub const USER_MAPPINGS: Step = Step {
    what: "user mappings",
    query: |cat| {
        let wanted: Vec<_> = cat
            .objects()
            .filter(|it| matches!(it.kind, Kind::ForeignServer(_)) && it.wants(Components::USERMAP))
            .map(|it| it.catalog_id.oid)
            .collect();
        let sql = format!(
            "SELECT srvid, usename, {} AS options FROM pg_catalog.pg_user_mappings \
             WHERE srvid = ANY ($1) ORDER BY srvid, usename",
            options("umoptions")
        );
        (!wanted.is_empty()).then(|| Query::new(sql).oids(wanted))
    },
    absorb: |cat, rows| {
        for row in rows {
            let mapping = UserMapping {
                user: row.text("usename")?,
                options: row.text("options")?,
            };
            let server = cat.find(class::PG_FOREIGN_SERVER, row.oid("srvid")?);
            if let Some(object) = server.and_then(|id| cat.get_mut(id))
                && let Kind::ForeignServer(server) = &mut object.kind
            {
                server.user_mappings.push(mapping);
            }
        }
        Ok(())
    },
};

/// ` OPTIONS (…)`, or nothing.
fn options_clause(options: &str) -> String {
    match options {
        "" => String::new(),
        _ => format!(" OPTIONS (\n    {options}\n)"),
    }
}

/// Writes a foreign data wrapper.
///
/// # Errors
/// The server sent no proper ACL.
pub fn dump_wrapper(emit: &mut Emit, object: &Object, it: &ForeignDataWrapper) -> Result<()> {
    let mut defn = format!("CREATE FOREIGN DATA WRAPPER {}", emit.q.id(&object.name));
    for (word, function) in [("HANDLER", &it.handler), ("VALIDATOR", &it.validator)] {
        if function != "-" {
            defn += &format!(" {word} {function}");
        }
    }
    defn += &options_clause(&it.options);
    dump(
        emit,
        object,
        "FOREIGN DATA WRAPPER",
        "FOREIGN DATA WRAPPER",
        &it.owner,
        defn,
        &it.acl,
    )
}

/// Writes a foreign server and its user mappings.
///
/// # Errors
/// The server sent no proper ACL.
pub fn dump_server(emit: &mut Emit, object: &Object, it: &ForeignServer) -> Result<()> {
    let mut defn = format!("CREATE SERVER {}", emit.q.id(&object.name));
    for (word, text) in [("TYPE", &it.type_), ("VERSION", &it.version)] {
        if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
            defn += &format!(" {word} {}", emit.q.literal(text));
        }
    }
    defn += &format!(" FOREIGN DATA WRAPPER {}", emit.q.id(&it.wrapper));
    defn += &options_clause(&it.options);
    dump(emit, object, "SERVER", "FOREIGN SERVER", &it.owner, defn, &it.acl)?;
    if object.wants(Components::USERMAP) && emit.cat.options.dump_schema() {
        for mapping in &it.user_mappings {
            let entry = user_mapping_entry(emit, &object.name, &it.owner, mapping);
            emit.push(entry);
        }
    }
    Ok(())
}

fn user_mapping_entry(emit: &mut Emit, server: &str, owner: &str, mapping: &UserMapping) -> Entry {
    let target = format!(
        "USER MAPPING FOR {} SERVER {}",
        emit.q.id(&mapping.user),
        emit.q.id(server)
    );
    let tag = format!("USER MAPPING {} SERVER {server}", mapping.user);
    let mut entry = Entry::new(emit.new_dump_id(), "USER MAPPING", tag, Section::PreData);
    owner.clone_into(&mut entry.owner);
    entry.defn = format!("CREATE {target}{};\n", options_clause(&mapping.options));
    entry.drop_stmt = format!("DROP {target};\n");
    entry
}

/// What the two have in common; `granted` is what GRANT calls it.
fn dump(
    emit: &mut Emit,
    object: &Object,
    desc: &str,
    granted: &str,
    owner: &str,
    defn: String,
    acl: &Acl,
) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let name = emit.q.id(&object.name).into_owned();
    let on = object.dump_id;
    if object.wants(Components::DEFINITION) {
        let mut entry = emit.entry(object, desc, Section::PreData);
        owner.clone_into(&mut entry.owner);
        entry.defn = defn + ";\n";
        entry.drop_stmt = format!("DROP {desc} {name};\n");
        if emit.cat.options.binary_upgrade {
            entry.defn += &attachment::extension_member(emit, object, desc, &name, None)?;
        }
        emit.push(entry);
    }
    if object.wants(Components::COMMENT) {
        attachment::comment(emit, desc, &name, None, owner, object.catalog_id, 0, on);
    }
    if object.wants(Components::ACL) {
        attachment::acl(emit, on, None, granted, &name, None, None, owner, None, acl)?;
    }
    Ok(())
}

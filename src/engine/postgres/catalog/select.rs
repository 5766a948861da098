//! What is dumped of each object: the selection rules of pg_dump, type by type.
//!
//! Each rule is called once, right when its object was absorbed, so schemas and extensions must be there
//! before what is in them.

use std::collections::HashSet;

use super::object::{Components, DumpId, Oid, class};
use super::{Catalog, Kind};

/// Objects up to this OID were made by initdb.
pub const LAST_BUILTIN_OID: Oid = 16_383;

/// Owner of `public` in databases since 15.
const PG_DATABASE_OWNER: Oid = 6_171;

/// The patterns of the options, expanded to OIDs; see [`super::pattern`].
#[derive(Debug, Default)]
pub struct Selection {
    /// `--schema`.
    pub include_schemas: HashSet<Oid>,
    /// `--exclude-schema`.
    pub exclude_schemas: HashSet<Oid>,
    /// `--table`, with the children of `--table-and-children`.
    pub include_tables: HashSet<Oid>,
    /// `--exclude-table`, likewise.
    pub exclude_tables: HashSet<Oid>,
    /// `--exclude-table-data`, likewise.
    pub exclude_table_data: HashSet<Oid>,
    /// `--extension`.
    pub include_extensions: HashSet<Oid>,
    /// `--exclude-extension`.
    pub exclude_extensions: HashSet<Oid>,
    /// `--include-foreign-data`.
    pub include_foreign_servers: HashSet<Oid>,
}

fn all_if(condition: bool) -> Components {
    if condition { Components::ALL } else { Components::NONE }
}

/// Whether nothing but exclusions narrows the dump (pg_dump's `include_everything`).
#[must_use]
pub fn everything(cat: &Catalog) -> bool {
    let options = &cat.options;
    options.include_schemas.is_empty()
        && options.include_tables.is_empty()
        && options.include_tables_and_children.is_empty()
        && !options.extensions_alone
}

fn set(cat: &mut Catalog, id: DumpId, dump: Components) {
    if let Some(object) = cat.get_mut(id) {
        object.dump = dump;
    }
}

/// What the schema of an object says of its contents; `None` for an object in no schema.
fn schema_contents(cat: &Catalog, id: DumpId) -> Option<Components> {
    let namespace = cat.get(id)?.namespace?;
    Some(cat.get(namespace)?.dump_contains)
}

/// Whether the object belongs to an extension, which then decides (pg_dump's `checkExtensionMembership`).
///
/// Members are made by CREATE EXTENSION; of theirs only privileges are dumped, as far as they differ from
/// what the extension's script gave.
pub fn extension_membership(cat: &mut Catalog, id: DumpId) -> bool {
    let Some(member) = cat.get(id) else { return false };
    let Some(&extension_id) = cat.extension_members.get(&member.catalog_id) else {
        return false;
    };
    let Some(extension) = cat.get(extension_id) else {
        return false;
    };
    let dump = if cat.options.binary_upgrade {
        extension.dump
    } else {
        extension.dump_contains & Components::ACL
    };
    cat.add_dependency(id, extension_id);
    if let Some(member) = cat.get_mut(id) {
        member.ext_member = true;
        member.dump = dump;
    }
    true
}

/// An object without a rule of its own: as its schema, or with everything.
pub fn object(cat: &mut Catalog, id: DumpId) {
    if extension_membership(cat, id) {
        return;
    }
    let dump = schema_contents(cat, id).unwrap_or_else(|| all_if(everything(cat)));
    set(cat, id, dump);
}

/// A schema, and what is in it.
pub fn namespace(cat: &mut Catalog, id: DumpId) {
    let Some(object) = cat.get(id) else { return };
    let Kind::Namespace(schema) = &object.kind else { return };
    let (name, oid, owner) = (object.name.as_str(), object.catalog_id.oid, schema.nspowner);
    let selection = &cat.selection;
    let mut create = true;
    let mut dump;
    let mut contains;
    if !selection.include_tables.is_empty() {
        dump = Components::NONE;
        contains = dump;
    } else if !selection.include_schemas.is_empty() {
        dump = all_if(selection.include_schemas.contains(&oid));
        contains = dump;
    } else if name == "pg_catalog" {
        // Changed privileges of system objects are the user's work.
        dump = Components::ACL;
        contains = dump;
    } else if name.starts_with("pg_") || name == "information_schema" {
        dump = Components::NONE;
        contains = dump;
    } else if name == "public" {
        create = false;
        contains = Components::ALL;
        dump = match cat.server.major() {
            14 => Components::ACL,
            _ if owner == PG_DATABASE_OWNER => Components::ALL & !Components::DEFINITION,
            _ => Components::ALL,
        };
    } else {
        dump = Components::ALL;
        contains = dump;
    }
    if selection.exclude_schemas.contains(&oid) {
        dump = Components::NONE;
        contains = dump;
    }
    if let Some(object) = cat.get_mut(id) {
        object.dump = dump;
        object.dump_contains = contains;
        if !create {
            // Also a comment that was taken away is written.
            object.components |= Components::COMMENT;
        }
        if let Kind::Namespace(schema) = &mut object.kind {
            schema.create = create;
        }
    }
    // Membership decides on the schema itself, not on what is in it.
    extension_membership(cat, id);
}

/// A table, view, sequence or other relation.
pub fn table(cat: &mut Catalog, id: DumpId) {
    if extension_membership(cat, id) {
        return;
    }
    let Some(oid) = cat.get(id).map(|object| object.catalog_id.oid) else {
        return;
    };
    let selection = &cat.selection;
    let mut dump = if selection.include_tables.is_empty() {
        schema_contents(cat, id).unwrap_or_default()
    } else {
        all_if(selection.include_tables.contains(&oid))
    };
    if selection.exclude_tables.contains(&oid) {
        dump = Components::NONE;
    }
    set(cat, id, dump);
}

/// A type that is not the row type of a table: with its schema.
pub fn type_(cat: &mut Catalog, id: DumpId) {
    if !extension_membership(cat, id) {
        let dump = schema_contents(cat, id).unwrap_or_default();
        set(cat, id, dump);
    }
}

/// The row type of a table (`typrelid`): as the table.
pub fn row_type(cat: &mut Catalog, id: DumpId, typrelid: Oid) {
    let table = cat.object(class::PG_CLASS, typrelid).map(|table| table.dump);
    set(cat, id, table.unwrap_or_default());
}

/// A default ACL: with its schema, or with everything.
pub fn default_acl(cat: &mut Catalog, id: DumpId) {
    let dump = schema_contents(cat, id).unwrap_or_else(|| all_if(everything(cat)));
    set(cat, id, dump);
}

/// What lives in no schema and is told from the system's own by its OID.
fn global(cat: &mut Catalog, id: DumpId, builtin: Components) {
    if extension_membership(cat, id) {
        return;
    }
    let Some(oid) = cat.get(id).map(|object| object.catalog_id.oid) else {
        return;
    };
    let dump = match everything(cat) {
        true if oid <= LAST_BUILTIN_OID => builtin,
        all => all_if(all),
    };
    set(cat, id, dump);
}

/// A cast.
pub fn cast(cat: &mut Catalog, id: DumpId) {
    global(cat, id, Components::NONE);
}

/// A procedural language; privileges of those that initdb made are the user's work.
pub fn language(cat: &mut Catalog, id: DumpId) {
    global(cat, id, Components::ACL);
}

/// An access method.
pub fn access_method(cat: &mut Catalog, id: DumpId) {
    global(cat, id, Components::NONE);
}

/// An extension, and its members.
pub fn extension(cat: &mut Catalog, id: DumpId) {
    let Some(oid) = cat.get(id).map(|object| object.catalog_id.oid) else {
        return;
    };
    let selection = &cat.selection;
    let mut dump = if oid <= LAST_BUILTIN_OID {
        Components::ACL
    } else if !selection.include_extensions.is_empty() {
        all_if(selection.include_extensions.contains(&oid))
    } else {
        all_if(everything(cat))
    };
    if oid > LAST_BUILTIN_OID && selection.exclude_extensions.contains(&oid) {
        dump = Components::NONE;
    }
    if let Some(object) = cat.get_mut(id) {
        object.dump = dump;
        object.dump_contains = dump;
    }
}

/// A publication, or a table or schema of one: only in a dump of everything.
pub fn publication(cat: &mut Catalog, id: DumpId) {
    if !extension_membership(cat, id) {
        let dump = all_if(everything(cat));
        set(cat, id, dump);
    }
}

/// An extended statistics object: with its schema, if the definition of its table is dumped.
pub fn statistics(cat: &mut Catalog, id: DumpId, table: Option<DumpId>) {
    if extension_membership(cat, id) {
        return;
    }
    let with_table = table
        .and_then(|table| cat.get(table))
        .is_some_and(|table| table.wants(Components::DEFINITION));
    let contents = schema_contents(cat, id).unwrap_or_default();
    set(cat, id, if with_table { contents } else { Components::NONE });
}

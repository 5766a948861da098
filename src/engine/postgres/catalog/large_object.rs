//! Large objects: their owners, privileges and comments, and the entries that carry their contents.
//!
//! Up to 16 each one is an entry of its own before the data, and all contents are one more. Since 17 those
//! with the same owner and privileges share two entries in the data section, a thousand at most.

use super::emit::Emit;
use super::object::{Acl, CatalogId, Components, DumpId, Object, Oid, class};
use super::{Catalog, Kind, Step, acl, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::Query;
use crate::error::Result;

/// How many large objects share an entry since 17 (pg_dump's `MAX_BLOBS_PER_ARCHIVE_ENTRY`).
const PER_ENTRY: usize = 1000;

/// One large object, or since 17 a group of them.
#[derive(Debug, Default)]
pub struct LargeObject {
    /// Name of the owner.
    pub owner: String,
    acl: Acl,
    /// Their OIDs, in order.
    pub oids: Vec<Oid>,
}

/// Whether large objects are dumped (pg_dump's `outputLOs`).
fn wanted(cat: &Catalog) -> bool {
    let options = &cat.options;
    let by_default = select::everything(cat) && options.dump_data();
    options.large_objects.unwrap_or(by_default) || options.binary_upgrade
}

/// All large objects.
pub const READ: Step = Step {
    what: "large objects",
    query: |cat| {
        // The order is that of pg_dump, which needs equal owners and ACLs side by side.
        let order = match cat.server.major() {
            17.. => " ORDER BY lomowner, lomacl::pg_catalog.text, oid",
            _ => "",
        };
        let acl = acl::columns("oid", "lomacl", "'L'", "lomowner");
        let sql = format!("SELECT oid, lomowner, {acl} FROM pg_catalog.pg_largeobject_metadata{order}");
        wanted(cat).then(|| Query::new(sql))
    },
    absorb: |cat, rows| {
        let mut found: Vec<LargeObject> = Vec::new();
        for row in rows {
            let oid = row.oid("oid")?;
            let owner = cat.role(row.oid("lomowner")?)?.to_owned();
            // Initial privileges are unknown to large objects.
            let acl = Acl {
                acl: row.texts_or_null("acl")?,
                acldefault: row.texts("acldefault")?,
                ..Acl::default()
            };
            match found.last_mut() {
                Some(last)
                    if cat.server.major() >= 17
                        && last.oids.len() < PER_ENTRY
                        && last.owner == owner
                        && last.acl.acl == acl.acl =>
                {
                    last.oids.push(oid);
                }
                _ => found.push(LargeObject {
                    owner,
                    acl,
                    oids: vec![oid],
                }),
            }
        }
        add_all(cat, found);
        Ok(())
    },
};

fn add_all(cat: &mut Catalog, found: Vec<LargeObject>) {
    let grouped = cat.server.major() >= 17;
    let any = !found.is_empty();
    for group in found {
        let name = name_of(&group.oids);
        let id = add(cat, &name, group);
        if grouped {
            let data = add_data(cat, &name);
            cat.add_dependency(data, id);
        }
    }
    if any && !grouped {
        add_data(cat, "BLOBS");
    }
}

fn name_of(oids: &[Oid]) -> String {
    match oids {
        [first, .., last] => format!("{first}..{last}"),
        _ => oids.iter().map(ToString::to_string).collect(),
    }
}

fn add(cat: &mut Catalog, name: &str, group: LargeObject) -> DumpId {
    let first = group.oids.first().copied().unwrap_or_default();
    let mut components = Components::DEFINITION | Components::DATA;
    if group.acl.acl.is_some() {
        components |= Components::ACL;
    }
    for oid in &group.oids {
        components |= cat
            .attachments
            .components_of(CatalogId::new(class::PG_LARGEOBJECT, *oid));
    }
    let catalog_id = CatalogId::new(class::PG_LARGEOBJECT, first);
    let id = cat.add(catalog_id, name, None, Kind::LargeObject(Box::new(group)));
    let upgrade = cat.options.binary_upgrade;
    if let Some(object) = cat.get_mut(id) {
        object.components = components;
        if upgrade {
            // pg_upgrade copies the contents itself.
            object.dump &= !Components::DATA;
        }
    }
    id
}

fn add_data(cat: &mut Catalog, name: &str) -> DumpId {
    let id = cat.add(CatalogId::default(), name, None, Kind::LargeObjectData);
    if let Some(object) = cat.get_mut(id) {
        object.components |= Components::DATA;
    }
    id
}

/// The large objects whose contents belong to the entry of `object` (a [`Kind::LargeObjectData`]).
#[must_use]
pub fn data_oids(cat: &Catalog, object: &Object) -> Vec<Oid> {
    let group = object.dependencies.iter().find_map(|id| match &cat.get(*id)?.kind {
        Kind::LargeObject(group) => Some(group.oids.clone()),
        _ => None,
    });
    if let (Some(oids), 17..) = (group, cat.server.major()) {
        return oids;
    }
    let mut all: Vec<Oid> = cat
        .objects()
        .filter_map(|object| match &object.kind {
            Kind::LargeObject(it) => Some(it.oids.iter().copied()),
            _ => None,
        })
        .flatten()
        .collect();
    all.sort_unstable();
    all
}

/// Writes a large object without its contents, or since 17 a group of them.
///
/// # Errors
/// The server sent no proper ACL.
pub fn dump(emit: &mut Emit, object: &Object, it: &LargeObject) -> Result<()> {
    if object.wants(Components::DEFINITION) {
        let entry = match emit.cat.server.major() {
            17.. => {
                let mut entry = emit.entry(object, "BLOB METADATA", Section::Data);
                // The reader makes the statements; the text to drop must only not be empty.
                entry.defn = it.oids.iter().map(|oid| format!("{oid}\n")).collect();
                "-- dummy".clone_into(&mut entry.drop_stmt);
                entry
            }
            _ => {
                let mut entry = emit.entry(object, "BLOB", Section::PreData);
                entry.defn = format!("SELECT pg_catalog.lo_create('{}');\n", object.name);
                entry.drop_stmt = format!("SELECT pg_catalog.lo_unlink('{}');\n", object.name);
                entry
            }
        };
        emit.push(crate::archive::toc::Entry {
            owner: it.owner.clone(),
            ..entry
        });
    }
    let on = object.dump_id;
    for oid in &it.oids {
        let (name, id) = (oid.to_string(), CatalogId::new(class::PG_LARGEOBJECT, *oid));
        if object.wants(Components::COMMENT) {
            attachment::comment(emit, "LARGE OBJECT", &name, None, &it.owner, id, 0, on);
        }
        if object.wants(Components::SECLABEL) {
            attachment::security_label(emit, "LARGE OBJECT", &name, None, &it.owner, id, 0, on);
        }
    }
    if object.wants(Components::ACL)
        && let Some(first) = it.oids.first()
    {
        let name = first.to_string();
        // Of a group, only the statements for the first are written; the tag has the reader repeat them.
        let tag = (it.oids.len() > 1).then(|| format!("LARGE OBJECTS {}", object.name));
        let tag = tag.as_deref();
        attachment::acl(
            emit,
            on,
            None,
            "LARGE OBJECT",
            &name,
            None,
            None,
            &it.owner,
            tag,
            &it.acl,
        )?;
    }
    Ok(())
}

/// Writes the entry that carries contents.
///
/// # Errors
/// None today.
pub fn dump_data(emit: &mut Emit, object: &Object) -> Result<()> {
    if !object.wants(Components::DATA) {
        return Ok(());
    }
    let cat = emit.cat;
    let mut entry = emit.entry(object, "BLOBS", Section::Data);
    entry.has_data = true;
    if cat.server.major() >= 17 {
        entry.dependencies.clone_from(&object.dependencies);
        for id in &object.dependencies {
            if let Some(Kind::LargeObject(group)) = cat.get(*id).map(|it| &it.kind) {
                entry.owner.clone_from(&group.owner);
            }
        }
    }
    emit.push(entry);
    Ok(())
}

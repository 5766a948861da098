//! Extensions: made by one statement, which makes their members; only their configuration tables have rows
//! that are the user's.

use super::emit::Emit;
use super::object::{CatalogId, Components, DumpId, Object, Oid, class};
use super::{Catalog, Kind, Step, attachment, select, table_data};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::Query;
use crate::error::Result;

/// An extension.
#[derive(Debug, Default)]
pub struct Extension {
    /// Schema that its members are in.
    pub namespace: String,
    /// Whether that schema can change.
    pub relocatable: bool,
    /// Installed version.
    pub extversion: String,
    /// Configuration tables, each with its WHERE clause (empty: all rows).
    pub configuration: Vec<(Oid, String)>,
    /// OIDs of configuration tables as the catalog has them.
    pub extconfig: Vec<Oid>,
    /// Their conditions as the catalog has them.
    pub extcondition: Vec<String>,
}

/// All extensions.
pub const READ: Step = Step {
    what: "extensions",
    query: |_| {
        Some(Query::new(
            "SELECT x.tableoid, x.oid, x.extname, n.nspname, x.extrelocatable, x.extversion, x.extconfig, \
             x.extcondition FROM pg_catalog.pg_extension x JOIN pg_catalog.pg_namespace n ON n.oid = x.extnamespace",
        ))
    },
    absorb: |cat, rows| {
        for row in rows {
            let id = CatalogId::new(row.oid("tableoid")?, row.oid("oid")?);
            let (extconfig, extcondition) = (row.oids("extconfig")?, row.texts("extcondition")?);
            // Lists of different lengths are nonsense that CREATE EXTENSION would not have left.
            let configuration = match extconfig.len() == extcondition.len() {
                true => extconfig.iter().copied().zip(extcondition.iter().cloned()).collect(),
                false => Vec::new(),
            };
            let kind = Kind::Extension(Box::new(Extension {
                namespace: row.text("nspname")?,
                relocatable: row.bool("extrelocatable")?,
                extversion: row.text("extversion")?,
                configuration,
                extconfig,
                extcondition,
            }));
            let id = cat.add(id, row.text("extname")?, None, kind);
            select::extension(cat, id);
        }
        Ok(())
    },
};

/// Which objects the extensions made.
pub const MEMBERS: Step = Step {
    what: "extension members",
    query: |_| {
        Some(Query::new(
            "SELECT classid, objid, refobjid FROM pg_catalog.pg_depend \
             WHERE refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND deptype = 'e' ORDER BY 3",
        ))
    },
    absorb: |cat, rows| {
        for row in rows {
            if let Some(extension) = cat.find(class::PG_EXTENSION, row.oid("refobjid")?) {
                let member = CatalogId::new(row.oid("classid")?, row.oid("objid")?);
                cat.extension_members.insert(member, extension);
            }
        }
        Ok(())
    },
};

/// Takes up the rows of configuration tables, and sees that what a foreign key names is loaded first: the
/// keys of members are already in place when their rows come.
pub const CONFIGURATION_TABLES: Step = Step {
    what: "configuration tables",
    query: |_| {
        Some(Query::new(
            "SELECT conrelid, confrelid FROM pg_catalog.pg_constraint \
             JOIN pg_catalog.pg_depend ON objid = confrelid WHERE contype = 'f' \
             AND refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
             AND classid = 'pg_catalog.pg_class'::pg_catalog.regclass",
        ))
    },
    absorb: |cat, rows| {
        for (table, condition) in wanted_configuration(cat) {
            let condition = (!condition.is_empty()).then_some(condition);
            table_data::add(cat, table, condition);
        }
        for row in rows {
            let rows_of = |oid| cat.table(cat.table_id(oid)?)?.data;
            let (from, to) = (rows_of(row.oid("conrelid")?), rows_of(row.oid("confrelid")?));
            if let (Some(from), Some(to)) = (from, to) {
                cat.add_dependency(from, to);
            }
        }
        Ok(())
    },
};

/// The configuration tables whose rows are dumped, with their conditions.
fn wanted_configuration(cat: &Catalog) -> Vec<(DumpId, String)> {
    let mut wanted = Vec::new();
    for object in cat.objects() {
        let Kind::Extension(extension) = &object.kind else {
            continue;
        };
        // --extension and --exclude-extension have the last word, whatever tables are asked for.
        let (oid, selection) = (object.catalog_id.oid, &cat.selection);
        let unlisted = !selection.include_extensions.is_empty() && !selection.include_extensions.contains(&oid);
        if unlisted || selection.exclude_extensions.contains(&oid) {
            continue;
        }
        for (oid, condition) in &extension.configuration {
            let Some(table) = cat.table_id(*oid) else { continue };
            let schema = cat.get(table).and_then(|it| cat.get(it.namespace?));
            // Without its extension, only a table that was asked for, or whose schema was.
            let asked = object.wants(Components::DEFINITION)
                || selection.include_tables.contains(oid)
                || schema.is_some_and(|schema| schema.wants(Components::DATA));
            let excluded = selection.exclude_tables.contains(oid)
                || schema.is_some_and(|schema| selection.exclude_schemas.contains(&schema.catalog_id.oid));
            if asked && !excluded {
                wanted.push((table, condition.clone()));
            }
        }
    }
    wanted
}

/// Writes an extension.
///
/// # Errors
/// None today.
pub fn dump(emit: &mut Emit, object: &Object, it: &Extension) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let name = emit.q.id(&object.name).into_owned();
    if object.wants(Components::DEFINITION) {
        let mut entry = emit.entry(object, "EXTENSION", Section::PreData);
        entry.defn = if emit.cat.options.binary_upgrade {
            upgrade_definition(emit, object, it)
        } else {
            // No version: the restore takes what the new server offers.
            let schema = emit.q.id(&it.namespace);
            format!("CREATE EXTENSION IF NOT EXISTS {name} WITH SCHEMA {schema};\n")
        };
        entry.drop_stmt = format!("DROP EXTENSION {name};\n");
        emit.push(entry);
    }
    let (id, on) = (object.catalog_id, object.dump_id);
    if object.wants(Components::COMMENT) {
        attachment::comment(emit, "EXTENSION", &name, None, "", id, 0, on);
    }
    if object.wants(Components::SECLABEL) {
        attachment::security_label(emit, "EXTENSION", &name, None, "", id, 0, on);
    }
    Ok(())
}

/// `--binary-upgrade`: an extension without members, as they are dumped one by one; the configuration tables
/// keep their OIDs there.
fn upgrade_definition(emit: &Emit, object: &Object, it: &Extension) -> String {
    let q = emit.q;
    let required: Vec<String> = object
        .dependencies
        .iter()
        .filter_map(|id| emit.cat.get(*id))
        .filter(|other| matches!(other.kind, Kind::Extension(_)))
        .map(|other| q.literal(&other.name))
        .collect();
    let array = |items: Vec<String>, what: &str| match items.is_empty() {
        true => "NULL".to_owned(),
        false => q.literal(&format!("{{{}}}", items.join(what))),
    };
    let config = array(it.extconfig.iter().map(ToString::to_string).collect(), ",");
    let condition = array(it.extcondition.iter().map(|text| array_element(text)).collect(), ",");
    format!(
        "-- For binary upgrade, create an empty extension and insert objects into it\n\
         DROP EXTENSION IF EXISTS {name};\n\
         SELECT pg_catalog.binary_upgrade_create_empty_extension({literal}, {schema}, {relocatable}, {version}, \
         {config}, {condition}, ARRAY[{required}]::pg_catalog.text[]);\n",
        name = q.id(&object.name),
        literal = q.literal(&object.name),
        schema = q.literal(&it.namespace),
        relocatable = it.relocatable,
        version = q.literal(&it.extversion),
        required = required.join(","),
    )
}

/// A text as `text[]`'s output function writes it inside of an array.
fn array_element(text: &str) -> String {
    let plain = !text.is_empty()
        && !text.eq_ignore_ascii_case("null")
        && !text.contains(|c: char| c.is_ascii_whitespace() || "{}\",\\\u{b}".contains(c));
    if plain {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

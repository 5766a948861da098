//! Event triggers.

use super::emit::Emit;
use super::object::{CatalogId, Components, Object, Oid};
use super::{Catalog, Kind, Query, Row, Step, attachment, select, trigger};
use crate::archive::toc::Section;
use crate::error::Result;

/// OID of `pg_event_trigger`.
const PG_EVENT_TRIGGER: Oid = 3466;

/// An event trigger.
#[derive(Debug, Default)]
pub struct EventTrigger {
    /// Owner.
    pub owner: String,
    /// The event, for example `ddl_command_start`.
    pub evtevent: String,
    /// The tags that it is limited to, as quoted literals with commas; empty for all.
    pub evttags: String,
    /// The function, qualified and quoted.
    pub evtfname: String,
    /// `O` origin, `D` disabled, `R` replica, `A` always.
    pub evtenabled: char,
}

/// All event triggers.
pub const READ: Step = Step {
    what: "event triggers",
    query: |_| {
        Some(Query::new(
            "SELECT e.oid, evtname, evtenabled, evtevent, evtowner,
                    array_to_string(ARRAY(SELECT quote_literal(x) FROM unnest(evttags) AS t(x)), ', ') AS evttags,
                    e.evtfoid::regproc::text AS evtfname
             FROM pg_catalog.pg_event_trigger e
             ORDER BY e.oid",
        ))
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let it = EventTrigger {
        owner: cat.role(row.oid("evtowner")?)?.to_owned(),
        evtevent: row.text("evtevent")?,
        evttags: row.text("evttags")?,
        evtfname: row.text("evtfname")?,
        evtenabled: row.char("evtenabled")?,
    };
    let catalog_id = CatalogId::new(PG_EVENT_TRIGGER, row.oid("oid")?);
    let id = cat.add(catalog_id, row.text("evtname")?, None, Kind::EventTrigger(Box::new(it)));
    select::object(cat, id);
    Ok(())
}

/// Writes an event trigger with its comment and labels.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &EventTrigger) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let name = emit.q.id(&object.name).into_owned();
    if object.wants(Components::DEFINITION) {
        let mut entry = emit.entry(object, "EVENT TRIGGER", Section::PostData);
        entry.defn = definition(emit, it, &name);
        if emit.cat.options.binary_upgrade {
            entry.defn += &attachment::extension_member(emit, object, "EVENT TRIGGER", &name, None)?;
        }
        entry.drop_stmt = format!("DROP EVENT TRIGGER {name};\n");
        entry.owner.clone_from(&it.owner);
        emit.push(entry);
    }
    let id = object.catalog_id;
    if object.wants(Components::COMMENT) {
        attachment::comment(emit, "EVENT TRIGGER", &name, None, &it.owner, id, 0, object.dump_id);
    }
    if object.wants(Components::SECLABEL) {
        attachment::security_label(emit, "EVENT TRIGGER", &name, None, &it.owner, id, 0, object.dump_id);
    }
    Ok(())
}

fn definition(emit: &Emit, it: &EventTrigger, name: &str) -> String {
    let mut sql = format!("CREATE EVENT TRIGGER {name} ON {}", emit.q.id(&it.evtevent));
    if !it.evttags.is_empty() {
        sql += &format!("\n         WHEN TAG IN ({})", it.evttags);
    }
    sql += &format!("\n   EXECUTE FUNCTION {}();\n", it.evtfname);
    if it.evtenabled != 'O' {
        sql += &format!("\nALTER EVENT TRIGGER {name} {};\n", trigger::firing(it.evtenabled));
    }
    sql
}

//! Access methods of indexes and tables.

use super::annotate::{self, Target};
use super::emit::Emit;
use super::object::{CatalogId, Components, Object, class};
use super::{Kind, Step, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::Query;
use crate::error::Result;

/// An access method of indexes or tables.
#[derive(Debug, Default)]
pub struct AccessMethod {
    /// `i` index, `t` table.
    pub amtype: char,
    /// The handler function, quoted and qualified as `regproc` shows it.
    pub amhandler: String,
}

/// All access methods.
pub const READ: Step = Step {
    what: "access methods",
    query: |_| {
        Some(Query::new(
            "SELECT oid, amname, amtype, amhandler::text AS amhandler FROM pg_catalog.pg_am",
        ))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let method = AccessMethod {
                amtype: row.char("amtype")?,
                amhandler: row.text("amhandler")?,
            };
            let catalog_id = CatalogId::new(class::PG_AM, row.oid("oid")?);
            let id = cat.add(catalog_id, row.text("amname")?, None, Kind::AccessMethod(method));
            select::access_method(cat, id);
        }
        Ok(())
    },
};

/// `CREATE ACCESS METHOD`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &AccessMethod) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let name = emit.q.id(&object.name).into_owned();
    if object.wants(Components::DEFINITION) {
        let kind = if it.amtype == 't' { "TABLE" } else { "INDEX" };
        let mut entry = emit.entry(object, "ACCESS METHOD", Section::PreData);
        entry.defn = format!("CREATE ACCESS METHOD {name} TYPE {kind} HANDLER {};\n", it.amhandler);
        entry.defn += &attachment::extension_member(emit, object, "ACCESS METHOD", &name, None)?;
        entry.drop_stmt = format!("DROP ACCESS METHOD {name};\n");
        emit.push(entry);
    }
    let target = Target {
        kind: "ACCESS METHOD",
        name: &name,
        owner: "",
    };
    annotate::comment(emit, object, &target);
    Ok(())
}

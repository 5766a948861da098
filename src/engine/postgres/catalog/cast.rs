//! Casts.

use anyhow::Context as _;

use super::annotate::{self, Target};
use super::emit::Emit;
use super::object::{CatalogId, Components, Object, Oid, class};
use super::{Catalog, Kind, Step, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::Query;
use crate::error::Result;

/// A cast.
#[derive(Debug, Default)]
pub struct Cast {
    /// OID of the type that is cast.
    pub castsource: Oid,
    /// OID of the type that it becomes.
    pub casttarget: Oid,
    /// OID of the function; 0: none.
    pub castfunc: Oid,
    /// `e` explicit, `a` in assignments, `i` implicit.
    pub castcontext: char,
    /// `f` by function, `b` binary coercible, `i` by input and output functions.
    pub castmethod: char,
}

/// All casts but those of ranges to their multiranges, which come with the range type.
pub const READ: Step = Step {
    what: "casts",
    query: |_| {
        Some(Query::new(
            "SELECT c.oid, c.castsource, c.casttarget, c.castfunc, c.castcontext, c.castmethod
             FROM pg_catalog.pg_cast c
             WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_range r
                               WHERE r.rngtypid = c.castsource AND r.rngmultitypid = c.casttarget)
             ORDER BY c.castsource, c.casttarget",
        ))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let cast = Cast {
                castsource: row.oid("castsource")?,
                casttarget: row.oid("casttarget")?,
                castfunc: row.oid("castfunc")?,
                castcontext: row.char("castcontext")?,
                castmethod: row.char("castmethod")?,
            };
            let name = sort_name(cat, &cast);
            let id = cat.add(
                CatalogId::new(class::PG_CAST, row.oid("oid")?),
                name,
                None,
                Kind::Cast(cast),
            );
            select::cast(cat, id);
        }
        Ok(())
    },
};

/// Casts have no names; the names of their types put them in order.
fn sort_name(cat: &Catalog, cast: &Cast) -> String {
    let source = cat.object(class::PG_TYPE, cast.castsource);
    let target = cat.object(class::PG_TYPE, cast.casttarget);
    match (source, target) {
        (Some(source), Some(target)) => format!("{} {}", source.name, target.name),
        _ => String::new(),
    }
}

/// `CREATE CAST`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Cast) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let signature = format!(
        "({} AS {})",
        emit.cat.type_name(it.castsource)?,
        emit.cat.type_name(it.casttarget)?
    );
    if object.wants(Components::DEFINITION) {
        let mut entry = emit.entry(object, "CAST", Section::PreData);
        entry.tag = format!("CAST {signature}");
        entry.defn = format!("CREATE CAST {signature} {}{};\n", method(emit.cat, it)?, context(it));
        entry.defn += &attachment::extension_member(emit, object, "CAST", &signature, None)?;
        entry.drop_stmt = format!("DROP CAST {signature};\n");
        emit.push(entry);
    }
    let target = Target {
        kind: "CAST",
        name: &signature,
        owner: "",
    };
    annotate::comment(emit, object, &target);
    Ok(())
}

fn method(cat: &Catalog, it: &Cast) -> Result<String> {
    match it.castmethod {
        'b' => Ok("WITHOUT FUNCTION".to_owned()),
        'i' => Ok("WITH INOUT".to_owned()),
        _ => {
            let function = cat.qualified_function(it.castfunc)?;
            let function = function.with_context(|| {
                format!(
                    "could not find function definition for function with OID {}",
                    it.castfunc
                )
            })?;
            Ok(format!("WITH FUNCTION {function}"))
        }
    }
}

fn context(it: &Cast) -> &'static str {
    match it.castcontext {
        'a' => " AS ASSIGNMENT",
        'i' => " AS IMPLICIT",
        _ => "",
    }
}

//! Collations of all providers.

use anyhow::Context as _;

use super::annotate::{self, Target};
use super::emit::Emit;
use super::object::{CatalogId, Components, Object, class};
use super::{Kind, Step, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;

/// A collation.
#[derive(Debug, Default)]
pub struct Collation {
    /// Name of the owner.
    pub owner: String,
    /// `pg_collation.collencoding`: -1 for any.
    pub collencoding: i32,
    /// What its statements say; only of those that are dumped.
    pub details: Option<Details>,
}

/// Columns of `pg_collation` as the statements of a collation need them.
#[derive(Debug)]
pub struct Details {
    provider: char,
    deterministic: bool,
    collate: Option<String>,
    ctype: Option<String>,
    /// The locale of providers that know no separate `LC_COLLATE` and `LC_CTYPE`.
    locale: Option<String>,
    icu_rules: Option<String>,
    version: Option<String>,
}

/// All collations.
pub const READ: Step = Step {
    what: "collations",
    query: |_| {
        Some(Query::new(
            "SELECT oid, collname, collnamespace, collowner, collencoding FROM pg_catalog.pg_collation",
        ))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let collation = Collation {
                owner: cat.role(row.oid("collowner")?)?.to_owned(),
                collencoding: row.int("collencoding")?,
                details: None,
            };
            let catalog_id = CatalogId::new(class::PG_COLLATION, row.oid("oid")?);
            let namespace = cat.namespace(row.oid("collnamespace")?)?;
            let id = cat.add(
                catalog_id,
                row.text("collname")?,
                Some(namespace),
                Kind::Collation(Box::new(collation)),
            );
            select::object(cat, id);
        }
        Ok(())
    },
};

/// What the collations look like that are dumped.
pub const DETAILS: Step = Step {
    what: "definitions of collations",
    query: |cat| {
        let oids = cat.wanted(|kind| matches!(kind, Kind::Collation(_)));
        (!oids.is_empty()).then(|| Query::new(details_sql(cat.server.major())).oids(oids))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let id = cat.find(class::PG_COLLATION, row.oid("oid")?);
            if let Some(Kind::Collation(it)) = id.and_then(|id| cat.get_mut(id)).map(|object| &mut object.kind) {
                it.details = Some(Details::of(row)?);
            }
        }
        Ok(())
    },
};

fn details_sql(major: u32) -> String {
    let locale = match major {
        ..15 => "NULL::text",
        15..17 => "colliculocale",
        17.. => "colllocale",
    };
    let rules = if major < 16 { "NULL::text" } else { "collicurules" };
    format!(
        "SELECT oid, collprovider, collisdeterministic, collcollate::text AS collcollate,
                collctype::text AS collctype, {locale} AS colllocale, {rules} AS collicurules, collversion
         FROM pg_catalog.pg_collation
         WHERE oid = ANY ($1)"
    )
}

impl Details {
    fn of(row: &Row) -> Result<Self> {
        Ok(Details {
            provider: row.char("collprovider")?,
            deterministic: row.bool("collisdeterministic")?,
            collate: row.opt_text("collcollate")?,
            ctype: row.opt_text("collctype")?,
            locale: row.opt_text("colllocale")?,
            icu_rules: row.opt_text("collicurules")?,
            version: row.opt_text("collversion")?,
        })
    }
}

/// `CREATE COLLATION`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Collation) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let details = it
        .details
        .as_ref()
        .with_context(|| format!("collation {} was not read", object.name))?;
    let name = emit.q.id(&object.name).into_owned();
    if object.wants(Components::DEFINITION) {
        let qualified = emit.qualified(object);
        let mut entry = emit.entry(object, "COLLATION", Section::PreData);
        entry.owner.clone_from(&it.owner);
        entry.defn = format!(
            "CREATE COLLATION {qualified} ({});\n",
            parameters(emit, details).join(", ")
        );
        let schema = emit.cat.namespace_name(object.namespace);
        entry.defn += &attachment::extension_member(emit, object, "COLLATION", &name, schema)?;
        entry.drop_stmt = format!("DROP COLLATION {qualified};\n");
        emit.push(entry);
    }
    let target = Target {
        kind: "COLLATION",
        name: &name,
        owner: &it.owner,
    };
    annotate::comment(emit, object, &target);
    Ok(())
}

fn parameters(emit: &Emit, it: &Details) -> Vec<String> {
    let provider = match it.provider {
        'b' => "builtin",
        'c' => "libc",
        'i' => "icu",
        _ => "default",
    };
    let mut out = vec![format!("provider = {provider}")];
    if !it.deterministic {
        out.push("deterministic = false".to_owned());
    }
    let mut set = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            out.push(format!("{name} = {}", emit.q.literal(value)));
        }
    };
    match it.provider {
        // Until 14, the locale of ICU stood where that of libc stands.
        'b' | 'i' if it.locale.is_some() => set("locale", it.locale.as_ref()),
        'd' if emit.cat.server.major() >= 15 => {}
        _ if it.collate == it.ctype => set("locale", it.collate.as_ref()),
        _ => {
            set("lc_collate", it.collate.as_ref());
            set("lc_ctype", it.ctype.as_ref());
        }
    }
    set("rules", it.icu_rules.as_ref());
    if emit.cat.options.binary_upgrade {
        // A restore otherwise takes the version of the library that it meets.
        set("version", it.version.as_ref());
    }
    out
}

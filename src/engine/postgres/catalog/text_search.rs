//! Text search: parsers, templates, dictionaries and configurations.

use std::collections::HashMap;

use super::emit::Emit;
use super::object::{CatalogId, Components, Object, Oid};
use super::{Catalog, Kind, Step, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;

/// A text search parser: functions by name, as the server quotes them.
#[derive(Debug, Default)]
pub struct Parser {
    start: String,
    gettoken: String,
    end: String,
    headline: Option<String>,
    lextypes: String,
}

/// A text search dictionary.
#[derive(Debug, Default)]
pub struct Dictionary {
    owner: String,
    /// Schema and name of the template.
    template: (String, String),
    /// Options as they stand in the statement.
    initoption: Option<String>,
}

/// A text search template.
#[derive(Debug, Default)]
pub struct Template {
    init: Option<String>,
    lexize: String,
}

/// A text search configuration.
#[derive(Debug, Default)]
pub struct Configuration {
    owner: String,
    /// Schema and name of the parser.
    parser: (String, String),
    /// Token types with their dictionaries (quoted already), in the order of their numbers.
    mappings: Vec<(String, Vec<String>)>,
}

/// All parsers.
pub const PARSERS: Step = Step {
    what: "text search parsers",
    query: |_| {
        Some(Query::new(
            "SELECT tableoid, oid, prsname AS name, prsnamespace AS namespace, prsstart::pg_catalog.text AS start, \
             prstoken::pg_catalog.text AS gettoken, prsend::pg_catalog.text AS end, \
             CASE WHEN prsheadline <> 0 THEN prsheadline::pg_catalog.text END AS headline, \
             prslextype::pg_catalog.text AS lextypes FROM pg_catalog.pg_ts_parser",
        ))
    },
    absorb: |cat, rows| {
        for row in rows {
            let parser = Parser {
                start: row.text("start")?,
                gettoken: row.text("gettoken")?,
                end: row.text("end")?,
                headline: row.opt_text("headline")?,
                lextypes: row.text("lextypes")?,
            };
            add(cat, &row, Kind::TsParser(Box::new(parser)))?;
        }
        Ok(())
    },
};

/// All templates.
pub const TEMPLATES: Step = Step {
    what: "text search templates",
    query: |_| {
        Some(Query::new(
            "SELECT tableoid, oid, tmplname AS name, tmplnamespace AS namespace, \
             CASE WHEN tmplinit <> 0 THEN tmplinit::pg_catalog.text END AS init, \
             tmpllexize::pg_catalog.text AS lexize FROM pg_catalog.pg_ts_template",
        ))
    },
    absorb: |cat, rows| {
        for row in rows {
            let template = Template {
                init: row.opt_text("init")?,
                lexize: row.text("lexize")?,
            };
            add(cat, &row, Kind::TsTemplate(template))?;
        }
        Ok(())
    },
};

/// All dictionaries.
pub const DICTIONARIES: Step = Step {
    what: "text search dictionaries",
    query: |_| {
        Some(Query::new(
            "SELECT d.tableoid, d.oid, d.dictname AS name, d.dictnamespace AS namespace, d.dictowner, \
             d.dictinitoption, \
             (SELECT tn.nspname FROM pg_catalog.pg_ts_template t, pg_catalog.pg_namespace tn \
             WHERE t.oid = d.dicttemplate AND tn.oid = t.tmplnamespace) AS template_schema, \
             (SELECT t.tmplname FROM pg_catalog.pg_ts_template t WHERE t.oid = d.dicttemplate) AS template \
             FROM pg_catalog.pg_ts_dict d",
        ))
    },
    absorb: |cat, rows| {
        for row in rows {
            let dictionary = Dictionary {
                owner: cat.role(row.oid("dictowner")?)?.to_owned(),
                template: (row.text("template_schema")?, row.text("template")?),
                initoption: row.opt_text("dictinitoption")?,
            };
            add(cat, &row, Kind::TsDictionary(Box::new(dictionary)))?;
        }
        Ok(())
    },
};

/// All configurations; their mappings come with [`DETAILS`].
pub const CONFIGURATIONS: Step = Step {
    what: "text search configurations",
    query: |_| {
        Some(Query::new(
            "SELECT c.tableoid, c.oid, c.cfgname AS name, c.cfgnamespace AS namespace, c.cfgowner, \
             (SELECT pn.nspname FROM pg_catalog.pg_ts_parser p, pg_catalog.pg_namespace pn \
             WHERE p.oid = c.cfgparser AND pn.oid = p.prsnamespace) AS parser_schema, \
             (SELECT p.prsname FROM pg_catalog.pg_ts_parser p WHERE p.oid = c.cfgparser) AS parser \
             FROM pg_catalog.pg_ts_config c",
        ))
    },
    absorb: |cat, rows| {
        for row in rows {
            let configuration = Configuration {
                owner: cat.role(row.oid("cfgowner")?)?.to_owned(),
                parser: (row.text("parser_schema")?, row.text("parser")?),
                mappings: Vec::new(),
            };
            add(cat, &row, Kind::TsConfiguration(Box::new(configuration)))?;
        }
        Ok(())
    },
};

fn add(cat: &mut Catalog, row: &Row, kind: Kind) -> Result<()> {
    let catalog_id = CatalogId::new(row.oid("tableoid")?, row.oid("oid")?);
    let namespace = cat.namespace(row.oid("namespace")?)?;
    let id = cat.add(catalog_id, row.text("name")?, Some(namespace), kind);
    select::object(cat, id);
    Ok(())
}

/// Which dictionaries the wanted configurations use for which types of token.
pub const DETAILS: Step = Step {
    what: "text search mappings",
    query: |cat| {
        let wanted: Vec<Oid> = cat
            .objects()
            .filter(|it| matches!(it.kind, Kind::TsConfiguration(_)) && it.wants(Components::DEFINITION))
            .map(|it| it.catalog_id.oid)
            .collect();
        let sql = "SELECT m.mapcfg, (SELECT t.alias FROM pg_catalog.ts_token_type(c.cfgparser) AS t \
                   WHERE t.tokid = m.maptokentype) AS token, \
                   m.mapdict::pg_catalog.regdictionary::pg_catalog.text AS dictionary \
                   FROM pg_catalog.pg_ts_config_map m JOIN pg_catalog.pg_ts_config c ON c.oid = m.mapcfg \
                   WHERE m.mapcfg = ANY ($1) ORDER BY m.mapcfg, m.maptokentype, m.mapseqno";
        (!wanted.is_empty()).then(|| Query::new(sql).oids(wanted))
    },
    absorb: |cat, rows| {
        let mut mappings: HashMap<Oid, Vec<(String, Vec<String>)>> = HashMap::new();
        for row in rows {
            let of = mappings.entry(row.oid("mapcfg")?).or_default();
            let token = row.text("token")?;
            if of.last().is_none_or(|(last, _)| *last != token) {
                of.push((token, Vec::new()));
            }
            if let Some((_, dictionaries)) = of.last_mut() {
                dictionaries.push(row.text("dictionary")?);
            }
        }
        for object in cat.objects_mut() {
            if let Kind::TsConfiguration(it) = &mut object.kind {
                it.mappings = mappings.remove(&object.catalog_id.oid).unwrap_or_default();
            }
        }
        Ok(())
    },
};

/// Writes a parser.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_parser(emit: &mut Emit, object: &Object, it: &Parser) -> Result<()> {
    let mut options = vec![
        format!("START = {}", it.start),
        format!("GETTOKEN = {}", it.gettoken),
        format!("END = {}", it.end),
    ];
    options.extend(it.headline.as_ref().map(|headline| format!("HEADLINE = {headline}")));
    options.push(format!("LEXTYPES = {}", it.lextypes));
    dump(emit, object, "PARSER", "", &options.join(",\n    "), "")
}

/// Writes a template.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_template(emit: &mut Emit, object: &Object, it: &Template) -> Result<()> {
    let mut options: Vec<_> = it.init.iter().map(|init| format!("INIT = {init}")).collect();
    options.push(format!("LEXIZE = {}", it.lexize));
    dump(emit, object, "TEMPLATE", "", &options.join(",\n    "), "")
}

/// Writes a dictionary.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_dictionary(emit: &mut Emit, object: &Object, it: &Dictionary) -> Result<()> {
    let (schema, template) = &it.template;
    let mut options = format!("TEMPLATE = {}", emit.q.qualified(schema, template));
    if let Some(initoption) = &it.initoption {
        options += &format!(",\n    {initoption}");
    }
    dump(emit, object, "DICTIONARY", &it.owner, &options, "")
}

/// Writes a configuration.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_configuration(emit: &mut Emit, object: &Object, it: &Configuration) -> Result<()> {
    let (schema, parser) = &it.parser;
    let options = format!("PARSER = {}", emit.q.qualified(schema, parser));
    let qualified = emit.qualified(object);
    let mappings: String = it
        .mappings
        .iter()
        .map(|(token, dictionaries)| {
            format!(
                "\nALTER TEXT SEARCH CONFIGURATION {qualified}\n    ADD MAPPING FOR {} WITH {};\n",
                emit.q.id(token),
                dictionaries.join(", ")
            )
        })
        .collect();
    dump(emit, object, "CONFIGURATION", &it.owner, &options, &mappings)
}

/// What the four have in common: `what` is `PARSER` …, `options` stands in the parentheses, `more` follows.
fn dump(emit: &mut Emit, object: &Object, what: &str, owner: &str, options: &str, more: &str) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let desc = format!("TEXT SEARCH {what}");
    let name = emit.q.id(&object.name).into_owned();
    let cat = emit.cat;
    let namespace = cat.namespace_name(object.namespace);
    if object.wants(Components::DEFINITION) {
        let qualified = emit.qualified(object);
        let mut entry = emit.entry(object, &desc, Section::PreData);
        owner.clone_into(&mut entry.owner);
        entry.defn = format!("CREATE {desc} {qualified} (\n    {options} );\n{more}");
        entry.drop_stmt = format!("DROP {desc} {qualified};\n");
        if cat.options.binary_upgrade {
            entry.defn += &attachment::extension_member(emit, object, &desc, &name, namespace)?;
        }
        emit.push(entry);
    }
    if object.wants(Components::COMMENT) {
        let (id, on) = (object.catalog_id, object.dump_id);
        attachment::comment(emit, &desc, &name, namespace, owner, id, 0, on);
    }
    Ok(())
}

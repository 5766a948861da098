//! Base types, whose functions are written in C.

use super::{Details, type_of, wanted};
use crate::engine::postgres::catalog::Step;
use crate::engine::postgres::catalog::emit::Emit;
use crate::engine::postgres::catalog::object::Object;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;

/// Columns of `pg_type` as the statements of a base type need them.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // they are columns of pg_type
pub struct Base {
    typlen: i32,
    typinput: String,
    typoutput: String,
    typreceive: Option<String>,
    typsend: Option<String>,
    typmodin: Option<String>,
    typmodout: Option<String>,
    typanalyze: Option<String>,
    typsubscript: Option<String>,
    typdelim: char,
    typbyval: bool,
    typalign: char,
    typstorage: char,
    typcategory: char,
    typispreferred: bool,
    collatable: bool,
    /// The default as an expression, where the catalog has it.
    default_expression: Option<String>,
    /// The default as a string.
    default_text: Option<String>,
    /// The type of the elements.
    element: Option<String>,
}

/// What the base types look like that are dumped.
pub const READ: Step = Step {
    what: "definitions of base types",
    query: |cat| {
        wanted(cat, 'b').map(|oids| {
            Query::new(
                "SELECT oid, typlen::int4 AS typlen, typinput::text AS typinput, typoutput::text AS typoutput,
                        NULLIF(typreceive::text, '-') AS typreceive, NULLIF(typsend::text, '-') AS typsend,
                        NULLIF(typmodin::text, '-') AS typmodin, NULLIF(typmodout::text, '-') AS typmodout,
                        NULLIF(typanalyze::text, '-') AS typanalyze,
                        NULLIF(typsubscript::text, '-') AS typsubscript,
                        typdelim, typbyval, typalign, typstorage, typcategory, typispreferred,
                        typcollation <> 0 AS collatable,
                        pg_catalog.pg_get_expr(typdefaultbin, 0) AS default_expression, typdefault,
                        CASE WHEN typelem <> 0 THEN pg_catalog.format_type(typelem, NULL) END AS element
                 FROM pg_catalog.pg_type
                 WHERE oid = ANY ($1)",
            )
            .oids(oids)
        })
    },
    absorb: |cat, rows| {
        for row in &rows {
            let base = Base::of(row)?;
            if let Some(info) = type_of(cat, row)? {
                info.details = Some(Details::Base(Box::new(base)));
            }
        }
        Ok(())
    },
};

impl Base {
    fn of(row: &Row) -> Result<Self> {
        Ok(Base {
            typlen: row.int("typlen")?,
            typinput: row.text("typinput")?,
            typoutput: row.text("typoutput")?,
            typreceive: row.opt_text("typreceive")?,
            typsend: row.opt_text("typsend")?,
            typmodin: row.opt_text("typmodin")?,
            typmodout: row.opt_text("typmodout")?,
            typanalyze: row.opt_text("typanalyze")?,
            typsubscript: row.opt_text("typsubscript")?,
            typdelim: row.char("typdelim")?,
            typbyval: row.bool("typbyval")?,
            typalign: row.char("typalign")?,
            typstorage: row.char("typstorage")?,
            typcategory: row.char("typcategory")?,
            typispreferred: row.bool("typispreferred")?,
            collatable: row.bool("collatable")?,
            default_expression: row.opt_text("default_expression")?,
            default_text: row.opt_text("typdefault")?,
            element: row.opt_text("element")?,
        })
    }
}

pub fn definition(emit: &Emit, object: &Object, it: &Base) -> String {
    format!(
        "CREATE TYPE {} (\n{}\n);\n",
        emit.qualified(object),
        parameters(emit, it).join(",\n")
    )
}

fn parameters(emit: &Emit, it: &Base) -> Vec<String> {
    let length = match it.typlen {
        -1 => "variable".to_owned(),
        length => length.to_string(),
    };
    let default = it
        .default_expression
        .clone()
        .or_else(|| it.default_text.as_ref().map(|text| emit.q.literal(text)));
    let unless = |usual: char, value: char| (value != usual).then(|| emit.q.literal(&value.to_string()));
    let flag = |set: bool| set.then(|| "true".to_owned());
    let alignment = match it.typalign {
        'c' => "char",
        's' => "int2",
        'i' => "int4",
        _ => "double",
    };
    let storage = match it.typstorage {
        'e' => "external",
        'x' => "extended",
        'm' => "main",
        _ => "plain",
    };
    let parameters = [
        ("INTERNALLENGTH", Some(length)),
        ("INPUT", Some(it.typinput.clone())),
        ("OUTPUT", Some(it.typoutput.clone())),
        ("RECEIVE", it.typreceive.clone()),
        ("SEND", it.typsend.clone()),
        ("TYPMOD_IN", it.typmodin.clone()),
        ("TYPMOD_OUT", it.typmodout.clone()),
        ("ANALYZE", it.typanalyze.clone()),
        ("COLLATABLE", flag(it.collatable)),
        ("DEFAULT", default),
        ("SUBSCRIPT", it.typsubscript.clone()),
        ("ELEMENT", it.element.clone()),
        ("CATEGORY", unless('U', it.typcategory)),
        ("PREFERRED", flag(it.typispreferred)),
        ("DELIMITER", unless(',', it.typdelim)),
        ("ALIGNMENT", Some(alignment.to_owned())),
        ("STORAGE", Some(storage.to_owned())),
    ];
    let mut out: Vec<_> = parameters
        .into_iter()
        .filter_map(|(name, value)| Some(format!("    {name} = {}", value?)))
        .collect();
    if it.typbyval {
        out.push("    PASSEDBYVALUE".to_owned());
    }
    out
}

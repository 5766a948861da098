//! Names of types as SQL writes them, for what refers to types by OID alone.

use std::collections::BTreeSet;

use anyhow::Context as _;

use super::object::{Oid, class};
use super::{Catalog, Kind, Step};
use crate::engine::postgres::connect::session::Query;
use crate::error::Result;

/// The names of all types that the statements of this dump will mention by OID.
pub const READ: Step = Step {
    what: "names of types",
    query: |cat| {
        let oids = mentioned(cat);
        (!oids.is_empty()).then(|| {
            Query::new("SELECT t AS oid, pg_catalog.format_type(t, NULL) AS name FROM pg_catalog.unnest($1) AS t")
                .oids(oids)
        })
    },
    absorb: |cat, rows| {
        for row in &rows {
            let name = row.text("name")?;
            cat.type_names.insert(row.oid("oid")?, name);
        }
        Ok(())
    },
};

fn mentioned(cat: &Catalog) -> BTreeSet<Oid> {
    let mut oids = BTreeSet::new();
    for object in cat.objects() {
        if (object.dump & object.components).is_none() {
            continue;
        }
        match &object.kind {
            Kind::Function(it) => oids.extend(&it.argtypes),
            Kind::Aggregate(it) => oids.extend(&it.argtypes),
            Kind::Cast(it) => {
                oids.extend([it.castsource, it.casttarget]);
                oids.extend(arguments_of(cat, it.castfunc));
            }
            Kind::Transform(it) => {
                oids.extend([it.trftype]);
                oids.extend(arguments_of(cat, it.trffromsql));
                oids.extend(arguments_of(cat, it.trftosql));
            }
            _ => {}
        }
    }
    oids.remove(&0);
    oids
}

/// Casts and transforms name their functions in full, also those that are not dumped themselves.
fn arguments_of(cat: &Catalog, function: Oid) -> &[Oid] {
    match cat.object(class::PG_PROC, function).map(|object| &object.kind) {
        Some(Kind::Function(it)) => &it.argtypes,
        _ => &[],
    }
}

impl Catalog {
    /// The name of the type with OID `oid`, qualified and quoted as the server writes it.
    ///
    /// # Errors
    /// It was not asked for by [`READ`].
    pub fn type_name(&self, oid: Oid) -> Result<&str> {
        let name = self
            .type_names
            .get(&oid)
            .with_context(|| format!("type with OID {oid} has no name"))?;
        Ok(name)
    }

    /// `name(type, …)`: the signature of a function or aggregate by its input arguments, where `name` is
    /// quoted or not as the caller needs it.
    ///
    /// # Errors
    /// As [`Catalog::type_name`].
    pub fn signature(&self, name: &str, argtypes: &[Oid]) -> Result<String> {
        let types: Vec<_> = argtypes.iter().map(|oid| self.type_name(*oid)).collect::<Result<_>>()?;
        Ok(format!("{name}({})", types.join(", ")))
    }

    /// `schema.name(type, …)` of a function, for casts and transforms; `None` when it is not known.
    ///
    /// # Errors
    /// As [`Catalog::type_name`].
    pub fn qualified_function(&self, oid: Oid) -> Result<Option<String>> {
        let q = self.quote();
        let Some(object) = self.object(class::PG_PROC, oid) else {
            return Ok(None);
        };
        let (Kind::Function(it), Some(schema)) = (&object.kind, self.namespace_name(object.namespace)) else {
            return Ok(None);
        };
        let signature = self.signature(&q.id(&object.name), &it.argtypes)?;
        Ok(Some(format!("{}.{signature}", q.id(schema))))
    }

    /// The collation with OID `oid`, qualified and quoted.
    #[must_use]
    pub fn collation_name(&self, oid: Oid) -> Option<String> {
        let object = self.object(class::PG_COLLATION, oid)?;
        let schema = self.namespace_name(object.namespace)?;
        Some(self.quote().qualified(schema, &object.name))
    }
}

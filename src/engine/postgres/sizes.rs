//! How large it is what a dump reads: by that it is cut up, and a store and a progress bar know what comes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::catalog::object::{Oid, class};
use super::catalog::{Catalog, Kind};
use super::connect::session::{Query, Session};
use super::dump::Request;
use super::rows::Data;
use crate::error::Result;

/// What is on the server's disk.
#[derive(Debug, Default)]
pub(super) struct Sizes(HashMap<Oid, Size>);

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    /// Of its rows, in TOAST or not.
    bytes: u64,
    /// Pages of its heap.
    pages: u64,
}

/// Statistics may be old, or never have been taken, so the files are asked for. (`pg_table_size` opens more of them.)
const SIZES: &str = "\
SELECT c.oid, s.main + COALESCE(pg_catalog.pg_relation_size(NULLIF(c.reltoastrelid, 0::pg_catalog.oid)), 0) AS bytes,
    s.main / pg_catalog.current_setting('block_size')::int8 AS pages
FROM pg_catalog.unnest($1) AS t(oid) JOIN pg_catalog.pg_class c ON c.oid = t.oid,
    LATERAL (SELECT pg_catalog.pg_relation_size(c.oid) AS main) AS s";

/// Asks `session` how large what `request` reads of `cat` is. The server opens each table for it; the caller goes on meanwhile.
pub(super) fn ask(session: &Arc<Session>, cat: &Catalog, request: &Request) -> AbortOnDropHandle<Result<Sizes>> {
    let (session, relations) = (Arc::clone(session), relations(cat, request));
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut sizes = Sizes::default();
        if relations.is_empty() {
            return Ok(sizes);
        }
        for row in session.rows(&Query::new(SIZES).oids(relations)).await? {
            // A table that is gone has no size; reading it will say so.
            let number = |name| Ok::<_, anyhow::Error>(u64::try_from(row.opt_long(name)?.unwrap_or(0)).unwrap_or(0));
            let (bytes, pages) = (number("bytes")?, number("pages")?);
            sizes.0.insert(row.oid("oid")?, Size { bytes, pages });
        }
        Ok(sizes)
    }))
}

fn relations(cat: &Catalog, request: &Request) -> BTreeSet<Oid> {
    let relation = |kind: &Kind| match kind {
        Kind::TableData(it) => {
            let (object, table) = (cat.get(it.table)?, cat.table(it.table)?);
            let schema = cat.namespace_name(object.namespace).unwrap_or_default();
            (table.relkind == 'r' && request.reads(schema, &object.name)).then_some(table.oid)
        }
        // All large objects lie in one table, however many entries they have.
        Kind::LargeObjectData => Some(class::PG_LARGEOBJECT),
        _ => None,
    };
    cat.objects().filter_map(|object| relation(&object.kind)).collect()
}

impl Sizes {
    /// Tells each table of `data` how many pages it has; all together they are so many bytes.
    pub(super) fn tell<'a>(&self, data: impl Iterator<Item = &'a mut Data>) -> u64 {
        let (mut bytes, mut objects) = (0, false);
        for data in data {
            match data {
                Data::Rows(source, pages) => {
                    let size = self.of(source.oid);
                    bytes += size.bytes;
                    *pages = size.pages;
                }
                Data::Objects(_) => objects = true,
                Data::Unread(_) => {}
            }
        }
        match objects {
            true => bytes + self.of(class::PG_LARGEOBJECT).bytes,
            false => bytes,
        }
    }

    fn of(&self, relation: Oid) -> Size {
        self.0.get(&relation).copied().unwrap_or_default()
    }
}

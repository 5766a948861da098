//! An archive that lies in a store, as something that [`crate::archive`] can read: neither side knows the other.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;

use crate::archive::source::{Ranges, Source};
use crate::error::Result;
use crate::store::Store;

struct Object {
    store: Arc<dyn Store>,
    path: String,
}

#[async_trait]
impl Ranges for Object {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.store.read(&self.path, range).await
    }
}

/// The object at `path` of `store`.
///
/// # Errors
/// There is none.
pub async fn source(store: Arc<dyn Store>, path: &str) -> Result<Source> {
    let meta = store.stat(path).await?;
    let meta = meta.with_context(|| format!("{path} is not in {store}"))?;
    let path = path.to_owned();
    Ok(Source::ranges(Arc::new(Object { store, path }), meta.size))
}

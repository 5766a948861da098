//! What a manifest says of the entries of an archive.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::toc::Entry;
use crate::raw_text;

/// How many entries of each type there are.
#[must_use]
pub fn count(entries: &[Entry]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        *counts.entry(entry.desc.clone()).or_default() += 1;
    }
    counts
}

/// Of everything that says how the database is built, and of nothing that its rows change.
#[must_use]
pub fn schema_hash(entries: &[Entry]) -> String {
    let mut hasher = Sha256::new();
    let data = [
        "SEQUENCE SET",
        "TABLE DATA",
        "BLOB",
        "BLOBS",
        "BLOB METADATA",
        "STATISTICS DATA",
    ];
    for entry in entries.iter().filter(|entry| !data.contains(&entry.desc.as_str())) {
        let namespace = entry.namespace.as_deref().unwrap_or_default();
        for text in [&entry.desc, namespace, &entry.tag, &entry.owner, &entry.defn] {
            hasher.update(raw_text::encode(text));
            hasher.update([0]);
        }
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

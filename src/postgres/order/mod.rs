//! The order of a dump: by type and name first, so that equal schemas dump equal, then by dependency with as
//! little change to that as possible, with loops of dependencies repaired where they stand.

mod by_name;
mod repair;
mod topological;

use anyhow::bail;

use super::catalog::Catalog;
use super::catalog::object::DumpId;
use crate::error::Result;

/// All objects in the order in which they are dumped. Repairing a loop changes the objects that are in it: a
/// view may become a dummy whose rule is dumped apart, a check may become a constraint of its own.
///
/// # Errors
/// The dependencies contradict each other, but no loop can be found: the catalogs are inconsistent.
pub fn sort(cat: &mut Catalog) -> Result<Vec<DumpId>> {
    let by_name = by_name::sort(cat);
    loop {
        match topological::sort(cat, &by_name) {
            Ok(sorted) => return Ok(sorted),
            Err(unsorted) => {
                if !repair::loops(cat, &unsorted) {
                    bail!("could not identify dependency loop");
                }
            }
        }
    }
}

//! A topological sort that disturbs the given order least.

use std::collections::BinaryHeap;

use crate::engine::postgres::catalog::Catalog;
use crate::engine::postgres::catalog::object::DumpId;

/// `ids` so that each comes after what it depends on. Whenever there is a choice the later one of `ids` goes
/// further back, so without dependencies the order stays as it is.
///
/// # Errors
/// The ids that could not be placed, in ascending order: those in loops, and those that loops depend on.
pub fn sort(cat: &Catalog, ids: &[DumpId]) -> Result<Vec<DumpId>, Vec<DumpId>> {
    let slots = usize::try_from(cat.last_dump_id()).unwrap_or_default() + 1;
    let mut dependents = vec![0_u32; slots];
    let mut position = vec![usize::MAX; slots];
    for (place, id) in ids.iter().enumerate() {
        position[index(*id)] = place;
        for dependency in dependencies(cat, *id) {
            dependents[index(*dependency)] += 1;
        }
    }

    // Built from the back: an object may be placed when all that depends on it has been.
    let mut ready: BinaryHeap<usize> = (0..ids.len())
        .filter(|place| dependents[index(ids[*place])] == 0)
        .collect();
    let mut reversed = Vec::with_capacity(ids.len());
    while let Some(place) = ready.pop() {
        reversed.push(ids[place]);
        for dependency in dependencies(cat, ids[place]) {
            let waiting = &mut dependents[index(*dependency)];
            *waiting -= 1;
            // A number without an object (an ACL's) can be depended on, but has no place.
            if *waiting == 0 && position[index(*dependency)] != usize::MAX {
                ready.push(position[index(*dependency)]);
            }
        }
    }

    if reversed.len() == ids.len() {
        reversed.reverse();
        return Ok(reversed);
    }
    let mut unsorted: Vec<DumpId> = ids.iter().copied().filter(|id| dependents[index(*id)] != 0).collect();
    unsorted.sort_unstable();
    Err(unsorted)
}

fn dependencies(cat: &Catalog, id: DumpId) -> &[DumpId] {
    cat.get(id).map_or(&[], |object| &object.dependencies)
}

/// Where the object numbered `id` has its slot in arrays indexed by dump id.
pub fn index(id: DumpId) -> usize {
    usize::try_from(id).unwrap_or_default()
}

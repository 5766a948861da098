//! How urgent the parts of a load are: that goes first on which the longest line of work waits.

use std::collections::HashMap;

use super::items::Item;
use crate::archive::toc::{DumpId, Entry};

/// More than the rows of any table.
const PARTITION: u64 = 1 << 42;

/// The work that `entry` itself is, where its table has so many bytes of rows. Only the proportion counts: building a GIN
/// index takes several times as long as loading what it is built on, a btree less.
pub(super) fn own(entry: &Entry, rows: u64) -> u64 {
    // A partition: rows wait for it and for all that follow it, and making it is little work of one connection.
    if entry.desc == "TABLE" {
        return PARTITION;
    }
    if entry.desc != "INDEX" {
        return rows;
    }
    let slow = [
        (" USING gin ", 6),
        (" USING gist ", 6),
        (" USING spgist ", 3),
        (" USING brin ", 0),
    ];
    let factor = slow.iter().find(|(method, _)| entry.defn.contains(method));
    rows.saturating_mul(factor.map_or(1, |(_, factor)| *factor))
}

/// Adds to the urgency of each item that of the most urgent one that waits for it.
pub(super) fn add_what_waits(items: &mut [Item], dependents: &HashMap<DumpId, Vec<usize>>) {
    let mut waiting: Vec<Option<u64>> = vec![None; items.len()];
    for start in 0..items.len() {
        // Without recursion: a chain may be as long as an archive. What is on the way already is part of a circle, and adds
        // nothing.
        let mut way = vec![(start, 0)];
        while let Some((i, next)) = way.pop() {
            let on_it = items[i]
                .id
                .and_then(|id| dependents.get(&id))
                .map_or(&[][..], Vec::as_slice);
            if waiting[i].is_none() || next > 0 {
                waiting[i].get_or_insert(0);
                if let Some(dependent) = on_it.get(next) {
                    way.push((i, next + 1));
                    if waiting[*dependent].is_none() {
                        way.push((*dependent, 0));
                    }
                    continue;
                }
                let most = on_it
                    .iter()
                    .map(|it| items[*it].urgency.saturating_add(waiting[*it].unwrap_or(0)));
                waiting[i] = Some(most.max().unwrap_or(0));
            }
        }
    }
    for (item, waiting) in items.iter_mut().zip(waiting) {
        item.urgency = item.urgency.saturating_add(waiting.unwrap_or(0));
    }
}

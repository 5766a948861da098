//! What the workers take: tables and large objects, cut into pieces that can be read at the same time.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::archive::toc::DumpId;
use crate::engine::postgres::catalog::table_data::Source;
use crate::row_hash::RowHash;
use crate::seal::SegmentEnd;

/// Pages of a table that are read at a time: 32 MiB, so that what waits for its turn stays small.
const SEGMENT_PAGES: u64 = 4096;
/// Pages of a table that is small: 1 MiB.
const SMALL_PAGES: u64 = 128;
/// Large objects that are read at a time.
const SEGMENT_OBJECTS: usize = 256;

/// What is read in one go.
#[derive(Debug)]
pub(super) enum Work {
    /// Rows of a table; `pages` is a range of its heap, whose end may be open.
    Rows {
        source: Arc<Source>,
        pages: Option<(u64, Option<u64>)>,
    },
    /// Large objects, by OID.
    Objects(Vec<u32>),
}

/// One piece of one entry's data.
#[derive(Debug)]
pub(super) struct Unit {
    /// Its place among all units of the dump.
    pub(super) index: usize,
    pub(super) work: Work,
    /// It ends the entry's data.
    pub(super) last: bool,
    /// It takes no longer to read than to ask for.
    pub(super) small: bool,
    /// Where what was read goes.
    pub(super) to: mpsc::UnboundedSender<Vec<Piece>>,
}

/// What a worker hands to the archive.
#[derive(Debug)]
pub(super) enum Piece {
    /// Compressed bytes, counted by the gate.
    Chunk(Bytes),
    /// The compressed bytes so far are one segment.
    EndSegment(SegmentEnd),
    BeginObject(u32),
    EndObject,
    /// The unit is complete.
    Done(RowHash),
}

/// The other side of a unit: what the archive needs to know of it.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) entry: DumpId,
    /// The table, for the manifest.
    pub(super) table: Option<Arc<Source>>,
    pub(super) first: bool,
    pub(super) last: bool,
    pub(super) from: mpsc::UnboundedReceiver<Vec<Piece>>,
}

/// The data of one entry.
#[derive(Debug)]
pub enum Data {
    /// Rows of a table whose heap has so many pages.
    Rows(Box<Source>, u64),
    /// Rows that nobody wants: the server is not asked. Only where rows are hashed and not written.
    Unread(Box<Source>),
    /// Large objects.
    Objects(Vec<u32>),
}

/// Cuts the data of all entries into units, in the order of the archive.
pub(super) fn cut(data: Vec<(DumpId, Data)>, parallel: bool) -> (Vec<Unit>, Vec<Expected>) {
    let (mut units, mut expected) = (Vec::new(), Vec::new());
    for (entry, data) in data {
        let small = matches!(data, Data::Rows(_, pages) if pages <= SMALL_PAGES);
        let (works, table) = match data {
            Data::Unread(source) => {
                let (to, from) = mpsc::unbounded_channel();
                // Who waits for it is there still.
                let _ = to.send(vec![Piece::Done(RowHash::default())]);
                expected.push(Expected {
                    entry,
                    table: Some(Arc::new(*source)),
                    first: true,
                    last: true,
                    from,
                });
                continue;
            }
            Data::Rows(source, pages) => {
                let source = Arc::new(*source);
                (cut_table(&source, pages, parallel), Some(source))
            }
            Data::Objects(oids) => {
                let works = oids.chunks(SEGMENT_OBJECTS).map(|oids| Work::Objects(oids.to_vec()));
                (works.collect(), None)
            }
        };
        let count = works.len();
        for (at, work) in works.into_iter().enumerate() {
            let (to, from) = mpsc::unbounded_channel();
            let (first, last) = (at == 0, at + 1 == count);
            units.push(Unit {
                index: expected.len(),
                work,
                last,
                small,
                to,
            });
            expected.push(Expected {
                entry,
                table: table.clone(),
                first,
                last,
                from,
            });
        }
    }
    (units, expected)
}

/// How many units `data` makes when several workers read.
pub(super) fn count(data: &Data) -> usize {
    match data {
        Data::Rows(source, pages) if source.by_ctid => {
            usize::try_from(pages / SEGMENT_PAGES).unwrap_or(usize::MAX).max(1)
        }
        Data::Rows(..) => 1,
        Data::Unread(_) => 0,
        Data::Objects(oids) => oids.len().div_ceil(SEGMENT_OBJECTS),
    }
}

fn cut_table(source: &Arc<Source>, pages: u64, parallel: bool) -> Vec<Work> {
    let work = |pages| Work::Rows {
        source: Arc::clone(source),
        pages,
    };
    if !parallel || !source.by_ctid || pages < 2 * SEGMENT_PAGES {
        return vec![work(None)];
    }
    // The last range is open: the table may have grown since its size was read.
    let count = pages / SEGMENT_PAGES;
    (0..count)
        .map(|at| {
            work(Some((
                at * SEGMENT_PAGES,
                (at + 1 < count).then_some((at + 1) * SEGMENT_PAGES),
            )))
        })
        .collect()
}

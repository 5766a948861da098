//! More records than memory has room for, sorted: runs of them are sorted and spilled into a temporary file, and merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;

use anyhow::Context as _;

use crate::error::Result;

/// The hash of a row's key, and that of the row.
pub type Record = (u128, u128);

/// Records in memory: 16 MiB.
const RUN: usize = 512 << 10;
/// Bytes of a record in the file.
const RECORD: usize = 32;
/// Records that are read of a run at a time: 16 KiB.
const STEP: u64 = 512;

/// Takes records in any order.
pub struct Sorter {
    /// Records that are sorted in memory.
    run: usize,
    records: Vec<Record>,
    spilled: Option<Spilled>,
}

struct Spilled {
    file: File,
    /// How many records each run has.
    runs: Vec<u64>,
}

impl Default for Sorter {
    fn default() -> Self {
        Sorter {
            run: RUN,
            records: Vec::new(),
            spilled: None,
        }
    }
}

impl Sorter {
    /// Takes one more.
    ///
    /// # Errors
    /// The disk of temporary files fails.
    pub fn push(&mut self, record: Record) -> Result<()> {
        self.records.push(record);
        match self.records.len() >= self.run {
            true => self.spill(),
            false => Ok(()),
        }
    }

    fn spill(&mut self) -> Result<()> {
        self.records.sort_unstable();
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled {
                file: tempfile::tempfile().context("making a temporary file to compare rows")?,
                runs: Vec::new(),
            }),
        };
        let mut writer = BufWriter::with_capacity(1 << 20, &spilled.file);
        for (key, row) in &self.records {
            let mut bytes = [0; RECORD];
            bytes[..16].copy_from_slice(&key.to_le_bytes());
            bytes[16..].copy_from_slice(&row.to_le_bytes());
            writer
                .write_all(&bytes)
                .context("writing what is compared to a temporary file")?;
        }
        writer.flush().context("writing what is compared to a temporary file")?;
        spilled.runs.push(self.records.len() as u64);
        self.records.clear();
        Ok(())
    }

    /// All of them in their order.
    ///
    /// # Errors
    /// The disk of temporary files fails.
    pub fn sorted(mut self) -> Result<Sorted> {
        if self.spilled.is_some() && !self.records.is_empty() {
            self.spill()?;
        }
        let Some(Spilled { file, runs }) = self.spilled else {
            self.records.sort_unstable();
            return Ok(Sorted::Memory(self.records.into_iter()));
        };
        let mut start = 0;
        let mut merge = Merge {
            file,
            runs: Vec::new(),
            next: BinaryHeap::new(),
        };
        for (at, len) in runs.into_iter().enumerate() {
            merge.runs.push(Run {
                next: start,
                end: start + len,
                read: Vec::new().into_iter(),
            });
            start += len;
            merge.advance(at)?;
        }
        Ok(Sorted::Merge(merge))
    }
}

/// Records in their order.
pub enum Sorted {
    /// All in memory.
    Memory(std::vec::IntoIter<Record>),
    /// From a file.
    Merge(Merge),
}

/// Runs that are merged.
pub struct Merge {
    file: File,
    runs: Vec<Run>,
    next: BinaryHeap<Reverse<(Record, usize)>>,
}

struct Run {
    next: u64,
    end: u64,
    read: std::vec::IntoIter<Record>,
}

impl Sorted {
    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// The disk of temporary files fails.
    pub fn next(&mut self) -> Result<Option<Record>> {
        match self {
            Sorted::Memory(records) => Ok(records.next()),
            Sorted::Merge(merge) => {
                let Some(Reverse((record, at))) = merge.next.pop() else {
                    return Ok(None);
                };
                merge.advance(at)?;
                Ok(Some(record))
            }
        }
    }
}

impl Merge {
    /// Puts the next record of a run among those that may be next of all.
    fn advance(&mut self, at: usize) -> Result<()> {
        let Some(run) = self.runs.get_mut(at) else {
            return Ok(());
        };
        if run.read.len() == 0 && run.next < run.end {
            let count = STEP.min(run.end - run.next);
            let mut bytes = vec![0; usize::try_from(count)? * RECORD];
            self.file
                .read_exact_at(&mut bytes, run.next * RECORD as u64)
                .context("reading what is compared from a temporary file")?;
            run.next += count;
            run.read = bytes.chunks_exact(RECORD).map(record).collect::<Vec<_>>().into_iter();
        }
        if let Some(record) = run.read.next() {
            self.next.push(Reverse((record, at)));
        }
        Ok(())
    }
}

fn record(bytes: &[u8]) -> Record {
    let number = |from: usize| {
        let mut number = [0; 16];
        number.copy_from_slice(&bytes[from..from + 16]);
        u128::from_le_bytes(number)
    };
    (number(0), number(16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_in_order_whether_they_had_room_or_not() {
        let mut random = fastrand::Rng::with_seed(7);
        for count in [0, 1, 999, 1000, 1001, 7777] {
            let mut wanted = Vec::new();
            let mut sorter = Sorter {
                run: 1000,
                ..Sorter::default()
            };
            for _ in 0..count {
                let record = (random.u128(0..1 << 90), random.u128(..));
                wanted.push(record);
                sorter.push(record).unwrap();
            }
            wanted.sort_unstable();
            let (mut sorted, mut found) = (sorter.sorted().unwrap(), Vec::new());
            while let Some(record) = sorted.next().unwrap() {
                found.push(record);
            }
            assert!(found == wanted, "{count}");
        }
    }
}

//! The text of COPY, cut into rows and values.

use memchr::{memchr, memchr_iter};

use crate::error::{Exit, Fail, Result};
use crate::reuse::emptied;

/// What is told of each row: its values. It says whether it wants more.
pub type Each<'a> = dyn FnMut(&[&[u8]]) -> Result<bool> + Send + 'a;

/// What stands after the last row of an archive.
const END: &[u8] = b"\\.";

/// Cuts pieces, which may end anywhere, into rows.
#[derive(Default)]
pub struct Cut {
    open: Vec<u8>,
    ended: bool,
}

impl Cut {
    /// Hands the rows of the next piece to `each`; says whether there may be more that it wants.
    pub fn feed(&mut self, mut piece: &[u8], each: &mut (dyn FnMut(&[u8]) -> Result<bool> + Send)) -> Result<bool> {
        while let Some(end) = memchr(b'\n', piece) {
            let (rest, after) = (&piece[..end], &piece[end + 1..]);
            piece = after;
            if self.ended {
                continue;
            }
            let more = if self.open.is_empty() {
                self.row(rest, each)?
            } else {
                self.open.extend_from_slice(rest);
                let row = std::mem::take(&mut self.open);
                let more = self.row(&row, each)?;
                self.open = row;
                self.open.clear();
                more
            };
            if !more {
                return Ok(false);
            }
        }
        self.open.extend_from_slice(piece);
        Ok(true)
    }

    fn row(&mut self, row: &[u8], each: &mut (dyn FnMut(&[u8]) -> Result<bool> + Send)) -> Result<bool> {
        if row == END {
            self.ended = true;
            return Ok(true);
        }
        each(row)
    }

    /// Makes sure that the rows of an archive have come to their end.
    pub fn finish(&self) -> Result<()> {
        match self.ended {
            true => Ok(()),
            false => Err(Fail::new(Exit::Damaged, "the rows do not end as rows do").into()),
        }
    }
}

/// Cuts rows into their values.
#[derive(Default)]
pub struct Values {
    all: Vec<&'static [u8]>,
    chosen: Vec<&'static [u8]>,
}

impl Values {
    /// Hands all values of a row to `each`. No value has a tab in it: COPY writes `\t`.
    pub fn all(&mut self, row: &[u8], each: &mut Each<'_>) -> Result<bool> {
        let mut all = emptied(std::mem::take(&mut self.all));
        all.extend(split(row));
        let more = each(&all);
        self.all = emptied(all);
        more
    }

    /// Hands those at `positions` to `each`.
    pub fn chosen(&mut self, row: &[u8], positions: &[usize], each: &mut Each<'_>) -> Result<bool> {
        let mut all = emptied(std::mem::take(&mut self.all));
        let mut chosen = emptied(std::mem::take(&mut self.chosen));
        all.extend(split(row));
        chosen.extend(positions.iter().filter_map(|at| all.get(*at).copied()));
        anyhow::ensure!(chosen.len() == positions.len(), "a row has fewer values than columns");
        let more = each(&chosen);
        (self.all, self.chosen) = (emptied(all), emptied(chosen));
        more
    }
}

fn split(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr_iter(b'\t', row).chain([row.len()]);
    ends.scan(0, |start, end| {
        let value = &row[*start..end];
        *start = end + 1;
        Some(value)
    })
}

/// The value itself; `None` for NULL.
pub fn plain(value: &[u8]) -> Option<String> {
    if value == b"\\N" {
        return None;
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 11,
                Some(other) => *other,
                None => b'\\',
            },
            byte => *byte,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_wherever_pieces_end() {
        let text = b"1\tone\n2\t\\N\n\n3\tt\\tab\n\\.\n\n\n";
        for most in 1..text.len() {
            let (mut cut, mut rows) = (Cut::default(), Vec::new());
            for piece in text.chunks(most) {
                let more = cut.feed(piece, &mut |row| {
                    rows.push(String::from_utf8(row.to_vec()).unwrap());
                    Ok(true)
                });
                assert!(more.unwrap());
            }
            cut.finish().unwrap();
            assert_eq!(rows, ["1\tone", "2\t\\N", "", "3\tt\\tab"]);
        }
        assert!(Cut::default().finish().is_err());
    }

    #[test]
    fn values_are_what_the_table_has() {
        let row = b"a\\tb\t\\N\t\\\\N\t";
        let text = |text: &str| Some(text.to_owned());
        let (mut values, mut found) = (Values::default(), Vec::new());
        for _ in 0..2 {
            let mut each = |values: &[&[u8]]| {
                found.push(values.iter().copied().map(plain).collect::<Vec<_>>());
                Ok(true)
            };
            assert!(values.all(row, &mut each).unwrap());
            assert!(values.chosen(row, &[2, 0], &mut each).unwrap());
        }
        let all = vec![text("a\tb"), None, text("\\N"), text("")];
        let chosen = vec![text("\\N"), text("a\tb")];
        assert_eq!(found, [all.clone(), chosen.clone(), all, chosen]);
        assert!(values.chosen(row, &[4], &mut |_| Ok(true)).is_err());
    }
}

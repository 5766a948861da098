//! The LZ4 frame format, read piece by piece: the library only has a decoder that pulls.

use anyhow::{Context as _, bail, ensure};

use crate::error::Result;

const MAGIC: u32 = 0x184D_2204;
/// A block may refer to this much of what came before it.
const WINDOW: usize = 64 << 10;

/// Decompresses frames one after the other.
#[derive(Default)]
pub(super) struct Decoder {
    state: State,
    /// Input that does not fill the next item yet: at most one block.
    pending: Vec<u8>,
    frame: FrameInfo,
    /// The end of what was decompressed, for linked blocks.
    window: Vec<u8>,
    block: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between frames: the stream may end here.
    #[default]
    Start,
    /// After the magic number and the flags, which say how long the rest of the header is.
    Header,
    BlockSize,
    Block {
        size: usize,
        compressed: bool,
    },
    Checksum,
}

#[derive(Clone, Copy, Debug, Default)]
struct FrameInfo {
    linked: bool,
    block_checksum: bool,
    content_size: bool,
    content_checksum: bool,
    dictionary: bool,
    max_block: usize,
}

impl Decoder {
    pub fn is_complete(&self) -> bool {
        self.state == State::Start && self.pending.is_empty()
    }

    /// Takes input until a block was decompressed or the input is used up; returns how much was taken.
    pub fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        let mut taken = 0;
        let before = out.len();
        while out.len() == before {
            let need = self.next_item();
            let take = need.saturating_sub(self.pending.len()).min(input.len() - taken);
            self.pending.extend_from_slice(&input[taken..taken + take]);
            taken += take;
            if self.pending.len() < need {
                break;
            }
            let item = std::mem::take(&mut self.pending);
            self.take_item(&item, out)?;
            self.pending = item;
            self.pending.clear();
        }
        // What needs no more bytes is done at once, so that the end of the last frame is not missed.
        if self.state == State::Checksum && self.next_item() == 0 {
            self.state = State::Start;
        }
        Ok(taken)
    }

    /// How many bytes the next item has.
    fn next_item(&self) -> usize {
        let checksum = |has: bool| if has { 4 } else { 0 };
        match self.state {
            State::Start => 6,
            State::Header => {
                let size = if self.frame.content_size { 8 } else { 0 };
                size + checksum(self.frame.dictionary) + 1
            }
            State::BlockSize => 4,
            State::Block { size, .. } => size + checksum(self.frame.block_checksum),
            State::Checksum => checksum(self.frame.content_checksum),
        }
    }

    fn take_item(&mut self, item: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.state = match self.state {
            State::Start => {
                self.frame = frame_info(item)?;
                self.window.clear();
                State::Header
            }
            State::Header => State::BlockSize,
            State::BlockSize => self.block_state(item)?,
            State::Block { size, compressed } => {
                self.decompress(&item[..size], compressed, out)?;
                State::BlockSize
            }
            State::Checksum => State::Start,
        };
        Ok(())
    }

    fn block_state(&self, item: &[u8]) -> Result<State> {
        let word = u32::from_le_bytes(item.try_into().context("a block size has four bytes")?);
        let size = (word & 0x7fff_ffff) as usize;
        if word == 0 {
            return Ok(State::Checksum);
        }
        ensure!(
            size <= self.frame.max_block,
            "the compressed data is damaged: block of {size} bytes"
        );
        Ok(State::Block {
            size,
            compressed: word >> 31 == 0,
        })
    }

    fn decompress(&mut self, bytes: &[u8], compressed: bool, out: &mut Vec<u8>) -> Result<()> {
        let made = if compressed {
            self.block.resize(self.frame.max_block, 0);
            let made = lz4_flex::block::decompress_into_with_dict(bytes, &mut self.block, &self.window)
                .context("the compressed data is damaged")?;
            &self.block[..made]
        } else {
            bytes
        };
        if self.frame.linked {
            self.window.extend_from_slice(made);
            let beyond = self.window.len().saturating_sub(WINDOW);
            self.window.drain(..beyond);
        }
        out.extend_from_slice(made);
        Ok(())
    }
}

fn frame_info(item: &[u8]) -> Result<FrameInfo> {
    let (magic, flags, block) = match item {
        [a, b, c, d, flags, block] => (u32::from_le_bytes([*a, *b, *c, *d]), *flags, *block),
        _ => bail!("an LZ4 frame starts with six bytes"),
    };
    ensure!(magic == MAGIC && flags >> 6 == 1, "no LZ4 frame where one should start");
    let max_block = match (block >> 4) & 7 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => bail!("the compressed data is damaged: unknown LZ4 block size"),
    };
    Ok(FrameInfo {
        linked: flags & 0x20 == 0,
        block_checksum: flags & 0x10 != 0,
        content_size: flags & 0x08 != 0,
        content_checksum: flags & 0x04 != 0,
        dictionary: flags & 0x01 != 0,
        max_block,
    })
}

//! What is sealed and opened whole, because it is small.

use std::io::{Read as _, Write as _};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use anyhow::Context as _;
use bytes::Bytes;

use super::header::Opener;
use super::keys::{Identities, Recipients};
use super::stream::Sealer;
use crate::error::{Exit, Fail, Result};

/// Seals `plain` as a file.
///
/// # Errors
/// The recipients cannot be combined.
pub fn seal_bytes(recipients: &Recipients, plain: &[u8]) -> Result<Bytes> {
    let mut sealer = Sealer::new(recipients)?;
    let mut sealed = sealer.push(plain)?.to_vec();
    let end = sealer.finish(&[])?;
    sealed.extend_from_slice(&end.last);
    sealed[..end.head.len()].copy_from_slice(&end.head);
    Ok(sealed.into())
}

/// Seals `plain` as text: age's armor.
///
/// # Errors
/// The recipients cannot be combined.
pub fn seal_text(recipients: &Recipients, plain: &[u8]) -> Result<String> {
    let mut armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
    armor.write_all(&seal_bytes(recipients, plain)?)?;
    String::from_utf8(armor.finish()?).context("armor is ASCII")
}

/// Opens what [`seal_text`] made; `None` when no key fits.
///
/// # Errors
/// [`Exit::Damaged`]: the text was changed.
pub fn open_text(text: &str, identities: &Identities) -> Result<Option<Bytes>> {
    let mut sealed = Vec::new();
    ArmoredReader::new(text.as_bytes())
        .read_to_end(&mut sealed)
        .map_err(|error| Fail::new(Exit::Damaged, format!("its armor cannot be read: {error}")))?;
    let Some(opener) = Opener::new(&sealed, sealed.len() as u64, identities)? else {
        return Ok(None);
    };
    let plain = 0..opener.plain_len();
    let range = opener.sealed(&plain)?;
    let payload = sealed.get(usize::try_from(range.start)?..usize::try_from(range.end)?);
    opener.open(&plain, payload.context("it is cut")?).map(Some)
}

//! `[http]`: where the status page is, and for whom.

use super::{impossible, raw};
use crate::error::Result;
use crate::watch::http::{Access, Listen, Network};

/// Makes sense of `[http]`.
pub(super) fn http(raw: &raw::Http) -> Result<Option<(Listen, Access)>> {
    let Some(listen) = &raw.listen else {
        return Ok(None);
    };
    let listen: Listen = listen.parse().map_err(|why: String| impossible("http.listen", &why))?;
    let networks = raw.allow_from.0.iter().map(|text| text.parse::<Network>());
    let allow_from = networks
        .collect::<Result<Vec<_>, String>>()
        .map_err(|why| impossible("http.allow_from", &why))?;
    let access = Access {
        allow_from,
        token_file: raw.token_file.clone(),
    };
    Ok(Some((listen, access)))
}

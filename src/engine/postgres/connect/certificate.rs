//! When the certificate of a server ends, read from its own text (X.509, DER).

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, NaiveDateTime, Utc};

use super::{Dsn, Layer, SslMode, carrier_noting};
use crate::error::Result;

/// The end of the certificate that a server has shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Arc<OnceLock<DateTime<Utc>>>);

impl Seen {
    /// Takes note of a certificate.
    pub(super) fn note(&self, certificate: &[u8]) {
        if let Some(end) = end_of(certificate) {
            let _ = self.0.set(end);
        }
    }
}

/// When the certificate of the server of `dsn` ends; nothing where it is reached without TLS.
///
/// # Errors
/// The server cannot be reached.
pub async fn certificate_ends(dsn: &Dsn) -> Result<Option<DateTime<Utc>>> {
    let hosts = dsn.hosts.iter().filter(|host| !host.is_socket());
    let mut last = Ok(None);
    for host in hosts.filter(|_| dsn.tls.mode >= SslMode::Prefer) {
        let seen = Seen::default();
        match carrier_noting(dsn, host, Layer::TlsIfOffered, &seen).await {
            Ok(_) => return Ok(seen.0.get().copied()),
            Err(error) => last = Err(error),
        }
    }
    last
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version of a certificate, which those of version 1 have not.
const VERSION: u8 = 0xA0;

/// The end of the validity of a certificate.
fn end_of(certificate: &[u8]) -> Option<DateTime<Utc>> {
    let (_, certificate, _) = value(certificate)?;
    let (_, mut fields, _) = value(certificate)?;
    if *fields.first()? == VERSION {
        (_, _, fields) = value(fields)?;
    }
    // The serial number, the algorithm and the issuer.
    for _ in 0..3 {
        (_, _, fields) = value(fields)?;
    }
    let (kind, validity, _) = value(fields)?;
    let (_, _, end) = value(validity)?;
    let (form, text, _) = value(end)?;
    let text = std::str::from_utf8(text).ok().filter(|_| kind == SEQUENCE)?;
    let text = match form {
        // Two digits of a year are those of 1950 to 2049.
        UTC_TIME => match text.get(..2)?.parse::<u8>().ok()? {
            50.. => format!("19{text}"),
            _ => format!("20{text}"),
        },
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?;
    Some(time.and_utc())
}

/// The tag and the content of the first value of `der`, and what follows.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        let (bytes, after) = rest.split_at_checked(length & 0x7F)?;
        if bytes.len() > 4 {
            return None;
        }
        length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for text in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x30\x01\xa0"] {
            assert_eq!(end_of(text), None);
        }
    }
}

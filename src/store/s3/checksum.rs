//! Checksums as S3 has them: SHA-256 in base64, or MD5 in hex, which is the ETag on nearly all servers; of an object in
//! parts the sum of its parts' sums.

use md5::{Digest as _, Md5};
use sha2::{Digest as _, Sha256};

/// What a server may say of bytes, for comparison with its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sum {
    /// Of servers that have checksums.
    Sha256(Vec<u8>),
    /// Of all others.
    Md5(Vec<u8>),
}

/// Which of them.
#[derive(Clone, Copy, Debug)]
pub enum Algorithm {
    Sha256,
    Md5,
}

impl Algorithm {
    /// The sum of `bytes`.
    pub fn sum(self, bytes: &[u8]) -> Sum {
        match self {
            Algorithm::Sha256 => Sum::Sha256(Sha256::digest(bytes).to_vec()),
            Algorithm::Md5 => Sum::Md5(Md5::digest(bytes).to_vec()),
        }
    }

    /// What is said of an object that was sent in parts of these sums.
    pub fn composite<'a>(self, parts: impl ExactSizeIterator<Item = &'a Sum>) -> String {
        let count = parts.len();
        let sums: Vec<u8> = parts.flat_map(|sum| sum.bytes()).copied().collect();
        format!("{}-{count}", self.sum(&sums).text())
    }
}

impl Sum {
    fn bytes(&self) -> &[u8] {
        match self {
            Sum::Sha256(bytes) | Sum::Md5(bytes) => bytes,
        }
    }

    /// How the server writes it.
    pub fn text(&self) -> String {
        match self {
            Sum::Sha256(bytes) => base64(bytes),
            Sum::Md5(bytes) => hex(bytes),
        }
    }

    /// The header `x-amz-checksum-sha256`.
    pub fn sha256(&self) -> Option<String> {
        matches!(self, Sum::Sha256(_)).then(|| self.text())
    }

    /// The header `Content-MD5`: a server refuses what does not arrive as it was sent.
    pub fn md5(&self) -> Option<String> {
        matches!(self, Sum::Md5(_)).then(|| base64(self.bytes()))
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| char::from(DIGITS[(bits & 63) as usize]);
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        text.extend([digit(bits >> 18), digit(bits >> 12)]);
        text.push(if group.len() > 1 { digit(bits >> 6) } else { '=' });
        text.push(if group.len() > 2 { digit(bits) } else { '=' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn the_sum_of_an_object_is_that_of_its_parts() {
        // Made with sha256sum, md5sum and openssl.
        for (algorithm, whole) in [
            (Algorithm::Sha256, "5aAf7hTg7VxIcU8iGA8lrYNltT+XefedxKPX6Tlj+Uo=-2"),
            (Algorithm::Md5, "96e024ba2074fe77e8e965ba43a704be-2"),
        ] {
            let parts = [algorithm.sum(b"a"), algorithm.sum(b"b")];
            assert_eq!(algorithm.composite(parts.iter()), whole);
        }
        assert_eq!(Algorithm::Md5.sum(b"a").text(), "0cc175b9c0f1b6a831c399e269772661");
        assert_eq!(Algorithm::Md5.sum(b"a").md5().unwrap(), "DMF1ucDxtqgxw5niaXcmYQ==");
    }
}

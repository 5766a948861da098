//! Who may ask: by address, and by a token.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// Some addresses: one, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address such as 192.0.2.7 or 192.0.2.0/24");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.trim().parse().map_err(|_| wrong()))?;
        match bits <= most {
            true => Ok(Network { address, bits }),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Network {
    /// Whether `other` is one of them. An IPv4 address that came over IPv6 is what it is.
    #[must_use]
    pub fn contains(&self, other: IpAddr) -> bool {
        let number = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        };
        let other = other.to_canonical();
        let same_kind = self.address.is_ipv4() == other.is_ipv4();
        let differ = number(self.address) ^ number(other);
        same_kind && differ.leading_zeros() >= u32::from(self.bits)
    }
}

/// Who may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// From where; from anywhere when it is empty.
    pub allow_from: Vec<Network>,
    /// The file whose first line is the token, if there is one. It is read for each request, so that a new one needs no restart.
    pub token_file: Option<PathBuf>,
}

impl Access {
    /// Whether somebody at this address may ask; `None` is one who came through the socket's file.
    #[must_use]
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        match address {
            Some(address) if !self.allow_from.is_empty() => self.allow_from.iter().any(|it| it.contains(address)),
            _ => true,
        }
    }

    /// Whether this header opens the door. A file that cannot be read keeps it shut.
    #[must_use]
    pub fn knows(&self, authorization: Option<&str>) -> bool {
        let Some(file) = &self.token_file else { return true };
        let token = std::fs::read_to_string(file).ok();
        let token = token.as_deref().and_then(|text| text.lines().next()).map(str::trim);
        let given = authorization.and_then(|text| text.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match (token, given) {
            // By their hashes: how long a comparison takes tells nothing of the token then.
            (Some(token), Some((_, given))) if !token.is_empty() => {
                Sha256::digest(token) == Sha256::digest(given.trim())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let holds = |network: &str, address: &str| {
            let network: Network = network.parse().unwrap();
            network.contains(address.parse().unwrap())
        };
        assert!(holds("192.0.2.0/24", "192.0.2.255") && !holds("192.0.2.0/24", "192.0.3.0"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3") && holds("2001:db8::/32", "2001:db8:1::"));
        for wrong in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/x", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_token_of_the_file_opens_the_door() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let access = Access {
            token_file: Some(file.path().to_owned()),
            ..Access::default()
        };
        // An empty file is no token that anybody could guess.
        assert!(!access.knows(Some("Bearer ")) && !access.knows(None));
        std::fs::write(file.path(), "open sesame\n").unwrap();
        assert!(access.knows(Some("Bearer open sesame")) && access.knows(Some("bearer open sesame")));
        for wrong in ["open sesame", "Basic open sesame", "Bearer open", "Bearer"] {
            assert!(!access.knows(Some(wrong)), "{wrong}");
        }
        assert!(Access::default().knows(None));
    }
}

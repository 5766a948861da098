//! The encoding of a session, and how it begins. The driver takes the names of database and role as UTF-8 only, and asks for
//! that itself; names may be in any encoding, and libpq leaves the session's to the server's settings.

use std::borrow::Cow;

use crate::raw_text;

/// What the driver writes into each startup message, first of all.
const ASKED: &[u8] = b"client_encoding\0UTF8\0";
/// The same for no encoding.
const BYTES: &[u8] = b"client_encoding\0SQL_ASCII\0";
/// Length and protocol version come before.
const HEAD: usize = 8;

/// The encoding that a session asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// As the driver does.
    Utf8,
    /// None, as libpq does: what the server's settings say.
    AsSet,
    /// None at all: bytes come and go as they are. Nothing else lets us into a database whose encoding is not known to
    /// become UTF-8, or is none.
    Bytes,
}

/// The startup message with its names in their own encoding, and with the wish for an encoding that is `asked` for; other
/// messages as they are.
pub(super) fn startup(message: &[u8], asked: Asked) -> Cow<'_, [u8]> {
    let as_it_is = Cow::Borrowed(message);
    let Some((head, pairs)) = message.split_at_checked(HEAD) else {
        return as_it_is;
    };
    let (Some(others), Ok(_)) = (pairs.strip_prefix(ASKED), std::str::from_utf8(pairs)) else {
        return as_it_is;
    };
    let pairs = match asked {
        Asked::Utf8 => Cow::Borrowed(pairs),
        Asked::AsSet => Cow::Borrowed(others),
        Asked::Bytes => Cow::Owned([BYTES, others].concat()),
    };
    let pairs = String::from_utf8_lossy(&pairs);
    let pairs = raw_text::encode(&pairs);
    let length = u32::try_from(HEAD + pairs.len()).unwrap_or(u32::MAX).to_be_bytes();
    Cow::Owned([&length, &head[4..], &pairs].concat())
}

/// Reads along, and keeps what is not ASCII in the settings that the server reports from the driver, which would break
/// off: the name of the role, for one. Nobody asks for those.
#[derive(Default)]
pub(super) struct Reported {
    /// Type and length of a message, and how many bytes of them have come.
    head: [u8; 5],
    came: usize,
    /// How many bytes of the message are still to come.
    left: usize,
}

impl Reported {
    pub(super) fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (body, rest) = bytes.split_at_mut(self.left.min(bytes.len()));
                self.left -= body.len();
                if self.head[0] == b'S' {
                    let foreign = body.iter_mut().filter(|byte| !byte.is_ascii());
                    foreign.for_each(|byte| *byte = b'?');
                }
                bytes = rest;
                continue;
            }
            let missing = (self.head.len() - self.came).min(bytes.len());
            let (head, rest) = bytes.split_at_mut(missing);
            self.head[self.came..self.came + missing].copy_from_slice(head);
            self.came = (self.came + missing) % self.head.len();
            if self.came == 0 {
                let [_, length @ ..] = self.head;
                self.left = (u32::from_be_bytes(length) as usize).saturating_sub(length.len());
            }
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    #[test]
    fn names_are_sent_as_they_are_and_no_encoding_is_asked_for() {
        let message = |pairs: &[u8]| {
            let length = u32::try_from(HEAD + pairs.len()).unwrap().to_be_bytes();
            [&length[..], &[0, 3, 0, 0], pairs].concat()
        };
        let user = raw_text::decode(b"j\xfcrgen");
        let asked = message(format!("client_encoding\0UTF8\0user\0{user}\0\0").as_bytes());
        let named = message(b"client_encoding\0UTF8\0user\0j\xfcrgen\0\0");
        assert_eq!(startup(&asked, Asked::Utf8)[..], named);
        assert_eq!(startup(&asked, Asked::AsSet)[..], message(b"user\0j\xfcrgen\0\0"));
        let bytes = message(b"client_encoding\0SQL_ASCII\0user\0j\xfcrgen\0\0");
        assert_eq!(startup(&asked, Asked::Bytes)[..], bytes);
        // A request to cancel.
        let cancel = message(&[0xF4, 0x8F, 0xBF, 0x80, 0, 0, 0, 0]);
        assert_eq!(startup(&cancel, Asked::AsSet)[..], cancel);
    }

    #[test]
    fn what_is_reported_becomes_ascii_and_nothing_else() {
        let said = |name: &[u8]| {
            let salt = message(b'R', &[0, 0, 0, 5, 0xE4, 0xF6, 0xFC, 0xDF]);
            let reported = message(b'S', &[b"session_authorization\0", name, b"\0"].concat());
            let ready = message(b'Z', b"I");
            [salt, reported, message(b'n', b""), ready].concat()
        };
        let row = message(b'D', b"S\0\0\0\x05\xe4");
        let later = |name: &[u8]| message(b'S', &[b"search_path\0", name].concat());
        let expected = [said(b"j?rgen"), row.clone(), later(b"?")].concat();
        for piece in [1, 3, 1000] {
            let mut bytes = [said(b"j\xfcrgen"), row.clone(), later(b"\xe4")].concat();
            let mut reported = Reported::default();
            bytes.chunks_mut(piece).for_each(|piece| reported.pass(piece));
            assert_eq!(bytes, expected, "in pieces of {piece}");
        }
    }
}

//! The beginning of a session. The driver takes the names of database and role as UTF-8 only, and asks for that itself; names
//! may be in any encoding, and libpq leaves the session's to the server's settings.

use std::borrow::Cow;

use crate::raw_text;

/// What the driver writes into each startup message, first of all.
const ASKED: &[u8] = b"client_encoding\0UTF8\0";
/// Length and protocol version come before.
const HEAD: usize = 8;

/// The startup message with its names in their own encoding, and when the session's is `as_set` without the driver's wish
/// for one; other messages as they are.
pub(super) fn startup(message: &[u8], as_set: bool) -> Cow<'_, [u8]> {
    let as_it_is = Cow::Borrowed(message);
    let Some((head, pairs)) = message.split_at_checked(HEAD) else {
        return as_it_is;
    };
    let (Some(others), Ok(_)) = (pairs.strip_prefix(ASKED), std::str::from_utf8(pairs)) else {
        return as_it_is;
    };
    let pairs = String::from_utf8_lossy(if as_set { others } else { pairs });
    let pairs = raw_text::encode(&pairs);
    let length = u32::try_from(HEAD + pairs.len()).unwrap_or(u32::MAX).to_be_bytes();
    Cow::Owned([&length, &head[4..], &pairs].concat())
}

/// Reads along until the server is ready, and keeps what is not ASCII in the settings that it reports from the driver,
/// which would break off: the name of the role, for one. Nobody asks for those.
#[derive(Default)]
pub(super) struct Greeting {
    /// Type and length of a message, and how many bytes of them have come.
    head: [u8; 5],
    came: usize,
    /// How many bytes of the message are still to come.
    left: usize,
    over: bool,
}

impl Greeting {
    pub(super) fn pass(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.over {
                return;
            }
            if self.left > 0 {
                self.left -= 1;
                if self.head[0] == b'S' && !byte.is_ascii() {
                    *byte = b'?';
                }
                continue;
            }
            self.head[self.came] = *byte;
            self.came = (self.came + 1) % self.head.len();
            if self.came == 0 {
                let [kind, length @ ..] = self.head;
                self.left = (u32::from_be_bytes(length) as usize).saturating_sub(length.len());
                self.over = kind == b'Z';
            }
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
        assert_eq!(startup(&asked, false)[..], named);
        assert_eq!(startup(&asked, true)[..], message(b"user\0j\xfcrgen\0\0"));
        // A request to cancel.
        let cancel = message(&[0xF4, 0x8F, 0xBF, 0x80, 0, 0, 0, 0]);
        assert_eq!(startup(&cancel, true)[..], cancel);
    }

    #[test]
    fn what_is_reported_at_the_start_becomes_ascii_and_nothing_else() {
        let said = |name: &[u8]| {
            let salt = message(b'R', &[0, 0, 0, 5, 0xE4, 0xF6, 0xFC, 0xDF]);
            let reported = message(b'S', &[b"session_authorization\0", name, b"\0"].concat());
            let ready = message(b'Z', b"I");
            [salt, reported, message(b'n', b""), ready].concat()
        };
        let row = message(b'S', b"\xe4");
        let expected = [said(b"j?rgen"), row.clone()].concat();
        for piece in [1, 3, 1000] {
            let mut bytes = [said(b"j\xfcrgen"), row.clone()].concat();
            let mut greeting = Greeting::default();
            bytes.chunks_mut(piece).for_each(|piece| greeting.pass(piece));
            assert_eq!(bytes, expected, "in pieces of {piece}");
        }
    }
}

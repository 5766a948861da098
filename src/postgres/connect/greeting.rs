//! The beginning of a session whose encoding is left to the server's settings, as libpq leaves it. The driver knows no
//! such session: it asks for UTF-8, and takes the settings that the server reports as that.

use std::borrow::Cow;

/// What the driver writes into each startup message, first of all.
const ASKED: &[u8] = b"client_encoding\0UTF8\0";
/// Length and protocol version come before.
const HEAD: usize = 8;

/// The startup message without the driver's wish for an encoding; other messages as they are.
pub(super) fn without_encoding(message: &[u8]) -> Cow<'_, [u8]> {
    let Some((head, rest)) = message.split_at_checked(HEAD) else {
        return Cow::Borrowed(message);
    };
    let Some(rest) = rest.strip_prefix(ASKED) else {
        return Cow::Borrowed(message);
    };
    let length = u32::try_from(HEAD + rest.len()).unwrap_or(u32::MAX).to_be_bytes();
    Cow::Owned([&length, &head[4..], rest].concat())
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
    fn the_driver_does_not_ask_for_an_encoding() {
        let startup = |pairs: &[u8]| {
            let length = u32::try_from(HEAD + pairs.len()).unwrap().to_be_bytes();
            [&length[..], &[0, 3, 0, 0], pairs].concat()
        };
        let asked = startup(b"client_encoding\0UTF8\0user\0ann\0\0");
        assert_eq!(without_encoding(&asked)[..], startup(b"user\0ann\0\0"));
        // A request to cancel.
        let cancel = startup(&[0; 8]);
        assert_eq!(without_encoding(&cancel)[..], cancel);
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

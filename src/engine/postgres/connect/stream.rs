//! The byte stream under a session: a Unix or TCP socket, with or without TLS, that lets statements of any
//! encoding through.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use memchr::memchr_iter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::brake::Brake;
use super::greeting::{self, Asked, Reported};
use crate::raw_text;

/// A connected socket; it has no TLS layer yet, or never gets one.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! on_socket {
    ($self:ident, $socket:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Tcp($socket) => $call,
            Socket::Unix($socket) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_socket!(self, socket => Pin::new(socket).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }
}

impl TlsStream for Socket {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// What carries a session: a socket, or a TLS layer on one.
pub(super) type Carrier = Box<dyn TlsStream + Send + Unpin>;

/// A carrier on which statements are put back into the database's encoding.
///
/// The driver takes statements as UTF-8 only, while names may be in any encoding and are kept as
/// [`raw_text`] keeps them. So messages that hold a statement are encoded here, with their length, on their way
/// out. Everything else passes unchanged; a parameter is bytes already.
pub(super) struct Stream {
    inner: Carrier,
    brake: Brake,
    asked: Asked,
    /// The settings that the server reports may be in any encoding.
    reported: Reported,
    /// What the driver wrote and is not sent yet: first whole messages, then the start of one.
    partial: BytesMut,
    /// Whole messages that are not sent yet.
    ready: BytesMut,
    /// So many bytes that the driver writes next go as they are.
    unchanged: usize,
    /// The first message has no type byte.
    started: bool,
}

impl Stream {
    /// For a session whose encoding is `asked` for.
    pub(super) fn new(inner: Carrier, asked: Asked) -> Self {
        Stream {
            inner,
            brake: Brake::default(),
            asked,
            reported: Reported::default(),
            partial: BytesMut::new(),
            ready: BytesMut::new(),
            unchanged: 0,
            started: false,
        }
    }

    /// What keeps it from reading.
    pub(super) fn brake(&self) -> Brake {
        self.brake.clone()
    }

    /// Moves whole messages from `partial` to `ready`.
    fn take_messages(&mut self) {
        loop {
            let type_bytes = usize::from(self.started);
            let Some(length) = self.partial.get(type_bytes..type_bytes + 4) else {
                return;
            };
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
            if self.partial.len() < type_bytes + length {
                return;
            }
            let message = self.partial.split_to(type_bytes + length);
            if self.started && matches!(message[0], b'Q' | b'P') && has_kept(&message) {
                self.ready.extend_from_slice(&encode(&message));
            } else if !self.started {
                let message = greeting::startup(&message, self.asked);
                self.ready.extend_from_slice(&message);
            } else {
                self.ready.extend_from_slice(&message);
            }
            self.started = true;
        }
    }

    /// How many bytes of `written` can be sent as they are: messages without text that has to be changed. Rows and large
    /// statements are not copied, nor do they wait for their end.
    fn unchanged(&self, written: &[u8]) -> usize {
        if !self.started || !self.partial.is_empty() {
            return 0;
        }
        let mut at = 0;
        while let Some([kind, length @ ..]) = written.get(at..at + HEAD) {
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
            let end = at + 1 + length;
            if matches!(kind, b'Q' | b'P') && written.get(at..end).is_none_or(has_kept) {
                break;
            }
            at = end;
        }
        at
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ready.is_empty() {
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.ready))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.ready.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

/// Type and length of a message.
const HEAD: usize = 5;

/// Whether a kept byte (U+10FF00 and up, see [`raw_text`]) may be in there.
fn has_kept(message: &[u8]) -> bool {
    memchr_iter(0xF4, message).any(|at| message.get(at + 1) == Some(&0x8F))
}

/// The message with its text in its own encoding: a query, or the name and statement of a parse message,
/// whose parameter types follow the second NUL and are not text.
fn encode(message: &[u8]) -> Vec<u8> {
    let body = &message[5..];
    let strings = if message[0] == b'Q' { 1 } else { 2 };
    let end = body
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == 0)
        .nth(strings - 1)
        .map_or(body.len(), |(at, _)| at + 1);
    let (text, rest) = body.split_at(end);
    let text = String::from_utf8_lossy(text);
    let text = raw_text::encode(&text);
    let length = u32::try_from(4 + text.len() + rest.len()).unwrap_or(u32::MAX);
    [&message[..1], &length.to_be_bytes(), &text, rest].concat()
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.brake.stops(cx) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.reported.pass(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // Bounded: what was taken before is sent before more is taken.
        ready!(self.poll_send(cx))?;
        if self.unchanged == 0 {
            self.unchanged = self.unchanged(buf);
        }
        if self.unchanged > 0 {
            let most = self.unchanged.min(buf.len());
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, &buf[..most]))?;
            self.unchanged -= sent;
            return Poll::Ready(Ok(sent));
        }
        self.partial.extend_from_slice(buf);
        self.take_messages();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

/// Hands the driver a stream that is complete already: hosts, timeouts and TLS are decided before.
pub(super) struct Ready;

impl TlsConnect<Stream> for Ready {
    type Stream = Stream;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Stream>>;

    fn connect(self, stream: Stream) -> Self::Future {
        std::future::ready(Ok(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn nothing_is_read_while_the_brake_is_held() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = Stream::new(Box::new(Socket::Unix(ours)), Asked::Utf8);
        let brake = stream.brake();
        let (first, second) = (brake.hold(), brake.hold());
        theirs.write_all(b"x").await.unwrap();
        let read = tokio::spawn(async move { stream.read_u8().await });
        tokio::task::yield_now().await;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!read.is_finished());
        drop(second);
        assert_eq!(read.await.unwrap().unwrap(), b'x');
    }

    #[tokio::test]
    async fn statements_leave_in_their_own_encoding() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = Stream::new(Box::new(Socket::Unix(ours)), Asked::Utf8);
        let startup = [0, 0, 0, 8, 0, 3, 0, 0];
        let kept = raw_text::decode(b"caf\xe9");
        let message = |kind: u8, body: &[u8]| {
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            [&[kind][..], &length, body].concat()
        };
        let query = message(b'Q', format!("SELECT {kept}\0").as_bytes());
        let parse = message(b'P', format!("\0SELECT {kept}\0\0\u{1}ABCD").as_bytes());
        let copy = message(b'd', kept.as_bytes());
        let plain = message(b'Q', b"SELECT '\xc3\xa9'\0");
        let all = [&copy[..], &plain, &query, &parse, &plain, &copy].concat();
        let expected = [
            &startup[..],
            &copy,
            &plain,
            &message(b'Q', b"SELECT caf\xe9\0"),
            &message(b'P', b"\0SELECT caf\xe9\0\0\x01ABCD"),
            &plain,
            &copy,
        ];
        // In pieces, as the driver may write them.
        stream.write_all(&startup).await.unwrap();
        for len in [1, 7, 20, all.len()] {
            for piece in all.chunks(len) {
                stream.write_all(piece).await.unwrap();
            }
        }
        stream.shutdown().await.unwrap();
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).await.unwrap();
        let [startup, messages @ ..] = expected;
        assert_eq!(sent, [startup, &messages.concat().repeat(4)].concat());
    }
}

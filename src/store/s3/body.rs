//! The body of a request, piece by piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Bytes that go out at once.
const PIECE: usize = 256 << 10;

/// `bytes` as a body that can be sent again. It goes out in pieces, because of a body in one piece the SDK sees only that it
/// was taken, and then waits for an answer where nothing moves any more.
pub fn in_pieces(bytes: Bytes) -> ByteStream {
    let body = move || SdkBody::from_body_1_x(Pieces(bytes.clone()));
    ByteStream::new(SdkBody::retryable(body))
}

/// What is left of the bytes.
struct Pieces(Bytes);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.0.len().min(PIECE);
        let piece = (piece > 0).then(|| self.0.split_to(piece));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

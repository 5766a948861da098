//! What an S3 server said, in words for the person at 3 a.m.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::super::Full;
use super::S3;
use super::unanswered::{cause, unanswered};
use crate::error::{Exit, Fail};

/// Whether the answer means that there is no such object (and not that there is no such bucket).
pub fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match code(error) {
        Some("NoSuchKey" | "NotFound") => true,
        Some(_) => false,
        // HEAD has no body, so there is no code to tell from.
        None => status(error) == Some(404),
    }
}

/// Whether a list of unfinished uploads is empty, or something that the server does not keep: gofakes3 answers
/// `NoSuchUpload` when there are none, others do not implement the call.
pub fn has_no_uploads<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    matches!(code(error), Some("NoSuchUpload" | "NotImplemented"))
}

/// Whether the answer means that a multipart upload was ended before.
pub fn is_gone<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    code(error) == Some("NoSuchUpload")
}

/// Whether the server refused what would have been possible otherwise: for want of a right, or because of a lock.
pub fn is_refused<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    matches!(status(error), Some(403 | 409)) || code(error).is_some_and(|code| code.contains("Lock"))
}

/// Whether the server refused for want of a right, and for nothing else: not because it does not know who asks.
pub fn is_denied<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    code(error) == Some("AccessDenied")
}

/// Whether the server refused because a condition on the name did not hold.
pub fn is_taken<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    status(error) == Some(412)
}

impl S3 {
    /// An error with what was being done, what the server said or why it said nothing, and what to do about it.
    pub(super) fn explain<E>(&self, error: SdkError<E, HttpResponse>, what: &str) -> anyhow::Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let Some(status) = status(&error) else {
            let found = unanswered(&error, &self.server);
            return Fail::new(found.exit, format!("{what}: {}", found.why))
                .hint(found.hint)
                .into();
        };
        let said = match (code(&error), message(&error)) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            _ if status >= 300 => format!("the server answered {status} and gave no reason"),
            _ => match cause(&error) {
                // The SDK shows of a document what only its authors understand.
                cause if cause.contains("XML") => {
                    format!("the server answered {status}, and not as an S3 server does")
                }
                cause => format!("the server answered {status}, but the answer broke off: {cause}"),
            },
        };
        let mut fail = Fail::new(exit(&error), format!("{what}: {said}"));
        fail.hint = hint(&error).map(str::to_owned);
        match is_full(&error) {
            true => anyhow::Error::new(Full).context(fail),
            false => fail.into(),
        }
    }
}

/// Whether the server has no room left, in the words of those that say so.
fn is_full<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let says_so = |message: &str| {
        let message = message.to_ascii_lowercase();
        ["no space left", "quota", "disk full"]
            .iter()
            .any(|words| message.contains(words))
    };
    status(error) == Some(507)
        || matches!(
            code(error),
            Some("QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage")
        )
        || message(error).is_some_and(says_so)
}

fn exit<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Exit {
    match (code(error), status(error)) {
        (Some("NoSuchBucket"), _) => Exit::NotFound,
        (_, Some(401 | 403)) => Exit::Permission,
        _ => Exit::Failure,
    }
}

fn hint<E: ProvideErrorMetadata + std::error::Error + 'static>(
    error: &SdkError<E, HttpResponse>,
) -> Option<&'static str> {
    match (code(error), status(error)) {
        (Some("NoSuchBucket"), _) => Some("create the bucket first; Snapback never creates one"),
        (Some("ExpiredToken" | "ExpiredTokenException"), _) => {
            Some("the temporary credentials have expired; renew them")
        }
        (Some("RequestTimeTooSkewed"), _) => Some("this machine's clock is off; check time synchronisation"),
        (Some("InvalidAccessKeyId" | "SignatureDoesNotMatch"), _) => {
            Some("check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the region")
        }
        (Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"), _) => {
            Some("the bucket is in another region; set `region`")
        }
        (_, Some(403)) => Some(
            "the credentials lack a right on this bucket: s3:GetObject, PutObject, DeleteObject, ListBucket, AbortMultipartUpload are needed",
        ),
        (Some("SlowDown"), _) => Some(
            "the server is in trouble; this was tried several times (`attempts`). Try again later; `rclone serve s3` takes \
             large archives only with --multipart-streaming-buffer-limit 0 --multipart-streaming-buffer-total 0",
        ),
        (Some("ServiceUnavailable" | "InternalError"), _) | (None, Some(500..)) => {
            Some("the server is in trouble; this was tried several times (`attempts`). Try again later")
        }
        (None, Some(..300)) if cause(error).contains("XML") => {
            Some("check `endpoint_url`: it must be that of the S3 server itself, without the bucket")
        }
        (None, Some(..300)) => Some("check the network and the server"),
        _ => None,
    }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

fn message<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::message)
}

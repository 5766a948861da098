//! What an S3 server said, in words for the person at 3 a.m.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

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

/// Whether the server refused because a condition on the name did not hold.
pub fn is_taken<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    status(error) == Some(412)
}

/// An error with what was being done, what the server said, and what to do about it.
pub fn explain<E>(error: SdkError<E, HttpResponse>, what: &str) -> anyhow::Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let said = match (code(&error), message(&error)) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => DisplayErrorContext(&error).to_string(),
    };
    let mut fail = Fail::new(exit(&error), format!("{what}: {said}"));
    fail.hint = hint(code(&error), status(&error), &error).map(str::to_owned);
    fail.into()
}

fn exit<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Exit {
    match (code(error), status(error)) {
        (Some("NoSuchBucket"), _) => Exit::NotFound,
        (_, Some(401 | 403)) => Exit::Permission,
        _ => Exit::Failure,
    }
}

fn hint<E>(code: Option<&str>, status: Option<u16>, error: &SdkError<E, HttpResponse>) -> Option<&'static str> {
    match (code, status) {
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
        (Some("SlowDown" | "ServiceUnavailable" | "InternalError"), _) | (None, Some(500..)) => {
            Some("the server is in trouble; this was tried several times (`attempts`). Try again later")
        }
        _ if matches!(error, SdkError::DispatchFailure(_) | SdkError::TimeoutError(_)) => {
            Some("check `endpoint_url`, the network and the server's certificate")
        }
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

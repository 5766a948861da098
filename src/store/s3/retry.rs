//! What is tried again beyond what the SDK tries again by itself.

use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};

/// Codes of answers to requests whose bytes did not arrive as they were sent: the next time they will.
const GARBLED: [&str; 4] = [
    "BadDigest",
    "IncompleteBody",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
];

/// Lets a request be sent again that was garbled on its way.
#[derive(Debug)]
pub struct Garbled;

impl ClassifyRetry for Garbled {
    fn name(&self) -> &'static str {
        "Garbled"
    }

    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let answer = context.response().filter(|answer| answer.status().as_u16() == 400);
        let said = answer.and_then(|answer| answer.body().bytes()).unwrap_or_default();
        let said = String::from_utf8_lossy(said);
        if GARBLED
            .iter()
            .any(|code| said.contains(&format!("<Code>{code}</Code>")))
        {
            RetryAction::transient_error()
        } else {
            RetryAction::NoActionIndicated
        }
    }
}

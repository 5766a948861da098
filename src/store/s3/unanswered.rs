//! Why a request got no answer: one sentence instead of the SDK's own chain of errors.

use std::error::Error;
use std::sync::{Arc, OnceLock};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use crate::error::Exit;

/// The server that requests go to, as `https://host:port`, once the first one went: with AWS nobody has named it.
pub type Server = Arc<OnceLock<String>>;

/// Takes note of the server.
#[derive(Debug)]
pub struct NoteServer(pub Server);

impl Intercept for NoteServer {
    fn name(&self) -> &'static str {
        "NoteServer"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.get_or_init(|| origin(context.request().uri()));
        Ok(())
    }
}

/// `https://host:port` of a URL.
fn origin(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    url[..end].to_owned()
}

/// Why there was no answer.
pub struct Unanswered {
    /// In words, without a full stop.
    pub why: String,
    /// What to do about it.
    pub hint: &'static str,
    /// What it means for scripts.
    pub exit: Exit,
}

/// Why `server` gave no answer, from the SDK's `error`.
pub fn unanswered(error: &(dyn Error + 'static), server: &Server) -> Unanswered {
    let cause = cause(error);
    // Of credentials the SDK tells in several lines where it looked for them.
    let cause = cause.split('\n').map(str::trim).collect::<Vec<_>>().join("; ");
    let found = |why: String, hint| Unanswered {
        why,
        hint,
        exit: Exit::Failure,
    };
    if chain(error).any(|link| link.is::<CredentialsError>()) {
        return Unanswered {
            exit: Exit::Permission,
            ..found(
                format!("there are no credentials to sign with: {cause}"),
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or `profile`, or name files in `access_key_file` and `secret_key_file`",
            )
        };
    }
    let Some(server) = server.get() else {
        return found(
            format!("the request cannot be made: {cause}"),
            "check `endpoint_url`, `region` and `bucket`",
        );
    };
    if let Some(reason) = chain(error).find_map(|link| link.downcast_ref::<rustls::Error>()) {
        return found(
            format!("no TLS with {server}: {reason}"),
            "a server with a certificate of its own needs `ca_file`; one without TLS an `endpoint_url` with http://",
        );
    }
    // These are known by their texts only.
    let text = |text: &str| chain(error).map(ToString::to_string).find(|link| link.contains(text));
    if text("dns error").is_some() {
        return found(
            format!("the name of {server} cannot be resolved: {cause}"),
            "check `endpoint_url` and `region`, and this machine's name server",
        );
    }
    if let Some(timeout) = text("timeout occurred") {
        let limit = timeout.rsplit(' ').next().unwrap_or_default();
        return found(
            format!("{server} did not answer within {limit}"),
            "check the network and the server; a slow one needs a longer `timeout`",
        );
    }
    let what = match text("(Connect)") {
        Some(_) => format!("{server} cannot be reached"),
        None => format!("the connection to {server} broke off"),
    };
    found(
        format!("{what}: {cause}"),
        "check `endpoint_url`, the network, and that the server runs",
    )
}

/// The innermost error, which says most.
pub fn cause(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error and what caused it. What an I/O error holds is not its source, but its own source is that of what it holds.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        held.map(|held| held as &(dyn Error + 'static))
            .or_else(|| error.source())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_its_origin_alone() {
        for url in ["https://s3:3900/b/k?x=1", "https://s3:3900?list", "https://s3:3900"] {
            assert_eq!(origin(url), "https://s3:3900");
        }
    }
}

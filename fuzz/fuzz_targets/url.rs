//! Connection strings: read or refused, and neither an error nor what is noted or shown of them holds a piece of the password.

#![no_main]

use libfuzzer_sys::fuzz_target;
use snapback::engine::postgres::connect::{Dsn, params};
use snapback::error::hint_of;
use snapback::redact;

const MARKER: &str = "s3cr3t";

fuzz_target!(|data: (String, String, String)| {
    let (scheme, password, rest) = data;
    let _ = (Dsn::parse(&scheme), redact::secrets(&scheme), redact::json(&scheme));
    let scheme: String = scheme.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    for scheme in [scheme.as_str(), "postgresql", "postgresql+asyncpg"] {
        let text = format!("{scheme}://u:{MARKER}{password}{MARKER}@h/d{rest}");
        let shown = match Dsn::parse(&text) {
            Ok(dsn) => format!("{dsn} {dsn:?}"),
            Err(error) => format!("{error:#} {}", hint_of(&error).unwrap_or_default()),
        };
        assert!(!shown.contains(MARKER), "{text}: {shown}");
        if let Err(error) = params(&text) {
            assert!(!format!("{error:#}").contains(MARKER), "{text}: {error:#}");
        }
    }
});

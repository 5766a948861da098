//! Connection strings: taken apart into libpq's keywords and their values.

use std::collections::BTreeMap;

use crate::error::{Exit, Fail, Result};

/// Keywords that libpq knows, each with its environment variable.
pub(super) const KEYWORDS: &[(&str, &str)] = &[
    ("service", "PGSERVICE"),
    ("servicefile", "PGSERVICEFILE"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("client_encoding", "PGCLIENTENCODING"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("fallback_application_name", ""),
    ("keepalives", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("keepalives_count", ""),
    ("tcp_user_timeout", ""),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslpassword", ""),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslcompression", "PGSSLCOMPRESSION"),
    ("sslcrl", "PGSSLCRL"),
    ("sslcrldir", "PGSSLCRLDIR"),
    ("sslsni", "PGSSLSNI"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("require_auth", "PGREQUIREAUTH"),
    ("requirepeer", "PGREQUIREPEER"),
    ("gssencmode", "PGGSSENCMODE"),
    ("krbsrvname", "PGKRBSRVNAME"),
    ("gsslib", "PGGSSLIB"),
    ("gssdelegation", "PGGSSDELEGATION"),
];

/// Connection parameters by keyword, before defaults.
pub type Params = BTreeMap<&'static str, String>;

/// Takes a connection string apart without filling anything in.
///
/// # Errors
/// The text is malformed or a keyword is unknown.
pub fn params(text: &str) -> Result<Params> {
    let mut params = Params::new();
    if let Some(rest) = ["postgresql://", "postgres://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
    {
        super::uri::parse(rest, &mut params)?;
    } else if text.contains('=') {
        parse_pairs(text, &mut params)?;
    } else if !text.is_empty() {
        params.insert("dbname", text.to_owned());
    }
    Ok(params)
}

/// Sets `keyword`, which must be one that libpq knows.
pub(super) fn set(params: &mut Params, keyword: &str, value: String) -> Result<()> {
    let Some((known, _)) = KEYWORDS.iter().find(|(known, _)| *known == keyword) else {
        return Err(usage(format!("invalid connection option {keyword:?}")));
    };
    params.insert(known, value);
    Ok(())
}

pub(super) fn usage(message: String) -> anyhow::Error {
    Fail::new(Exit::Usage, message).into()
}

/// `keyword = 'value'` pairs with backslash escapes.
fn parse_pairs(text: &str, params: &mut Params) -> Result<()> {
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(());
        }
        let mut keyword = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            keyword.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next() != Some('=') {
            return Err(usage(format!(
                "missing \"=\" after {keyword:?} in the connection string"
            )));
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = chars.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        let mut closed = !quoted;
        while let Some(c) = chars.next() {
            match c {
                '\\' => value.extend(chars.next()),
                '\'' if quoted => {
                    closed = true;
                    break;
                }
                c if !quoted && c.is_whitespace() => break,
                c => value.push(c),
            }
        }
        if !closed {
            return Err(usage("unterminated quoted string in the connection string".to_owned()));
        }
        set(params, &keyword, value)?;
    }
}

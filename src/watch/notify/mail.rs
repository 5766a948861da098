//! Mails, by SMTP.

use anyhow::{Context as _, bail};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::channel::{Channel, Mail, Way};
use super::news::Notice;
use super::send::host;
use crate::error::Result;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Sends a mail.
///
/// # Errors
/// An address is none, or the server does not take it.
pub async fn send(channel: &Channel, notice: &Notice) -> Result<()> {
    let Way::Mail(mail) = &channel.way else {
        bail!("it sends no mails");
    };
    let transport = transport(mail)?;
    let from: Mailbox = mail
        .from
        .parse()
        .with_context(|| format!("the sender {:?}", mail.from))?;
    let mut message = Message::builder().from(from);
    for to in &mail.to {
        let to: Mailbox = to.parse().with_context(|| format!("the recipient {to:?}"))?;
        message = message.to(to);
    }
    let subject = format!("[snapback] {}", notice.title);
    let mut body = format!(
        "{}\n\n{}\n\nat {} on {}\n",
        notice.title,
        notice.message,
        notice.at.to_rfc3339(),
        host()
    );
    if !notice.run.is_null() {
        body.push_str(&format!("\n{:#}\n", notice.run));
    }
    let message = message
        .subject(subject)
        .header(ContentType::TEXT_PLAIN)
        .body(body)
        .context("making the mail")?;
    transport.send(message).await.context("sending the mail")?;
    Ok(())
}

/// The server: with TLS from the first byte, with STARTTLS that it must offer, or without either.
fn transport(mail: &Mail) -> Result<Transport> {
    let (scheme, address) = mail.server.split_once("://").context("smtp is no address")?;
    let address = address.trim_end_matches('/');
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.ends_with(']') => {
            (host, Some(port.parse::<u16>().context("the port of smtp")?))
        }
        _ => (address, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut builder = match scheme {
        "smtps" => Transport::relay(host)?,
        "smtp" => Transport::starttls_relay(host)?,
        "smtp+plain" => Transport::builder_dangerous(host),
        _ => bail!("{scheme} is none of smtps, smtp and smtp+plain"),
    };
    if let Some(port) = port {
        builder = builder.port(port);
    }
    if let Some(user) = &mail.user {
        let password = mail.password.as_ref().context("a user needs a password")?.text()?;
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(builder.build())
}

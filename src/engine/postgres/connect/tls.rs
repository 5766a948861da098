//! TLS as libpq's `sslmode` asks for it, done by rustls.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::certificate::Seen;
use super::dsn::{SslMode, Tls, home};
use crate::error::{Exit, Fail, Result};

/// The rustls configuration for `tls`.
///
/// # Errors
/// A file that was named is missing, unreadable or no certificate.
pub(super) fn client_config(tls: &Tls, seen: &Seen) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let versions: &[_] = if tls.only_tls13 {
        &[&rustls::version::TLS13]
    } else {
        rustls::ALL_VERSIONS
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier(tls, provider, seen)?));
    let mut config = match client_certificate(tls)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .context("the client certificate and its key do not go together")?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = tls.sni;
    if tls.direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(config)
}

/// How much of the server's certificate is verified.
#[derive(Debug)]
struct Verifier {
    /// Verifies the chain; `None`: nothing is verified but that the server owns its key.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// The trusted certificates: a server may present one of them itself, as OpenSSL allows.
    roots: Vec<CertificateDer<'static>>,
    check_name: bool,
    provider: Arc<CryptoProvider>,
    /// Where the certificate is noted.
    seen: Seen,
}

fn verifier(tls: &Tls, provider: Arc<CryptoProvider>, seen: &Seen) -> Result<Verifier> {
    let roots = match (&tls.rootcert, tls.mode) {
        (Some(name), SslMode::VerifyFull) if name == "system" => system_roots()?,
        (Some(name), SslMode::VerifyCa | SslMode::VerifyFull) => certificates(Path::new(name))?,
        // With a root certificate at hand, `require` verifies the chain, as libpq does.
        (Some(name), SslMode::Require) if Path::new(name).exists() => certificates(Path::new(name))?,
        (None, mode) if mode >= SslMode::Require => match default_file("root.crt") {
            Some(path) => certificates(&path)?,
            None if mode == SslMode::Require => Vec::new(),
            None => {
                return Err(Fail::new(
                    Exit::Usage,
                    "root certificate file ~/.postgresql/root.crt does not exist",
                )
                .hint("name one with sslrootcert, or sslrootcert=system for the system's trusted roots")
                .into());
            }
        },
        _ => Vec::new(),
    };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let chain = if roots.is_empty() {
        None
    } else {
        Some(WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build()?)
    };
    Ok(Verifier {
        chain,
        roots,
        check_name: tls.mode == SslMode::VerifyFull,
        provider,
        seen: seen.clone(),
    })
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.seen.note(end_entity);
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.check_name => Ok(ServerCertVerified::assertion()),
            // A self-signed certificate that is trusted as it stands: webpki refuses what is a CA too.
            Err(_) if self.roots.iter().any(|root| root == end_entity) => {
                if self.check_name {
                    let parsed = rustls::server::ParsedCertificate::try_from(end_entity)?;
                    rustls::client::verify_server_name(&parsed, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(Fail::new(Exit::Usage, "the system has no trusted root certificates")
            .hint("install them (ca-certificates), or name a file with sslrootcert")
            .into());
    }
    Ok(found.certs)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = || format!("cannot read certificates from {}", path.display());
    let certs: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| Fail::new(Exit::Usage, format!("{}: {error}", wrong())))?;
    if certs.is_empty() {
        bail!(Fail::new(Exit::Usage, format!("{}: there are none", wrong())));
    }
    Ok(certs)
}

/// A file of `~/.postgresql` that exists.
fn default_file(name: &str) -> Option<PathBuf> {
    let path = home()?.join(".postgresql").join(name);
    path.exists().then_some(path)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(tls: &Tls) -> Result<Option<Identity>> {
    let Some(cert) = tls.cert.clone().or_else(|| default_file("postgresql.crt")) else {
        return Ok(None);
    };
    let Some(key) = tls.key.clone().or_else(|| default_file("postgresql.key")) else {
        bail!(Fail::new(
            Exit::Usage,
            format!("certificate {} present, but not its private key", cert.display())
        ));
    };
    let metadata = std::fs::metadata(&key).with_context(|| format!("cannot read private key {}", key.display()))?;
    // libpq's rule: only the owner may read it, or root's group when root owns it.
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        bail!(
            Fail::new(
                Exit::Usage,
                format!("private key file {} has group or world access", key.display())
            )
            .hint("permissions should be u=rw (0600) or less")
        );
    }
    let chain = certificates(&cert)?;
    let key = PrivateKeyDer::from_pem_file(&key)
        .map_err(|error| Fail::new(Exit::Usage, format!("private key {}: {error}", key.display())))?;
    Ok(Some((chain, key)))
}

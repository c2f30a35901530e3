//! TLS as the guard of fetches speaks it.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::Connection;

/// How TLS is spoken with a host.
///
/// # Errors
/// When a certificate or key cannot be read; says which.
pub(crate) fn config(connection: &Connection, authority: &str) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let said = |error: Error| error.to_string();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(said)?;
    let builder = if connection.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else if let Some(pem) = connection.authorities_of(authority) {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(pem));
        builder.with_root_certificates(roots)
    } else {
        builder.with_platform_verifier().map_err(said)?
    };
    let Some(client) = &connection.client else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(&client.certificate);
    if chain.is_empty() {
        return Err("tlsClientCertData holds no certificate in PEM".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(client.key.expose().as_bytes());
    let key = key.map_err(|_| "tlsClientCertKey holds no key in PEM".to_owned())?;
    builder.with_client_auth_cert(chain, key).map_err(|_| "tlsClientCertKey does not fit tlsClientCertData".to_owned())
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

/// Takes any certificate, as somebody has asked for.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

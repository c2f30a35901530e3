//! TLS and proxies of requests over HTTP.

use std::sync::Arc;

use gitmoor_core::sensitive::Sensitive;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use super::Connection;

/// How TLS is spoken with a host.
///
/// # Errors
/// When a certificate or key of ours cannot be read; says which.
pub(crate) fn config(connection: &Connection, authority: &str) -> Result<TlsConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = match connection.authorities_of(authority) {
        Some(pem) => RootCerts::new_with_certs(&certificates(pem)),
        None => RootCerts::PlatformVerifier,
    };
    let client = match &connection.client {
        None => None,
        Some(client) => {
            let chain = certificates(&client.certificate);
            if chain.is_empty() {
                return Err("tlsClientCertData holds no certificate in PEM".to_owned());
            }
            let key = PrivateKey::from_pem(client.key.expose().as_bytes());
            Some(ClientCert::new_with_certs(
                &chain,
                key.map_err(|_| "tlsClientCertKey holds no key in PEM".to_owned())?,
            ))
        }
    };
    Ok(TlsConfig::builder()
        .root_certs(roots)
        .client_cert(client)
        .disable_verification(connection.insecure)
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

/// A proxy of requests over HTTP.
///
/// # Errors
/// When it is none that can be used.
pub(crate) fn proxy(url: &Sensitive<String>) -> Result<ureq::Proxy, String> {
    // What the parser says may hold the address with its password.
    ureq::Proxy::new(url.expose())
        .map_err(|_| "its Secret's proxy cannot be used: it looks like http://host:port".to_owned())
}

/// The certificates of a text in PEM.
fn certificates(pem: &str) -> Vec<Certificate<'static>> {
    let items = parse_pem(pem.as_bytes()).filter_map(Result::ok);
    items.filter_map(|item| if let PemItem::Certificate(one) = item { Some(one) } else { None }).collect()
}

/// Whether a text holds certificates in PEM.
pub fn holds_certificates(pem: &str) -> bool {
    !certificates(pem).is_empty()
}

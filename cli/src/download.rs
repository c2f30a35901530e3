//! Fetches small files over HTTP. The only module of the program that does; the Kubernetes API is the engine's.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ureq::tls::{RootCerts, TlsConfig};

/// How long it may take altogether.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The same for what runs on this machine.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(5);

/// The text at an `http` or `https` URL of at most `limit` bytes. Redirects are followed, proxies are those of the
/// environment, and certificates are checked as the operating system does.
pub(crate) fn text(url: &str, limit: u64) -> Result<String, ureq::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).tls_config(tls).build().new_agent();
    agent.get(url).call()?.into_body().into_with_config().limit(limit).read_to_string()
}

/// The text that a program of ours answers on loopback, past any proxy.
pub(crate) fn local(address: SocketAddr, path: &str) -> Result<String, ureq::Error> {
    let agent = ureq::Agent::config_builder().timeout_global(Some(LOCAL_TIMEOUT)).proxy(None).build().new_agent();
    agent.get(format!("http://{address}{path}")).call()?.into_body().read_to_string()
}

//! HTTP over TLS on loopback, with a certificate of an authority of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::certificates::{Authority, authority};

/// A running server; whoever has it aborts it.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    /// The authority's certificate, as PEM.
    pub(super) authority: String,
    pub(super) server: JoinHandle<()>,
}

/// Serves routes on a free port.
pub(super) async fn serve(routes: Router) -> Served {
    serve_as(routes, &authority(), &["localhost"], false).await
}

/// Serves routes on a free port, by these names too; `mutual` when callers need a certificate of the same authority.
pub(super) async fn serve_as(routes: Router, authority: &Authority, names: &[&str], mutual: bool) -> Served {
    let certified = authority.for_server_named(names).expect("a certificate can be made");
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).expect("a key");
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("protocol versions");
    let config = if mutual {
        let mut roots = RootCertStore::empty();
        roots.add(der(authority.certificate())).expect("an authority");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        config.with_client_cert_verifier(verifier.expect("a verifier"))
    } else {
        config.with_no_client_auth()
    };
    let config = config.with_single_cert(vec![der(&certified.certificate)], key).expect("a certificate with its key");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let listener = TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("a server") });
    Served { address, authority: authority.certificate().to_owned(), server }
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // Whoever does not speak TLS is let go.
            if let Ok((stream, address)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

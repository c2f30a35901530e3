//! A mutating admission webhook on loopback, with a certificate that the API server is told to trust.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use super::certificates::Authority;

type Mutate = Arc<dyn Fn(&Value) -> Vec<Value> + Send + Sync>;

/// A running webhook; stops when it is dropped.
pub struct AdmissionWebhook {
    url: String,
    authority: String,
    server: tokio::task::JoinHandle<()>,
}

impl AdmissionWebhook {
    /// Serves the operations of a JSON patch for each object that is admitted.
    pub async fn start(mutate: impl Fn(&Value) -> Vec<Value> + Send + Sync + 'static) -> Self {
        let authority = Authority::new();
        let certified = authority.for_server();
        let chain = vec![CertificateDer::from_pem_slice(certified.certificate.as_bytes()).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).expect("a key");
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate with its key");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://{}/", listener.local_addr().expect("an address"));
        let mutate: Mutate = Arc::new(mutate);
        let routes = Router::new().route("/", post(review)).with_state(mutate);
        let listener = TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("a server") });
        Self { url, authority: authority.certificate().to_owned(), server }
    }

    /// The configuration that registers it for one kind in one namespace.
    pub fn configuration(&self, name: &str, namespace: &str, (group, version, resource): (&str, &str, &str)) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "tests.gitmoor.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Fail", "timeoutSeconds": 10,
                "clientConfig": {"url": self.url, "caBundle": STANDARD.encode(&self.authority)},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [{
                    "apiGroups": [group], "apiVersions": [version], "resources": [resource],
                    "operations": ["CREATE", "UPDATE"],
                }],
            }],
        })
    }
}

impl Drop for AdmissionWebhook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn review(State(mutate): State<Mutate>, body: Bytes) -> impl IntoResponse {
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let operations = mutate(&review["request"]["object"]);
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    if !operations.is_empty() {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(Value::Array(operations).to_string()));
    }
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    ([(header::CONTENT_TYPE, "application/json")], answer.to_string())
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

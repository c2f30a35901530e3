//! A stand-in for GitHub's API, as far as Apps need it: it believes nobody who does not have the App's key.

use std::sync::{Arc, Mutex};

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::pki_types::PrivatePkcs1KeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::ssh_server::Key;

/// The App's id.
pub const APP: &str = "4711";
/// The installation that every repository of [`OWNER`] belongs to.
pub const INSTALLATION: u64 = 815;
/// Who has installed the App.
pub const OWNER: &str = "team";
const LONGEST_JWT: i64 = 600;
const TOKEN_LASTS: SignedDuration = SignedDuration::from_hours(1);

/// A running API. It lives in the tokio runtime that started it.
#[derive(Debug)]
pub struct GitHubApi {
    port: u16,
    known: Arc<Known>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Known {
    private: String,
    public: Vec<u8>,
    now: Mutex<Option<Timestamp>>,
    calls: Mutex<Vec<String>>,
    tokens: Mutex<Vec<String>>,
}

impl GitHubApi {
    /// One with an App of its own.
    pub async fn start() -> Self {
        let private = Key::new("rsa", &["-b", "2048", "-m", "PEM"]).private;
        let der = PrivatePkcs1KeyDer::from_pem_slice(private.as_bytes()).expect("a key in PKCS #1");
        let pair = KeyPair::from_der(der.secret_pkcs1_der()).expect("an RSA key");
        let public = pair.public_key().as_ref().to_vec();
        let known = Known { private, public, now: Mutex::default(), calls: Mutex::default(), tokens: Mutex::default() };
        let known = Arc::new(known);
        let routes = Router::new()
            .route("/api/v3/app/installations/{id}/access_tokens", post(token))
            .route("/api/v3/repos/{owner}/{name}/installation", get(installation))
            .with_state(Arc::clone(&known));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("a server") });
        Self { port, known, server }
    }

    /// What `githubAppEnterpriseBaseUrl` is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v3", self.port)
    }

    /// The App's private key, as GitHub hands it out.
    pub fn private_key(&self) -> &str {
        &self.known.private
    }

    /// From now on this is the time.
    pub fn set_now(&self, now: Timestamp) {
        *self.known.now.lock().expect("no test panics while it holds this") = Some(now);
    }

    /// The calls that it has believed and refused, as `200 PATH`.
    pub fn calls(&self) -> Vec<String> {
        self.known.calls.lock().expect("no test panics while it holds this").clone()
    }

    /// The tokens that it has given out.
    pub fn tokens(&self) -> Vec<String> {
        self.known.tokens.lock().expect("no test panics while it holds this").clone()
    }
}

impl Drop for GitHubApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Known {
    fn now(&self) -> Timestamp {
        self.now.lock().expect("no test panics while it holds this").unwrap_or_else(Timestamp::now)
    }

    fn answer(&self, path: String, headers: &HeaderMap, body: impl FnOnce() -> (StatusCode, Value)) -> Response {
        let (status, body) = if self.believes(headers) {
            body()
        } else {
            (StatusCode::UNAUTHORIZED, json!({"message": "A JSON web token could not be decoded"}))
        };
        self.calls.lock().expect("no test panics while it holds this").push(format!("{} {path}", status.as_u16()));
        (status, body.to_string()).into_response()
    }

    /// Whether a request proves to come from the App, and not from long ago.
    fn believes(&self, headers: &HeaderMap) -> bool {
        let proof = || {
            let (signed, signature) =
                headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?.rsplit_once('.')?;
            let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public);
            key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
            let (header, claims) = signed.split_once('.')?;
            let read = |text: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
            let (header, claims) = (read(header)?, read(claims)?);
            let (from, until, now) = (claims["iat"].as_i64()?, claims["exp"].as_i64()?, self.now().as_second());
            let good = header["alg"] == "RS256" && claims["iss"] == APP && from <= now && now < until;
            Some(good && until - now <= LONGEST_JWT)
        };
        proof().unwrap_or(false)
    }
}

async fn token(State(known): State<Arc<Known>>, Path(id): Path<u64>, headers: HeaderMap) -> Response {
    known.answer(format!("/app/installations/{id}/access_tokens"), &headers, || {
        if id != INSTALLATION {
            return (StatusCode::NOT_FOUND, json!({"message": "Not Found"}));
        }
        let mut tokens = known.tokens.lock().expect("no test panics while it holds this");
        let token = format!("ghs_canary{}", tokens.len());
        tokens.push(token.clone());
        (StatusCode::CREATED, json!({"token": token, "expires_at": (known.now() + TOKEN_LASTS).to_string()}))
    })
}

async fn installation(
    State(known): State<Arc<Known>>,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    known.answer(format!("/repos/{owner}/{name}/installation"), &headers, || {
        if owner == OWNER {
            (StatusCode::OK, json!({"id": INSTALLATION, "account": {"login": owner}}))
        } else {
            (StatusCode::NOT_FOUND, json!({"message": "Not Found"}))
        }
    })
}

//! A Git remote over HTTP on loopback that can be told to misbehave.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::certificates::Authority;
use super::cgi;
use super::repository::Repository;
use super::scratch::Scratch;
use super::tls;

/// The largest push, in bytes.
const BODY_LIMIT: usize = 1 << 30;

/// How a remote answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As it should.
    Ok,
    /// With this status, always.
    Fail(u16),
    /// Never; the connection stays open.
    Hang,
    /// After so long.
    Slow(Duration),
    /// With 401, whatever the credentials.
    RefuseCredentials,
}

/// A request that reached a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitRequest {
    /// `GET` or `POST`.
    pub method: String,
    /// Such as `/platform.git/info/refs`.
    pub path: String,
    /// Such as `service=git-upload-pack`, or empty.
    pub query: String,
    /// The user name that it came with.
    pub user: Option<String>,
}

/// A server of Git repositories. It lives in the tokio runtime that started it.
#[derive(Debug)]
pub struct GitRemote {
    state: Arc<Served>,
    scheme: &'static str,
    port: u16,
    stop: CancellationToken,
    // Last: goes when nothing writes to it any more.
    scratch: Scratch,
}

#[derive(Debug)]
struct Served {
    folder: PathBuf,
    stop: CancellationToken,
    mode: Mutex<Mode>,
    credentials: Mutex<Option<(String, String)>>,
    requests: Mutex<Vec<GitRequest>>,
}

impl GitRemote {
    /// One that asks for no credentials.
    pub async fn start() -> Self {
        Self::serve(None).await
    }

    /// One that asks for this user name and password.
    pub async fn with_credentials(user: &str, password: &str) -> Self {
        Self::serve(Some((user.to_owned(), password.to_owned()))).await
    }

    /// One over TLS that goes by these names too; `mutual` when callers need a certificate of the same authority.
    pub async fn over_tls(
        authority: &Authority,
        names: &[&str],
        credentials: Option<(&str, &str)>,
        mutual: bool,
    ) -> Self {
        let credentials = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let (state, stop, scratch) = Self::prepare(credentials);
        let served = tls::serve_as(Self::router(&state), authority, names, mutual).await;
        let stopped = stop.clone();
        tokio::spawn(async move {
            stopped.cancelled().await;
            served.server.abort();
        });
        Self { state, scheme: "https", port: served.address.port(), stop, scratch }
    }

    async fn serve(credentials: Option<(String, String)>) -> Self {
        let (state, stop, scratch) = Self::prepare(credentials);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (router, stopped) = (Self::router(&state), stop.clone().cancelled_owned());
        tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stopped).await });
        Self { state, scheme: "http", port, stop, scratch }
    }

    fn prepare(credentials: Option<(String, String)>) -> (Arc<Served>, CancellationToken, Scratch) {
        let (scratch, stop) = (Scratch::new("git"), CancellationToken::new());
        let state = Arc::new(Served {
            folder: scratch.folder("served"),
            stop: stop.clone(),
            mode: Mutex::new(Mode::Ok),
            credentials: Mutex::new(credentials),
            requests: Mutex::default(),
        });
        (state, stop, scratch)
    }

    fn router(state: &Arc<Served>) -> Router {
        Router::new().fallback(respond).with_state(Arc::clone(state))
    }

    /// `http://127.0.0.1:PORT`, or `https`
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.authority())
    }

    /// `127.0.0.1:PORT`
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes a bare repository that is served as `/NAME.git`.
    pub async fn repository(&self, name: &str) -> Repository {
        let url = format!("{}/{name}.git", self.url());
        Repository::create(&self.state.folder, &self.scratch.folder("trees"), name, url).await
    }

    /// From now on it answers like this.
    pub fn set_mode(&self, mode: Mode) {
        *self.state.mode.lock().expect("no test panics while it holds this") = mode;
    }

    /// From now on it asks for this user name and password, or for none.
    pub fn set_credentials(&self, credentials: Option<(&str, &str)>) {
        let credentials = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
        *self.state.credentials.lock().expect("no test panics while it holds this") = credentials;
    }

    /// Every request that reached it, also those that it refused.
    pub fn requests(&self) -> Vec<GitRequest> {
        self.state.requests.lock().expect("no test panics while it holds this").clone()
    }

    /// How many requests there were for a path, such as `/platform.git/info/refs`.
    pub fn count(&self, path: &str) -> usize {
        self.requests().iter().filter(|request| request.path == path).count()
    }

    /// Forgets the requests until now.
    pub fn forget_requests(&self) {
        self.state.requests.lock().expect("no test panics while it holds this").clear();
    }
}

impl Drop for GitRemote {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn respond(State(served): State<Arc<Served>>, request: HttpRequest) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let given = basic_auth(&parts.headers);
    served.requests.lock().expect("no test panics while it holds this").push(GitRequest {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        user: given.as_ref().map(|(user, _)| user.clone()),
    });
    let mode = *served.mode.lock().expect("no test panics while it holds this");
    match mode {
        Mode::Ok => {}
        Mode::Slow(delay) => tokio::time::sleep(delay).await,
        Mode::Hang => served.stop.cancelled().await,
        Mode::RefuseCredentials => return refuse(),
        Mode::Fail(status) => return plain(StatusCode::from_u16(status).expect("a valid status")),
    }
    let wanted = served.credentials.lock().expect("no test panics while it holds this").clone();
    if wanted.is_some() && wanted != given {
        return refuse();
    }
    match to_bytes(body, BODY_LIMIT).await {
        Ok(body) => cgi::answer(&served.folder, &parts, given.as_ref().map(|(user, _)| user.as_str()), body).await,
        Err(_) => plain(StatusCode::PAYLOAD_TOO_LARGE),
    }
}

fn basic_auth(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let decoded = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let (user, password) =
        String::from_utf8(decoded).ok()?.split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
    Some((user, password))
}

fn refuse() -> Response<Body> {
    let mut response = plain(StatusCode::UNAUTHORIZED);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"git\""));
    response
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from(status.to_string()));
    *response.status_mut() = status;
    response
}

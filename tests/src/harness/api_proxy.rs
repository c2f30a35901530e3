//! Between an agent and the API server: passes requests on, and does to some of them what networks and busy servers do.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::identity::Identity;
use super::scratch::Scratch;

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Passing {
    /// `GET`, `PATCH`, …
    pub method: Method,
    /// The path, without query.
    pub path: String,
    /// It is a watch.
    pub watch: bool,
}

/// What happens to a request instead of being passed on at once.
#[derive(Clone, Debug)]
pub enum ApiFault {
    /// The connection ends without an answer.
    Cut,
    /// A Status with this code and reason.
    Refuse(u16, &'static str),
    /// It is passed on after a time.
    Slow(Duration),
    /// It is passed on once this says true; the connection ends without an answer when nobody can say so any more.
    Held(watch::Receiver<bool>),
    /// It is passed on, and the connection ends in place of the answer.
    CutAnswer,
    /// It is passed on, and answered as by a server whose clock is so many seconds ahead.
    Ahead(i64),
}

type Judge = Box<dyn Fn(&Passing) -> Option<ApiFault> + Send + Sync>;

struct Shared {
    client: kube::Client,
    judge: Mutex<Option<Judge>>,
    refused: Mutex<usize>,
    /// Changes when all open answers are to be cut.
    generation: watch::Sender<u64>,
}

/// A running proxy; stops when it is dropped.
pub struct ApiProxy {
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
    kubeconfig: PathBuf,
    _scratch: Scratch,
}

impl ApiProxy {
    /// In front of the API server, for one user.
    pub async fn start(identity: &Identity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (generation, _) = watch::channel(0);
        let shared = Arc::new(Shared {
            client: identity.client().await.expect("a client can be made"),
            judge: Mutex::default(),
            refused: Mutex::default(),
            generation,
        });
        let routes = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("a server") });
        let scratch = Scratch::new("api-proxy");
        let document = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{address}")}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
            "users": [{"name": "proxy", "user": {}}],
        });
        scratch.write("kubeconfig", document.to_string());
        Self { shared, server, kubeconfig: scratch.path().join("kubeconfig"), _scratch: scratch }
    }

    /// A kubeconfig that leads through it.
    pub fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    /// Does to requests what `judge` says from now on.
    pub fn fault(&self, judge: impl Fn(&Passing) -> Option<ApiFault> + Send + Sync + 'static) {
        *self.shared.judge.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(judge));
    }

    /// Passes everything on again.
    pub fn heal(&self) {
        *self.shared.judge.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Ends all answers that are under way: watches break.
    pub fn cut_all(&self) {
        self.shared.generation.send_modify(|generation| *generation += 1);
    }

    /// How many requests have met a fault so far.
    pub fn faults(&self) -> usize {
        *self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let passing = Passing {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        watch: query.contains("watch=true") || query.contains("watch=1"),
    };
    let fault = shared.judge.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|judge| judge(&passing));
    if fault.is_some() {
        *shared.refused.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
    match fault {
        Some(ApiFault::Cut) => return cut(),
        Some(ApiFault::Refuse(code, reason)) => return refuse(code, reason),
        Some(ApiFault::Slow(time)) => tokio::time::sleep(time).await,
        Some(ApiFault::Held(mut gate)) => {
            let opened = gate.wait_for(|open| *open).await.is_ok();
            if !opened {
                return cut();
            }
        }
        Some(ApiFault::CutAnswer) => {
            drop(forward(&shared, request).await);
            return cut();
        }
        Some(ApiFault::Ahead(seconds)) => {
            let mut answer = forward(&shared, request).await;
            answer.headers_mut().insert(header::DATE, date_ahead(seconds));
            return answer;
        }
        None => {}
    }
    forward(&shared, request).await
}

async fn forward(shared: &Shared, request: Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 64 << 20).await else { return cut() };
    for name in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION] {
        parts.headers.remove(name);
    }
    let path = parts.uri.path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let Ok(uri) = path.parse() else { return cut() };
    parts.uri = uri;
    let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let mut generation = shared.generation.subscribe();
    let Ok(answer) = shared.client.send(request).await else { return cut() };
    let (parts, body) = answer.into_parts();
    // An answer that is being cut ends in an error, not in an end.
    let ended = async move { drop(generation.changed().await) };
    let body = futures::stream::StreamExt::take_until(http_body_util::BodyStream::new(body), Box::pin(ended));
    let data = futures::StreamExt::filter_map(body, async |frame| match frame {
        Ok(frame) => frame.into_data().ok().map(Ok::<Bytes, axum::Error>),
        Err(error) => Some(Err(axum::Error::new(error))),
    });
    let mut response = Response::new(Body::from_stream(data));
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
        response.headers_mut().remove(name);
    }
    response
}

/// Another time than the present one, as a head tells it (RFC 9110, `Date`).
fn date_ahead(seconds: i64) -> header::HeaderValue {
    let time = Timestamp::now() + SignedDuration::from_secs(seconds);
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&time).expect("a time of these years");
    header::HeaderValue::from_str(&text).expect("a date is plain text")
}

fn refuse(code: u16, reason: &str) -> Response {
    let status: Value = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason,
        "message": format!("{reason}, as the test wants it"),
    });
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, [(header::CONTENT_TYPE, "application/json")], status.to_string()).into_response()
}

/// No answer: the body breaks off before it has begun.
fn cut() -> Response {
    let broken = futures::stream::once(async { Err::<Bytes, _>(axum::Error::new("cut")) });
    let mut response = Response::new(Body::from_stream(broken));
    response.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from_static("1"));
    response
}

//! Between a program and the AWS emulator: counts calls, and fails those that a test wants to fail.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::http;

/// A call as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct AwsCall {
    /// `BatchGetSecretValue`, `GetParameters`, `AssumeRole`, …
    pub operation: String,
    /// Its arguments; those of STS, which does not speak JSON, by their whole names (`Tags.member.1.Key`).
    pub body: Value,
    /// Who signed it: the access key.
    pub access_key: String,
}

/// What happens to a call instead of being answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// An error with a code and a message.
    Refuse(&'static str, String),
    /// The same with HTTP status 500.
    Break,
    /// The connection ends without an answer.
    Cut,
    /// It is answered only after a time.
    Slow(Duration),
    /// An answer with this body.
    Answer(Value),
    /// It is answered, with credentials that end after a time.
    Expire(Duration),
}

impl Fault {
    /// What AWS says when there are too many calls.
    pub fn throttle() -> Self {
        Self::Refuse("ThrottlingException", "Rate exceeded".to_owned())
    }

    /// What AWS says when a right is missing.
    pub fn deny(action: &str) -> Self {
        let user = "User: arn:aws:sts::123456789012:assumed-role/agent/session";
        Self::Refuse("AccessDeniedException", format!("{user} is not authorized to perform: {action} on resource: x"))
    }
}

type Judge = Box<dyn Fn(&AwsCall) -> Option<Fault> + Send + Sync>;

#[derive(Default)]
struct Shared {
    upstream: String,
    calls: Mutex<Vec<AwsCall>>,
    judge: Mutex<Option<Judge>>,
}

/// A running proxy. It ends with the runtime that started it.
#[derive(Clone)]
pub struct AwsProxy {
    shared: Arc<Shared>,
    port: u16,
}

impl AwsProxy {
    /// Starts one in front of `http://HOST:PORT`.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(upstream: String) -> Self {
        let shared = Arc::new(Shared { upstream, ..Shared::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let routes = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { shared, port }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The calls since this was last asked.
    pub fn take_calls(&self) -> Vec<AwsCall> {
        std::mem::take(&mut self.shared.calls.lock().expect("no panic while it is held"))
    }

    /// From now on calls are judged by this.
    pub fn fail(&self, judge: impl Fn(&AwsCall) -> Option<Fault> + Send + Sync + 'static) {
        *self.shared.judge.lock().expect("no panic while it is held") = Some(Box::new(judge));
    }

    /// From now on all calls are answered.
    pub fn heal(&self) {
        *self.shared.judge.lock().expect("no panic while it is held") = None;
    }
}

async fn forward(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let body = String::from_utf8_lossy(&body).into_owned();
    let call = read(&text("x-amz-target"), &text("authorization"), &body);
    let fault = shared.judge.lock().expect("no panic while it is held").as_ref().and_then(|judge| judge(&call));
    shared.calls.lock().expect("no panic while it is held").push(call);
    match fault {
        Some(Fault::Refuse(code, message)) => refuse(StatusCode::BAD_REQUEST, code, &message),
        Some(Fault::Break) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalServiceError", "broken"),
        // A body that never ends as announced is a connection that is cut.
        Some(Fault::Cut) => {
            let cut = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
            Response::new(axum::body::Body::from_stream(cut))
        }
        Some(Fault::Answer(answer)) => {
            ([("content-type", "application/x-amz-json-1.1")], answer.to_string()).into_response()
        }
        Some(Fault::Slow(delay)) => {
            tokio::time::sleep(delay).await;
            pass(&shared, &headers, &body).await
        }
        Some(Fault::Expire(after)) => expire(pass(&shared, &headers, &body).await, after).await,
        None => pass(&shared, &headers, &body).await,
    }
}

/// The same answer with another end of the credentials in it.
async fn expire(answer: Response, after: Duration) -> Response {
    let (parts, body) = answer.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let end = jiff::Timestamp::now() + after;
    let changed = text.split_once("<Expiration>").and_then(|(before, rest)| {
        let (_, rest) = rest.split_once("</Expiration>")?;
        Some(format!("{before}<Expiration>{}</Expiration>{rest}", end.strftime("%Y-%m-%dT%H:%M:%SZ")))
    });
    let mut answer = changed.unwrap_or(text).into_response();
    *answer.status_mut() = parts.status;
    answer.headers_mut().insert("content-type", axum::http::HeaderValue::from_static("text/xml"));
    answer
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({"__type": code, "message": format!("{message} (request id: {})", std::process::id())});
    (status, [("content-type", "application/x-amz-json-1.1"), ("x-amzn-errortype", code)], body.to_string())
        .into_response()
}

async fn pass(shared: &Shared, headers: &HeaderMap, body: &str) -> Response {
    let kept = ["x-amz-target", "authorization", "content-type", "x-amz-date", "x-amz-security-token"];
    let kept: Vec<(&str, &str)> =
        kept.iter().filter_map(|name| Some((*name, headers.get(*name)?.to_str().ok()?))).collect();
    match http::send("POST", &format!("{}/", shared.upstream), &kept, body).await {
        Ok(answer) => {
            let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
            let kind = if answer.body.starts_with('<') { "text/xml" } else { "application/x-amz-json-1.1" };
            (status, [("content-type", kind)], answer.body).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error).into_response(),
    }
}

fn read(target: &str, authorization: &str, body: &str) -> AwsCall {
    let form = || body.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default().to_owned();
    let operation = target.rsplit_once('.').map_or_else(form, |(_, operation)| operation.to_owned());
    let signed = authorization.split_once("Credential=").map_or("", |(_, rest)| rest);
    AwsCall {
        operation,
        body: serde_json::from_str(body).unwrap_or_else(|_| form_arguments(body)),
        access_key: signed.split('/').next().unwrap_or_default().to_owned(),
    }
}

fn form_arguments(body: &str) -> Value {
    let pairs = form_urlencoded::parse(body.as_bytes());
    Value::Object(pairs.map(|(key, value)| (key.into_owned(), Value::from(value.into_owned()))).collect())
}

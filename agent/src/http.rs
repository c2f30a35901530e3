//! Health, metrics and webhooks over HTTP.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use gitmoor_core::sensitive::Sensitive;
use gitmoor_core::webhook::{self, Proof};
use gitmoor_engine::addresses::Addresses;
use gitmoor_engine::git::{RepositoryUrl, UrlPolicy};
use tokio::sync::OnceCell;

use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::remotes::RemoteFollowers;
use crate::repositories::Repositories;
use crate::state::State;

/// Bodies of pushes with many commits are large; larger ones say nothing more.
const LARGEST_BODY: usize = 4 << 20;

/// What the server shows.
pub(crate) struct Served {
    /// True while this agent works or waits for its lease without fault.
    pub ready: AtomicBool,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// For the gauges.
    pub state: Arc<State>,
    /// For the gauges.
    pub queue: Queue,
    /// The secret of webhooks; without one there are none.
    pub webhook_secret: Option<WebhookSecret>,
    /// Told of webhooks, as soon as this agent works.
    pub repositories: OnceCell<Arc<Repositories>>,
    /// The same, for what is used from elsewhere.
    pub remotes: OnceCell<Arc<RemoteFollowers>>,
}

/// The secret of webhooks, in a file that may get another content at any time.
pub(crate) struct WebhookSecret {
    file: PathBuf,
}

impl WebhookSecret {
    /// The one of a file.
    ///
    /// # Errors
    /// When there is none in it at this moment.
    pub(crate) fn in_file(file: PathBuf) -> anyhow::Result<Self> {
        let secret = Self { file };
        secret.read()?;
        Ok(secret)
    }

    fn read(&self) -> anyhow::Result<Sensitive<Vec<u8>>> {
        let file = self.file.display();
        let secret = std::fs::read(&self.file).with_context(|| format!("cannot read the webhook secret {file}"))?;
        let secret = secret.trim_ascii().to_vec();
        anyhow::ensure!(!secret.is_empty(), "the webhook secret {file} is empty");
        Ok(Sensitive::new(secret))
    }
}

/// Health alone, as every address has it.
fn health() -> Router<Arc<Served>> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

/// Health and metrics.
pub(crate) fn metrics_routes() -> Router<Arc<Served>> {
    health().route("/metrics", get(metrics))
}

/// Health and webhooks.
pub(crate) fn webhook_routes() -> Router<Arc<Served>> {
    health().merge(webhook_route())
}

/// Webhooks alone.
pub(crate) fn webhook_route() -> Router<Arc<Served>> {
    Router::new().route("/webhook", post(webhook).layer(DefaultBodyLimit::max(LARGEST_BODY)))
}

async fn ready(Shared(served): Shared<Arc<Served>>) -> Response {
    if served.ready.load(Ordering::Relaxed) {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response()
    }
}

async fn metrics(Shared(served): Shared<Arc<Served>>) -> Response {
    match served.metrics.scrape(&served.state, &served.queue) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Looks at the repository that the body names. Whoever knows the secret learns nothing of what is followed.
async fn webhook(Shared(served): Shared<Arc<Served>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(secret) = &served.webhook_secret else {
        return (StatusCode::NOT_FOUND, "no secret for webhooks: start the agent with --webhook-secret-file\n")
            .into_response();
    };
    // At each of them: kubelet puts a rotated one into the same file.
    let secret = match secret.read() {
        Ok(secret) => secret,
        Err(error) => {
            tracing::warn!(%error, "webhooks cannot be checked");
            return (StatusCode::INTERNAL_SERVER_ERROR, "the agent cannot read its secret\n").into_response();
        }
    };
    let proof = Proof::find(|name| headers.get(name).and_then(|value| value.to_str().ok()));
    if !proof.is_some_and(|proof| proof.holds(&secret, &body)) {
        served.metrics.webhooks.get_or_create(&crate::metrics::Result::of("Refused")).inc();
        return (StatusCode::UNAUTHORIZED, "the signature does not fit the body and the secret\n").into_response();
    }
    let Some(repositories) = served.repositories.get() else {
        served.metrics.webhooks.get_or_create(&crate::metrics::Result::of("NotLeading")).inc();
        return (StatusCode::SERVICE_UNAVAILABLE, "another agent works\n").into_response();
    };
    let named = webhook::addresses(&body);
    // A server knows itself by its own address, and maybe by the one that it stands in for.
    let own = Addresses::from(UrlPolicy { allow_local: true, allow_plain_http: true });
    let readings = named.iter().flat_map(|text| [served.state.addresses.repository(text), own.repository(text)]);
    let urls: BTreeSet<RepositoryUrl> = readings.flatten().collect();
    let places: BTreeSet<_> = urls.iter().map(RepositoryUrl::place).collect();
    let bases = served.remotes.get().is_some_and(|remotes| remotes.pushed(&places));
    let looked = repositories.look_at_places(&places) || bases;
    let result = if looked { "success" } else { "NotFollowed" };
    served.metrics.webhooks.get_or_create(&crate::metrics::Result::of(result)).inc();
    (StatusCode::ACCEPTED, "accepted\n").into_response()
}

//! Health, metrics and webhooks over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::state::State;

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
}

/// The routes.
pub(crate) fn routes(served: Arc<Served>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(served)
}

async fn ready(Shared(served): Shared<Arc<Served>>) -> Response {
    if served.ready.load(Ordering::Relaxed) {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response()
    }
}

async fn metrics(Shared(served): Shared<Arc<Served>>) -> Response {
    let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    served.metrics.applications.set(gauge(served.state.applications().len()));
    served.metrics.objects.set(gauge(served.state.live(|live| live.len())));
    served.metrics.queue_depth.set(gauge(served.queue.depth()));
    match served.metrics.encode() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

//! Tells of every request to the API server, for whoever counts them.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::client::Body;
use tower::Service;

/// A request, when its answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `get` (also of lists), `watch`, `create`, `update`, `patch`, `delete` or `other`.
    pub verb: &'static str,
    /// The status; none when there was no answer.
    pub code: Option<u16>,
}

/// Whoever is told.
pub type Observer = Arc<dyn Fn(Asked) + Send + Sync>;

/// Puts the observer between client and network.
#[derive(Clone)]
pub(super) struct Layer(pub(super) Observer);

impl<S> tower::Layer<S> for Layer {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observer: Arc::clone(&self.0) }
    }
}

/// What passes requests on.
#[derive(Clone)]
pub(super) struct Observed<S> {
    inner: S,
    observer: Observer,
}

impl<S, B> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (verb, observer) = (verb(&request), Arc::clone(&self.observer));
        let answer = self.inner.call(request);
        let told = answer.inspect(move |answer| {
            observer(Asked { verb, code: answer.as_ref().ok().map(|answer| answer.status().as_u16()) });
        });
        told.boxed()
    }
}

fn verb<B>(request: &Request<B>) -> &'static str {
    let watches = |query: &str| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
    match *request.method() {
        Method::GET if request.uri().query().is_some_and(watches) => "watch",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_those_of_kubernetes() {
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/pods?limit=1", "get"),
            (Method::GET, "/api/v1/pods?allowWatchBookmarks=true&watch=true", "watch"),
            (Method::PATCH, "/api/v1/namespaces/a/pods/watch=true?force=true", "patch"),
            (Method::HEAD, "/", "other"),
        ] {
            assert_eq!(verb(&Request::builder().method(method).uri(uri).body(()).unwrap()), expected, "{uri}");
        }
    }
}

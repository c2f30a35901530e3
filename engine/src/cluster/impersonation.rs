//! Requests in somebody else's name: the API server itself then decides what they may do.
//!
//! The identity holds for everything that one future does, so that no request of a tenant's Application can be made in
//! the agent's own name by forgetting an argument. Tasks that the future spawns do not have it: it spawns none.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request};

tokio::task_local! {
    static USER: Option<Arc<str>>;
}

const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");

/// Does everything that a future asks of the API server as `user`; `None`: as oneself.
pub async fn acting_as<F: Future>(user: Option<&str>, work: F) -> F::Output {
    USER.scope(user.map(Arc::from), work).await
}

/// Adds the identity of the running future, if it has one. A name that cannot be a header stays out of the request and
/// is refused by the API server: it is sent as nobody.
pub(super) fn identify(request: &mut Request<Vec<u8>>) {
    let user = USER.try_with(Clone::clone).ok().flatten();
    if let Some(user) = user {
        add(request.headers_mut(), &user);
    }
}

fn add(headers: &mut HeaderMap, user: &str) {
    let value = HeaderValue::from_str(user).unwrap_or_else(|_| HeaderValue::from_static("system:anonymous"));
    headers.insert(IMPERSONATE_USER, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identified() -> Option<String> {
        let mut request = Request::get("/").body(Vec::new()).unwrap();
        identify(&mut request);
        Some(request.headers().get(IMPERSONATE_USER)?.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_future_acts_as_somebody_and_ends_to_do_so() {
        assert_eq!(identified(), None);
        let seen = acting_as(Some("system:serviceaccount:a:b"), async {
            tokio::task::yield_now().await;
            let inner = acting_as(None, async { identified() }).await;
            (identified(), inner)
        });
        assert_eq!(seen.await, (Some("system:serviceaccount:a:b".to_owned()), None));
        assert_eq!(identified(), None);
        assert_eq!(acting_as(Some("a\nb"), async { identified() }).await.unwrap(), "system:anonymous");
    }
}

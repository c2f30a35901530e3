//! Names that no other test has.

use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;

/// A name that starts with `prefix` and that no other test uses, also not one
/// of another process on the same cluster.
pub fn unique_name(prefix: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{:x}-{count}", std::process::id())
}

/// Makes a namespace with a name of its own and gives the name.
///
/// # Panics
/// When the API server refuses it.
pub async fn create_namespace(client: &kube::Client, prefix: &str) -> String {
    let name = unique_name(prefix);
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.clone());
    Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap_or_else(|error| panic!("namespace {name}: {error}"));
    name
}

//! By what servers are known, from the ConfigMaps that Argo CD keeps it in.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use gitmoor_core::known_hosts::KnownHosts;
use gitmoor_core::names::{KEY_KNOWN_HOSTS, NAME_KNOWN_HOSTS, NAME_TLS_CERTIFICATES};
use gitmoor_core::object::text_at;
use gitmoor_engine::access::holds_certificates;
use gitmoor_engine::cluster::{Change, Cluster, Selector};
use serde_json::Value;

use super::CredentialStore;
use crate::objects;

/// By what servers are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trust {
    /// Lines of `known_hosts`; `None` where there is no ConfigMap.
    pub known_hosts: Option<Arc<str>>,
    /// By name of a host: certificates that alone are trusted there.
    pub authorities: Arc<BTreeMap<String, String>>,
}

/// Follows the ConfigMap with host keys; the future ends with the agent.
pub(super) async fn follow_known_hosts(store: Arc<CredentialStore>, cluster: Cluster, namespace: String) {
    follow(&cluster, namespace, NAME_KNOWN_HOSTS, |map| {
        let text = map.map(|map| text_at(map, &["data", KEY_KNOWN_HOSTS]).unwrap_or_default());
        if let Some((_, bad)) = text.map(KnownHosts::parse)
            && !bad.is_empty()
        {
            tracing::warn!(config_map = NAME_KNOWN_HOSTS, lines = ?bad, "lines of {KEY_KNOWN_HOSTS} cannot be read");
        }
        store.trust(|trust, read| {
            trust.known_hosts = text.map(Arc::from);
            read.known_hosts = true;
        });
    })
    .await;
}

/// Follows the ConfigMap with certificates; the future ends with the agent.
pub(super) async fn follow_authorities(store: Arc<CredentialStore>, cluster: Cluster, namespace: String) {
    follow(&cluster, namespace, NAME_TLS_CERTIFICATES, |map| {
        let data = map.and_then(|map| map["data"].as_object()).into_iter().flatten();
        let texts = data.filter_map(|(host, text)| Some((host.to_ascii_lowercase(), text.as_str()?.to_owned())));
        let (good, bad): (BTreeMap<_, _>, BTreeMap<_, _>) = texts.partition(|(_, text)| holds_certificates(text));
        if !bad.is_empty() {
            let hosts: Vec<_> = bad.into_keys().collect();
            tracing::warn!(
                config_map = NAME_TLS_CERTIFICATES,
                ?hosts,
                "there is no certificate in PEM for these hosts"
            );
        }
        store.trust(|trust, read| {
            trust.authorities = Arc::new(good);
            read.authorities = true;
        });
    })
    .await;
}

/// Hands over a ConfigMap as it is now, and `None` when there is none.
async fn follow(cluster: &Cluster, namespace: String, name: &str, mut take: impl FnMut(Option<&Value>)) {
    let selector = Selector { namespace: Some(namespace), name: Some(name.to_owned()), labels: None };
    let mut stream = cluster.watch(&objects::config_maps(), &selector);
    let mut listed = None;
    while let Some(event) = stream.next().await {
        match event {
            Ok(Change::Listing) => listed = None,
            Ok(Change::Listed(map)) => listed = Some(map),
            Ok(Change::ListingDone) => take(listed.take().as_ref()),
            Ok(Change::Changed(map)) => take(Some(&map)),
            Ok(Change::Gone(_)) => take(None),
            Err(error) => tracing::warn!(%error, config_map = name, "a ConfigMap cannot be watched"),
        }
    }
}

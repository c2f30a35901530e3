//! Kubernetes events about Applications and ExternalSecrets. They may be lost, and delay nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gitmoor_core::object::text_at;
use gitmoor_core::status::Event;
use gitmoor_engine::cluster::Cluster;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::clock;
use crate::objects;

/// Events that wait to be posted; more are dropped.
const WAITING: usize = 1024;
/// The same words about the same object are not repeated within this time.
const QUIET: Duration = Duration::from_secs(600);
/// How many are remembered for that.
const REMEMBERED: usize = 4096;
/// Longest message of an event that the API server takes.
const LONGEST: usize = 1000;
/// At most this many a second in the long run: the API server's own limit is of this order.
const SPACING: Duration = Duration::from_millis(50);

/// Takes events and posts them one after the other.
pub(crate) struct Events {
    sender: mpsc::Sender<(Value, Event)>,
}

impl Events {
    /// A sender, and the task that posts.
    pub(crate) fn start(cluster: Cluster, identity: String) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { sender }, post(cluster, identity, receiver))
    }

    /// Tells of events about an object.
    pub(crate) fn tell(&self, object: &Value, events: Vec<Event>) {
        for event in events {
            let metadata = &object["metadata"];
            let about = json!({
                "apiVersion": object["apiVersion"], "kind": object["kind"],
                "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"],
            });
            // Full: there are more important things to do.
            drop(self.sender.try_send((about, event)));
        }
    }
}

async fn post(cluster: Cluster, identity: String, mut receiver: mpsc::Receiver<(Value, Event)>) {
    let mut posted: HashMap<(String, Event), Instant> = HashMap::new();
    let mut number: u64 = 0;
    while let Some((about, event)) = receiver.recv().await {
        let uid = text_at(&about, &["uid"]).unwrap_or_default().to_owned();
        if posted.len() >= REMEMBERED {
            posted.retain(|_, at| at.elapsed() < QUIET);
        }
        let key = (uid, event);
        if posted.get(&key).is_some_and(|at| at.elapsed() < QUIET) {
            continue;
        }
        number += 1;
        let body = body(&about, &key.1, &identity, number);
        let namespace = text_at(&about, &["namespace"]);
        if let Err(error) = cluster.create(&objects::events(), namespace, &body).await {
            tracing::debug!(%error, "an event cannot be posted");
        }
        if posted.len() < REMEMBERED {
            posted.insert(key, Instant::now());
        }
        tokio::time::sleep(SPACING).await;
    }
}

fn body(about: &Value, event: &Event, identity: &str, number: u64) -> Value {
    let name = text_at(about, &["name"]).unwrap_or_default();
    let (now, micros) = (clock::now(), clock::since_1970().as_micros());
    let message: String = event.message.chars().take(LONGEST).collect();
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {
            "name": format!("{}.{micros:x}{number:x}", name.chars().take(200).collect::<String>()),
            "namespace": about["namespace"],
        },
        "involvedObject": about,
        "type": if event.warning { "Warning" } else { "Normal" },
        "reason": event.reason,
        "message": message,
        "source": {"component": "gitmoor-agent", "host": identity},
        "reportingComponent": "gitmoor-agent", "reportingInstance": identity,
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    })
}

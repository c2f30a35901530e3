//! Sees objects change through a watch: no time is lost to looking now and then.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use futures::StreamExt as _;
use gitmoor_tests::harness::installation::api;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The objects of a kind in a namespace, as they are now.
pub(crate) struct Observer {
    what: String,
    objects: HashMap<String, Value>,
    events: mpsc::UnboundedReceiver<(Instant, Event<DynamicObject>)>,
    task: JoinHandle<()>,
}

impl Observer {
    /// Watches a kind, such as `v1/ConfigMap`, and knows what there is when it returns.
    pub(crate) async fn start(client: &kube::Client, kind: &str, namespace: &str) -> anyhow::Result<Self> {
        let (sender, events) = mpsc::unbounded_channel();
        let mut stream = watcher::watcher(api(client, kind, Some(namespace)), watcher::Config::default()).boxed();
        let task = tokio::spawn(async move {
            while let Some(event) = stream.next().await {
                // The watch takes itself up again after an error.
                let Ok(event) = event else { continue };
                if sender.send((Instant::now(), event)).is_err() {
                    return;
                }
            }
        });
        let mut observer = Self { what: format!("{kind} in {namespace}"), objects: HashMap::new(), events, task };
        while !matches!(observer.next(Duration::from_secs(60)).await?, (_, true)) {}
        Ok(observer)
    }

    /// Waits until the objects fit; gives when the event arrived that made them so.
    pub(crate) async fn until(
        &mut self,
        patience: Duration,
        fits: impl Fn(&HashMap<String, Value>) -> bool,
    ) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + patience;
        let mut seen = Instant::now();
        while !fits(&self.objects) {
            (seen, _) = self.next(deadline.saturating_duration_since(Instant::now())).await?;
        }
        Ok(seen)
    }

    /// Takes one event in; true when it ends the first listing.
    async fn next(&mut self, patience: Duration) -> anyhow::Result<(Instant, bool)> {
        let Ok(event) = tokio::time::timeout(patience, self.events.recv()).await else {
            bail!("{}: not as expected after {patience:?}", self.what);
        };
        let Some((seen, event)) = event else { bail!("the watch of {} ended", self.what) };
        let listed = matches!(event, Event::InitDone);
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                self.objects.insert(object.metadata.name.unwrap_or_default(), object.data);
            }
            Event::Delete(object) => drop(self.objects.remove(&object.metadata.name.unwrap_or_default())),
            Event::Init => self.objects.clear(),
            Event::InitDone => {}
        }
        Ok((seen, listed))
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

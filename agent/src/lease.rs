//! The lease: of several agents of an installation one works, the others wait.
//!
//! # Guarantees
//! - An agent works only while it has renewed the lease within [`DURATION`]; when it cannot, the future of
//!   [`Lease::hold`] ends, and nothing may be worked on until it is held again.
//! - A holder that stops properly gives the lease back, so that the next one takes over at once.
//! - An agent whose cluster is put back to an earlier state ends, and starts anew with what is there.
//! - It says which namespaces its holder follows: whoever has an Application finds out whether anybody works on it.
//!
//! # Assumptions
//! Clocks need not agree: a waiting agent measures by its own clock how long the lease has stood unchanged, as
//! client-go's `leaderelection` does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gitmoor_core::names::{ANNOTATION_FOLLOWS, LEASE};
use gitmoor_core::object::text_at;
use gitmoor_engine::cluster::{Cluster, ClusterError};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::clock;
use crate::objects;

/// How long a lease holds without renewal.
const DURATION: Duration = Duration::from_secs(12);
/// How often the holder renews it.
const RENEW: Duration = Duration::from_secs(4);
/// How often a waiting agent looks.
const LOOK: Duration = Duration::from_secs(2);

/// Why a lease is not held any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Another agent has it.
    Taken,
    /// It could not be renewed in time. Nobody need have taken it.
    NotRenewed,
    /// It is as this agent left it some time ago, or gone: the cluster was put back to an earlier state. Watches do not
    /// show that: they go on at versions that are yet to come.
    Undone,
}

/// The lease of an installation.
pub(crate) struct Lease {
    cluster: Cluster,
    namespace: String,
    identity: String,
    /// Namespaces with Applications, with commas in between.
    follows: String,
    /// `renewTime` as it was written last, and taken.
    written: Mutex<Option<String>>,
}

impl Lease {
    /// The lease in the agent's namespace. `follows`: the namespaces whose Applications it works on.
    pub(crate) fn new(cluster: Cluster, namespace: String, identity: String, follows: &BTreeSet<String>) -> Self {
        let follows = follows.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        Self { cluster, namespace, identity, follows, written: Mutex::default() }
    }

    /// Who holds it, when this agent does.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// Waits until this agent holds the lease. Meanwhile `standing_by` says whether the wait is in order: another
    /// agent is seen to work.
    pub(crate) async fn acquire(&self, standing_by: &AtomicBool) {
        let mut seen: Option<(Value, Instant)> = None;
        let mut told = false;
        loop {
            match self.read().await {
                Ok(lease) => {
                    let expired = self.is_free(lease.as_ref(), &mut seen);
                    if expired && self.take(lease).await {
                        standing_by.store(false, Ordering::Relaxed);
                        return;
                    }
                    standing_by.store(!expired, Ordering::Relaxed);
                    if !expired && !told {
                        let holder = seen.as_ref().map_or("", |(spec, _)| holder(spec));
                        tracing::info!(holder, "another agent works; waiting for its lease");
                        told = true;
                    }
                }
                Err(error) => {
                    standing_by.store(false, Ordering::Relaxed);
                    tracing::warn!(%error, "the lease cannot be read");
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Renews the lease until that fails for too long.
    pub(crate) async fn hold(&self) -> Lost {
        // Others count from when they see a renewal, which is after it was sent.
        let (mut renewed, mut pause) = (Instant::now(), RENEW);
        loop {
            let end = renewed + DURATION - RENEW / 2;
            sleep_until((Instant::now() + pause).min(end)).await;
            let sent = Instant::now();
            match timeout_at((sent + RENEW).min(end), self.renew()).await {
                Ok(Ok(Ok(()))) => {
                    (renewed, pause) = (sent, RENEW);
                    continue;
                }
                Ok(Ok(Err(lost))) => return lost,
                Ok(Err(error)) => tracing::warn!(%error, "the lease cannot be renewed"),
                Err(_) => tracing::warn!("the lease cannot be renewed: no answer"),
            }
            if Instant::now() >= end {
                return Lost::NotRenewed;
            }
            pause = LOOK;
        }
    }

    /// Tries until the lease is held again, or is seen to be lost.
    pub(crate) async fn regain(&self) -> Result<(), Lost> {
        loop {
            match tokio::time::timeout(RENEW, self.renew()).await {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(error)) if !error.is_conflict() => tracing::warn!(%error, "the lease cannot be renewed"),
                _ => {}
            }
            sleep(LOOK).await;
        }
    }

    /// Gives the lease back.
    pub(crate) async fn release(&self) {
        if let Ok(Some(lease)) = self.read().await
            && holder(&lease["spec"]) == self.identity
        {
            // Whoever comes next waits a little longer when this fails.
            let _ = self.write(lease, "").await;
        }
    }

    fn is_free(&self, lease: Option<&Value>, seen: &mut Option<(Value, Instant)>) -> bool {
        let Some(lease) = lease else { return true };
        let spec = &lease["spec"];
        if holder(spec).is_empty() || holder(spec) == self.identity {
            return true;
        }
        match seen {
            Some((before, since)) if before == spec => since.elapsed() > DURATION,
            _ => {
                *seen = Some((spec.clone(), Instant::now()));
                false
            }
        }
    }

    /// True when we hold it now.
    async fn take(&self, lease: Option<Value>) -> bool {
        let taken = match lease {
            Some(lease) => self.write(lease, &self.identity).await,
            None => self.create().await,
        };
        if let Err(error) = &taken
            && !error.is_conflict()
        {
            tracing::warn!(%error, "the lease cannot be taken");
        }
        taken.is_ok()
    }

    /// Renews it once; or how it was lost.
    async fn renew(&self) -> Result<Result<(), Lost>, ClusterError> {
        let Some(lease) = self.read().await? else { return Ok(Err(Lost::Undone)) };
        if holder(&lease["spec"]) != self.identity {
            return Ok(Err(Lost::Taken));
        }
        if self.is_undone(&lease["spec"]) {
            return Ok(Err(Lost::Undone));
        }
        self.write(lease, &self.identity).await.map(Ok)
    }

    /// Whether what was written has been undone. A later time is that of a write whose answer was lost.
    fn is_undone(&self, spec: &Value) -> bool {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let (there, ours) = (text_at(spec, &["renewTime"]).and_then(time), written.as_deref().and_then(time));
        there.zip(ours).is_some_and(|(there, ours)| there < ours)
    }

    async fn read(&self) -> Result<Option<Value>, ClusterError> {
        self.cluster.get(&objects::leases(), Some(&self.namespace), LEASE).await
    }

    async fn create(&self) -> Result<(), ClusterError> {
        let object = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": LEASE, "namespace": self.namespace, "annotations": {ANNOTATION_FOLLOWS: self.follows}},
            "spec": Self::spec(&self.identity),
        });
        self.cluster.create(&objects::leases(), Some(&self.namespace), &object).await?;
        self.wrote(&object["spec"]);
        Ok(())
    }

    fn wrote(&self, spec: &Value) {
        let time = text_at(spec, &["renewTime"]).map(str::to_owned);
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }

    /// Fails with a conflict when somebody else was faster: the resourceVersion is that of the read.
    async fn write(&self, mut lease: Value, identity: &str) -> Result<(), ClusterError> {
        lease["spec"] = Self::spec(identity);
        lease["metadata"]["annotations"][ANNOTATION_FOLLOWS] = json!(self.follows);
        self.cluster.replace(&objects::leases(), Some(&self.namespace), LEASE, &lease).await?;
        self.wrote(&lease["spec"]);
        Ok(())
    }

    fn spec(identity: &str) -> Value {
        let now = clock::now_micros();
        json!({
            "holderIdentity": identity, "leaseDurationSeconds": DURATION.as_secs(), "renewTime": now,
        })
    }
}

fn holder(spec: &Value) -> &str {
    text_at(spec, &["holderIdentity"]).unwrap_or_default()
}

//! Whether an agent works: what its lease says.

use gitmoor_core::{
    builtin,
    names::{ANNOTATION_FOLLOWS, LEASE},
    object::{annotation, text_at},
};
use jiff::Timestamp;
use serde_json::Value;

use super::{Connection, name_of};
use crate::age::span;

/// What is known of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Agent {
    /// It works, under this name: that of its pod.
    Works { holder: String },
    /// It has not renewed its lease for so many seconds.
    Silent { holder: String, seconds: i64 },
    /// There never was one.
    Absent,
    /// The lease may not be read.
    Unknown,
}

impl Agent {
    /// What people have to know before they read a status; of the agent of a namespace, or of several where one was
    /// looked for.
    pub(crate) fn warning(&self, namespace: &str) -> Option<String> {
        match self {
            Self::Works { .. } | Self::Unknown => None,
            Self::Silent { seconds, .. } => Some(format!(
                "no agent is running in namespace {namespace}: the last one was seen {} ago; what follows is as it left it",
                span(*seconds)
            )),
            Self::Absent => Some(format!(
                "no agent has ever run in namespace {namespace}; install one with gitmoor bootstrap, or name its namespace with --namespace"
            )),
        }
    }

    fn read(lease: Option<&Value>, now: Timestamp) -> Self {
        let Some(lease) = lease else { return Self::Absent };
        let spec = &lease["spec"];
        let holder = text_at(spec, &["holderIdentity"]).unwrap_or_default().to_owned();
        let renewed = text_at(spec, &["renewTime"]).and_then(|text| text.parse::<Timestamp>().ok());
        let seconds = renewed.map_or(i64::MAX, |renewed| now.as_second() - renewed.as_second());
        let lasts = spec["leaseDurationSeconds"].as_i64().unwrap_or(15);
        // One that stopped properly gave its lease back. Clocks differ a little: twice as long as it lasts is over.
        if holder.is_empty() || seconds > lasts * 2 {
            return Self::Silent { holder, seconds };
        }
        Self::Works { holder }
    }
}

/// What the lease of a namespace tells.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// Where it is, and the agent with it.
    pub(super) namespace: String,
    pub(super) agent: Agent,
    /// The namespaces whose Applications that agent follows; `None` of one that does not say.
    pub(super) follows: Option<Vec<String>>,
}

impl Told {
    fn read(namespace: String, lease: Option<&Value>, now: Timestamp) -> Self {
        let follows = lease.and_then(|lease| annotation(lease, ANNOTATION_FOLLOWS));
        let follows = follows.map(|listed| listed.split(',').map(str::to_owned).collect());
        Self { namespace, agent: Agent::read(lease, now), follows }
    }

    /// It names a namespace among those that it follows.
    pub(super) fn says(&self, namespace: &str) -> bool {
        self.follows.as_ref().is_some_and(|follows| follows.iter().any(|one| one == namespace))
    }
}

impl Connection {
    /// Whether an agent works in a namespace, which is its own. Who works on an Application is another question:
    /// [`Connection::agent_of`].
    pub(crate) async fn agent(&self, namespace: &str) -> Agent {
        self.lease(namespace).await.agent
    }

    /// The lease of a namespace. It is judged by the clock of the API server: that of this machine may be any.
    pub(super) async fn lease(&self, namespace: &str) -> Told {
        match self.cluster.get_dated(&builtin::leases(), Some(namespace), LEASE).await {
            Ok((lease, told)) => Told::read(namespace.to_owned(), lease.as_ref(), told.unwrap_or_else(Timestamp::now)),
            // It may not be read, or whoever asked something else as well gets told why.
            Err(_) => Told { namespace: namespace.to_owned(), agent: Agent::Unknown, follows: None },
        }
    }

    /// The leases of all namespaces; `None` where that may not be read.
    pub(super) async fn leases(&self) -> Option<Vec<Told>> {
        let (leases, told) = self.cluster.all_named_dated(&builtin::leases(), LEASE).await.ok()?;
        let now = told.unwrap_or_else(Timestamp::now);
        let read = |lease: &Value| Told::read(name_of(lease).0.to_owned(), Some(lease), now);
        Some(leases.iter().map(read).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_that_was_given_back_or_not_renewed_is_nobodys() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let lease = |holder: &str, renewed: &str| json!({"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 12}});
        for (lease, expected) in [
            (None, Agent::Absent),
            (Some(lease("a", "2026-01-01T00:00:50.123456Z")), Agent::Works { holder: "a".into() }),
            (Some(lease("", "2026-01-01T00:00:59Z")), Agent::Silent { holder: String::new(), seconds: 1 }),
            (Some(lease("a", "2026-01-01T00:00:00Z")), Agent::Silent { holder: "a".into(), seconds: 60 }),
        ] {
            assert_eq!(Agent::read(lease.as_ref(), now), expected);
        }
    }
}

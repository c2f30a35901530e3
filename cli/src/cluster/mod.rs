//! The cluster that commands talk to, with the user's own kubeconfig and rights.

mod agents;
mod applications;
mod argo_cd;
mod complete;
mod lease;
mod look;
mod operation;
mod repositories;

use std::path::PathBuf;

use gitmoor_engine::cluster::{Cluster, ClusterError};
use tokio::runtime::Runtime;

use crate::failure::{Exit, Failure};

pub(crate) use agents::Follower;
pub(crate) use applications::{address, address_of, name_of, owner_of};
pub(crate) use complete::{applications as complete_applications, contexts, external_secrets as complete_secrets};
pub(crate) use lease::Agent;
pub(crate) use look::Looked;
pub(crate) use operation::Ended;
pub(crate) use repositories::Repositories;

const USER_AGENT: &str = concat!("gitmoor/", env!("CARGO_PKG_VERSION"));
/// Where an agent is that nobody has put elsewhere.
pub(crate) const NAMESPACE: &str = "gitmoor";
/// Names it for every command of a shell.
const NAMESPACE_VARIABLE: &str = "GITMOOR_NAMESPACE";
/// Where it is when it follows the Applications that Argo CD had.
const FORMER_NAMESPACE: &str = "argocd";

/// Which cluster, and where in it the agent is.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Target {
    /// File with the ways to clusters [default: as kubectl]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context in it [default: the current one]
    #[arg(long, value_name = "NAME", add = clap_complete::ArgValueCandidates::new(contexts))]
    pub(crate) context: Option<String>,
    /// Namespace of the agent and its Applications [default: gitmoor; argocd when they are there]
    #[arg(long, short, value_name = "NAMESPACE", env = NAMESPACE_VARIABLE, hide_env = true)]
    pub(crate) namespace: Option<String>,
}

/// A way to a cluster.
pub(crate) struct Connection {
    runtime: Runtime,
    pub(crate) cluster: Cluster,
    namespace: Option<String>,
}

impl Connection {
    pub(crate) fn open(target: &Target) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::io("cannot start", &error))?;
        let connect = Cluster::connect_as(target.kubeconfig.as_deref(), target.context.as_deref(), USER_AGENT);
        let cluster = runtime.block_on(connect).map_err(|error| {
            let failure = Failure::new(Exit::Io, "cannot reach the cluster").because(&error);
            failure.hint("name a kubeconfig with --kubeconfig or KUBECONFIG, and a context in it with --context")
        })?;
        Ok(Self { runtime, cluster, namespace: target.namespace.clone() })
    }

    /// Waits for something that asks the cluster.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Where the agent may be, the likeliest first.
    pub(crate) fn namespaces(&self) -> Vec<&str> {
        match &self.namespace {
            Some(namespace) => vec![namespace],
            None => vec![NAMESPACE, FORMER_NAMESPACE],
        }
    }

    /// Where something new goes.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(NAMESPACE)
    }
}

/// Something that the cluster was asked for and did not do.
pub(crate) fn failed(what: impl Into<String>, error: &ClusterError) -> Failure {
    let failure = Failure::new(Exit::Io, what).because(error);
    match error.code() {
        Some(401) => failure.hint("your credentials for the cluster have ended: log in again"),
        Some(403) => failure.hint("ask for the right to do this, or name another context with --context"),
        None => failure.hint("is it the right cluster? see kubectl config get-contexts, and --context"),
        _ => failure,
    }
}

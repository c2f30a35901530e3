//! The real parts that tests, demo and benches run on. Everything listens on
//! loopback only, on free ports, and dies with the process that started it,
//! also when that panics or is killed.
//!
//! In the order in which they build on each other:

pub mod tools;

pub mod scratch;

pub mod supervised;

pub mod ports;

pub mod http;

pub mod metrics;

pub mod usage;

pub mod certificates;

pub mod identity;

pub mod control_plane;

pub mod nodes;

pub mod audit;

pub mod namespaces;

pub mod repository;

pub mod cgi;

pub mod git_remote;

pub mod chart_server;

pub mod ssh_server;

pub mod forward_proxy;

pub mod github;

pub mod aws;

pub mod aws_proxy;

pub mod program;

pub mod run;

mod tls;

pub mod admission;

pub mod kubelet;

pub mod api_proxy;

pub mod agent;

pub mod webhook;

pub mod cluster_dump;

pub mod await_state;

pub mod definitions;

pub mod argo_cd_definition;

pub use admission::AdmissionWebhook;
pub use agent::Agent;
pub use api_proxy::{ApiFault, ApiProxy, Passing};
pub use audit::{Audit, Mark, Request, Requests};
pub use await_state::{Scene, eventually, throughout};
pub use aws::Aws;
pub use aws_proxy::{AwsCall, AwsProxy, Fault};
pub use chart_server::ChartServer;
pub use control_plane::ControlPlane;
pub use forward_proxy::ForwardProxy;
pub use git_remote::{GitRemote, Mode};
pub use github::GitHubApi;
pub use identity::Identity;
pub use kubelet::Kubelet;
pub use metrics::Metrics;
pub use namespaces::{create_namespace, unique_name};
pub use program::program;
pub use repository::Repository;
pub use ssh_server::SshServer;
pub use usage::Usage;
pub use webhook::Webhook;

pub mod installation;

pub use installation::{Installation, condition, config_map, kustomization};

pub mod sealed_secrets;

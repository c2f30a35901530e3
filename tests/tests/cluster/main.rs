//! Tests that talk to a real API server. They may run side by side: each has
//! names of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod app_of_apps;
mod argo_cd;
mod argo_cd_again;
mod bad_input;
mod canary;
mod commits;
mod credentials;
mod demo;
mod differences;
mod distribution;
mod faults;
mod harness;
mod hooks;
mod hostile;
mod image;
mod kills;
mod leader;
mod lock;
mod metrics;
mod model;
mod operate;
mod options;
mod order;
mod plan;
mod projects;
mod prune;
mod random;
mod rehearse;
mod remotes;
mod restore;
mod seal;
mod secrets;
mod sources;
mod steady;
mod sync;
mod takeover;
mod writers;

//! Tests on real programs without a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod anywhere;
mod canary;
mod charts;
mod credentials;
mod distribution;
mod docs;
mod fields;
mod fuzz;
mod git;
mod harness;
mod iam;
mod init;
mod lock;
mod plan;
mod render;
mod seal;
mod ssh;
mod upgrade;

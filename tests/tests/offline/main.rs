//! Tests on real programs without a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod distribution;
mod git;
mod harness;
mod init;
mod render;

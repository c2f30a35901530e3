//! Harness on real parts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub mod harness;

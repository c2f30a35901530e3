//! Harness on real parts, and what holds of the distribution.
// A test, and what it stands on, says what it expects by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

pub mod harness;

pub mod distribution;

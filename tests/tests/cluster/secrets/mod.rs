//! External secrets: a real API server, the AWS emulator, and a proxy in front of it that counts and fails calls.

mod basics;
mod explained;
mod fields;
mod handover;
mod identities;
mod platform;
mod safety;
mod soak;
mod supported;
mod whole_cluster;
mod workloads;
mod world;

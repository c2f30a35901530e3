//! The input and output that Gitmoor's programs share. Each kind of it has one owner module.

pub mod access;
pub mod addresses;
pub mod argo_cd;
pub mod aws;
mod changing;
pub mod charts;
pub mod cluster;
pub mod git;
mod go_program;
pub mod helm;
pub mod inputs;
pub mod jq;
pub mod kustomize;
mod layout;
pub mod manifests;
pub mod materialise;
pub mod process;
pub mod reach;
pub mod remotes;
pub mod render;
pub mod render_cache;
mod showable;
pub mod sources;
pub mod work_folder;

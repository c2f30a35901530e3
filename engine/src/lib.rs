//! The input and output that Gitmoor's programs share. Each kind of it has one owner module.

pub mod aws;
pub mod cluster;
pub mod git;
pub mod jq;
pub mod kustomize;
pub mod materialise;
pub mod process;
pub mod render;
pub mod work_folder;

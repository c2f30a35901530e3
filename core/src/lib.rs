//! Gitmoor's pure part: types and functions, in the order of the flow.
//!
//! Nothing here reads a file, a clock, an environment variable or a socket, and nothing prints:
//! values come in, values go out. The crate's dependencies hold that rule.

pub mod iam;
pub mod selection;
pub mod setup_conf;
pub mod template;

pub mod init_state;

pub mod webhook;

pub mod application;
pub mod argo_cd;
pub mod authority;
pub mod chart;
pub mod closure;
pub mod known_hosts;
pub mod lock;
pub mod manifest;
pub mod no_proxy;
pub mod percent;
pub mod replacement;
pub mod repository_address;
pub mod resource;
pub mod scope;
pub mod source;
pub mod tree;
pub mod version;
pub mod yaml;

pub mod handling;
pub mod handover;
pub mod hook;
pub mod ignore;
pub mod live;
pub mod mutation;
pub mod operation;
pub mod ownership;
pub mod packed;
pub mod plan;
pub mod preview;
pub mod project;
pub mod provision;
pub mod prune;
pub mod root;
pub mod takeover;
pub mod tracking;

pub mod secrets;

pub mod health;
pub mod overview;
pub mod recorded;
pub mod status;
pub mod view;

pub mod seal;

pub mod credentials;

pub mod builtin;
pub mod duration;
pub mod explain;
pub mod glob;
pub mod names;
pub mod object;
pub mod sensitive;

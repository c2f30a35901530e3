//! The distribution as tests see it: an initialised copy, what it renders to, and what has to hold of that.

pub mod selection;

pub mod fork;

pub mod policy;

pub mod references;

pub mod keys;

pub mod components;

pub mod values;

pub mod upstream;

pub mod dry_run;

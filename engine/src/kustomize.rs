//! Runs kustomize.

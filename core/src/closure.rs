//! The read-set of a kustomization.

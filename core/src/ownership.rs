//! Field ownership, from managedFields.

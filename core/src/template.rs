//! Placeholders in a tree of files, and their substitution.

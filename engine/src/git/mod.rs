//! Git repositories: mirrors, fetches, trees.

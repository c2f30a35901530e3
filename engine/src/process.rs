//! Runs subprocesses, bounded.

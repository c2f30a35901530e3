//! Writes a read-set into a folder of its own.

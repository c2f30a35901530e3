//! setup.conf: names and values.

//! The status of an Application.

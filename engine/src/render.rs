//! Renders an Application.

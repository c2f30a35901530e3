//! Which object belongs to which Application.

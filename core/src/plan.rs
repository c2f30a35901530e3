//! From desired and live objects to a plan.

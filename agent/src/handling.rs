//! What of an Application's rules its evaluation depends on.

use std::hash::{DefaultHasher, Hash, Hasher};

use gitmoor_core::application::ApplicationSpec;

/// What of the spec the handling of its objects depends on; empty without rules.
pub(crate) fn digest(spec: &ApplicationSpec) -> String {
    if spec.ignore_differences.is_empty() {
        return String::new();
    }
    let mut hasher = DefaultHasher::new();
    spec.ignore_differences.hash(&mut hasher);
    format!(":{:x}", hasher.finish())
}

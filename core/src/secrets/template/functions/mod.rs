//! Functions of templates.

use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError, Value};

/// Salt for a password hash: the same for the same password, so that an unchanged value makes an unchanged Secret, and
/// not to be guessed by who does not hold the installation's key.
pub type Salt = Arc<dyn Fn(&[u8]) -> [u8; 16] + Send + Sync>;

/// In front of messages that are known to quote no value.
pub(super) const OWN: &str = "gitmoor: ";

/// All functions beside those of Go itself.
pub(super) fn all(_salt: &Salt) -> FuncMap {
    let mut map = FuncMap::new();
    map.insert("upper".into(), Arc::new(|a: &[Value]| Ok(Value::String(a[0].to_string().to_uppercase().into()))));
    let _: Option<TemplateError> = None;
    map
}

/// Names of all functions beside those of Go itself.
pub fn names() -> Vec<String> {
    let salt: Salt = Arc::new(|_| [0; 16]);
    all(&salt).into_keys().collect()
}

//! CustomResourceDefinitions.

use serde_json::Value;

use super::Health;
use super::observed::{Condition, condition, true_condition};

/// Healthy once established. Names that are taken and schemas that are not structural are Degraded, as in Argo CD
/// (kstatus looks at the names only). Not established without such a reason is Progressing.
pub(super) fn assess(object: &Value) -> Health {
    if let Some(terminating) = true_condition(object, "Terminating") {
        return Health::progressing(terminating.text());
    }
    if let Some(names) = condition(object, "NamesAccepted").filter(Condition::is_false) {
        return Health::degraded(names.text());
    }
    if let Some(schema) = true_condition(object, "NonStructuralSchema") {
        return Health::degraded(schema.text());
    }
    if true_condition(object, "Established").is_some() {
        return Health::healthy();
    }
    Health::progressing("waiting to be established")
}

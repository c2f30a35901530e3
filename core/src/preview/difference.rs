//! Two states of an object as a unified difference of YAML.

use serde_json::Value;
use similar::TextDiff;

use super::masked::{masked, masked_pair, shortened, shown};
use crate::yaml::write_document;

/// Lines around a change.
const CONTEXT: usize = 3;

/// Hunks of the difference between two states; `None` stands for an object that is not there. Empty when people would
/// see no difference.
pub fn difference(before: Option<&Value>, after: Option<&Value>) -> String {
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => {
            let (before, after) = masked_pair(&shown(before), &shown(after));
            (write_document(&shortened(before)), write_document(&shortened(after)))
        }
        (Some(before), None) => (write_document(&shortened(masked(&shown(before)))), String::new()),
        (None, Some(after)) => (String::new(), write_document(&shortened(masked(&shown(after))))),
        (None, None) => return String::new(),
    };
    TextDiff::from_lines(&before, &after).unified_diff().context_radius(CONTEXT).to_string()
}

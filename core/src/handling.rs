//! Sync options: how an object is compared, applied and deleted. What the object itself says counts before what its
//! Application says.

use serde_json::Value;

use crate::ignore::Ignored;
use crate::names::{ANNOTATION_MIGRATION_MANAGER, ANNOTATION_SYNC_OPTIONS};
use crate::object::annotation;

/// Options of an Application that are understood, with the values that are.
const OPTIONS: [(&str, &[&str]); 14] = [
    ("ServerSideApply", &["true"]),
    ("CreateNamespace", &["true", "false"]),
    ("ApplyOutOfSyncOnly", &["true", "false"]),
    ("SkipDryRunOnMissingResource", &["true", "false"]),
    ("Validate", &["true", "false"]),
    ("PruneLast", &["true", "false"]),
    ("Prune", &["true", "false", "confirm"]),
    ("Delete", &["true", "false", "confirm"]),
    ("Replace", &["true", "false"]),
    ("Force", &["true", "false"]),
    ("FailOnSharedResource", &["true", "false"]),
    ("RespectIgnoreDifferences", &["true", "false"]),
    ("ClientSideApplyMigration", &["true", "false"]),
    ("PrunePropagationPolicy", &["foreground", "background", "orphan"]),
];

/// True for an option of an Application that is understood.
pub fn is_known(option: &str) -> bool {
    let Some((name, value)) = option.trim().split_once('=') else { return false };
    OPTIONS.iter().any(|(known, values)| *known == name && values.contains(&value))
}

/// The value of an option in a list; the last one counts.
pub fn option<'a>(options: impl DoubleEndedIterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    options.rev().find_map(|option| option.trim().strip_prefix(name)?.strip_prefix('='))
}

/// How an object is handled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// What of it belongs to others.
    pub ignored: Option<Box<Ignored>>,
    /// `RespectIgnoreDifferences`: that is not applied either, when the object exists.
    pub respect_ignored: bool,
    /// `Replace`: what others have added goes.
    pub replace: bool,
    /// `Force`: an object that cannot be changed is made anew.
    pub force: bool,
    /// `Validate=false`: fields that the API server does not know are dropped, not refused.
    pub lenient: bool,
    /// `ClientSideApplyMigration=false`: fields of other tools stay theirs.
    pub keep_owners: bool,
    /// Another field manager whose fields become ours at adoption.
    pub former_manager: Option<String>,
}

impl Handling {
    /// What an object and the options of its Application say.
    pub fn of(object: &Value, options: &[String]) -> Self {
        let own = annotation(object, ANNOTATION_SYNC_OPTIONS).unwrap_or_default();
        let says = |name: &str| {
            let own = option(own.split(','), name);
            own.or_else(|| option(options.iter().map(String::as_str), name))
        };
        let is = |name: &str| says(name) == Some("true");
        Self {
            ignored: None,
            respect_ignored: is("RespectIgnoreDifferences"),
            replace: is("Replace"),
            force: is("Force"),
            lenient: says("Validate") == Some("false"),
            keep_owners: says("ClientSideApplyMigration") == Some("false"),
            former_manager: annotation(object, ANNOTATION_MIGRATION_MANAGER).map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_object_says_counts_before_what_its_application_says() {
        let options =
            ["Replace=true".to_owned(), "Validate=false".to_owned(), "RespectIgnoreDifferences=true".to_owned()];
        let object = json!({"metadata": {"annotations": {ANNOTATION_SYNC_OPTIONS: "Replace=false, Force=true"}}});
        let handling = Handling::of(&object, &options);
        assert!(!handling.replace && handling.force && handling.lenient && handling.respect_ignored);
        assert_eq!(Handling::of(&json!({}), &[]), Handling::default());
    }

    #[test]
    fn options_are_known_with_their_values() {
        for (option, known) in [
            ("Replace=true", true),
            (" Validate=false", true),
            ("ServerSideApply=false", false),
            ("PrunePropagationPolicy=orphan", true),
            ("PrunePropagationPolicy=never", false),
            ("Replace", false),
        ] {
            assert_eq!(is_known(option), known, "{option}");
        }
    }
}

//! Values of setup.conf that were made up for its example, where something that is selected needs them.

use std::path::{Path, PathBuf};

use gitmoor_core::setup_conf::{Entry, SetupConf};

use crate::reach::texts_that_are_read;

/// The entries that still have the example's value, though nobody's cluster can have it. What nothing reads that is selected
/// needs no value.
pub(crate) fn left_as_in_example<'c>(conf: &'c SetupConf, setup_conf: &Path, folders: &[PathBuf]) -> Vec<&'c Entry> {
    let example = std::fs::read_to_string(setup_conf.with_file_name("setup.conf.example")).unwrap_or_default();
    let mut left = conf.unchanged_examples(&example);
    let Ok(matcher) = conf.matcher() else { return left };
    if left.is_empty() {
        return left;
    }
    let texts = folders.iter().map(|folder| texts_that_are_read(&folder.canonicalize().ok()?, &matcher));
    if let Some(texts) = texts.collect::<Option<Vec<_>>>() {
        left.retain(|entry| texts.iter().flatten().any(|text| text.contains(&entry.value)));
    }
    left
}

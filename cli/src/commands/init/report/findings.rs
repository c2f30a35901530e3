//! What was found in files: placeholders and where they stand.

use std::{collections::BTreeMap, path::Path};

use gitmoor_core::{
    setup_conf::SetupConf,
    template::{Occurrence, Position, name},
};
use serde::Serialize;

use super::super::{arguments::Mode, display};

/// One file with placeholders.
#[derive(Debug, Serialize)]
pub(in super::super) struct FileReport {
    pub(super) path: String,
    pub(in super::super) changed: bool,
    pub(super) replaced: Vec<Finding>,
    pub(super) left_over: Vec<Finding>,
    /// Placeholders without a value, in a file that nothing selected reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_needed: Vec<Finding>,
    /// Places of changed values that the user has edited, and that are left as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) edited: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
}

/// One placeholder and where it stands.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) placeholder: String,
    #[serde(flatten)]
    pub(super) position: Position,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) did_you_mean: Option<String>,
}

/// A name of setup.conf, and where it stands there.
#[derive(Debug, Serialize)]
pub(super) struct Named {
    pub(super) placeholder: String,
    pub(super) place: String,
}

pub(super) fn finding(token: String, position: Position) -> Finding {
    Finding { placeholder: token, position, value: None, did_you_mean: None }
}

impl FileReport {
    /// Positions are those in the file as it is now: before the substitution where nothing was written.
    pub(in super::super) fn new(
        path: &Path,
        changed: bool,
        mode: Mode,
        replaced: Vec<Occurrence>,
        left_over: Vec<Occurrence>,
        edited: Vec<Occurrence>,
    ) -> Self {
        let findings = |found: Vec<Occurrence>| {
            found
                .into_iter()
                .map(|Occurrence { token, before, after }| {
                    finding(token, if mode == Mode::Write { after } else { before })
                })
                .collect()
        };
        let edited = edited.into_iter().map(|Occurrence { token, before: _, after }| finding(token, after)).collect();
        let (replaced, left_over) = (findings(replaced), findings(left_over));
        Self { path: display(path), changed, replaced, left_over, not_needed: Vec::new(), edited, diff: None }
    }

    /// With the diff, where it is part of the document.
    pub(in super::super) fn with_diff(self, diff: Option<String>) -> Self {
        Self { diff, ..self }
    }
}

pub(super) fn suggest(left_over: &mut [Finding], conf: &SetupConf) {
    for found in left_over {
        found.did_you_mean = conf.did_you_mean(&found.placeholder).map(str::to_owned);
    }
}

/// `aws_region (2), domain`.
pub(super) fn counted(replaced: &[Finding]) -> String {
    let mut counts = BTreeMap::new();
    for found in replaced {
        *counts.entry(name(&found.placeholder)).or_insert(0) += 1;
    }
    let words: Vec<String> = counts
        .into_iter()
        .map(|(name, count)| if count == 1 { name.to_owned() } else { format!("{name} ({count})") })
        .collect();
    words.join(", ")
}

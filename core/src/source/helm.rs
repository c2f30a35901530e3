//! `helm` of a source: how a chart is rendered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Rest;
use crate::tree::RepoPath;

/// The options as they are written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmOptions {
    /// Name of the release; that of the Application when empty.
    pub release_name: String,
    /// Namespace of the release; that of the destination when empty.
    pub namespace: String,
    /// Files with values: relative to the chart, from the root of the repository with a leading `/`, or `$ref/PATH`.
    pub value_files: Vec<String>,
    /// Leave out files with values that are not there.
    pub ignore_missing_value_files: bool,
    /// Values as a text.
    pub values: String,
    /// Values as an object; they stand in place of the text.
    pub values_object: Option<Value>,
    /// `--set` and `--set-string`.
    pub parameters: Vec<Parameter>,
    /// `--set-file`.
    pub file_parameters: Vec<FileParameter>,
    /// Leave out the folder `crds`.
    pub skip_crds: bool,
    /// Leave out the chart's tests.
    pub skip_tests: bool,
    /// Do not check the values against the chart's schema.
    pub skip_schema_validation: bool,
    /// Send the repository's credentials also to other hosts that its index names.
    pub pass_credentials: bool,
    /// Only Helm 3.
    pub version: String,
    /// In place of the cluster's version.
    pub kube_version: String,
    /// In place of what the cluster serves.
    pub api_versions: Vec<String>,
    #[serde(flatten)]
    pub(crate) rest: Rest,
}

/// An item of `parameters`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Parameter {
    /// Path of the value.
    pub name: String,
    /// The value.
    pub value: String,
    /// It is a string, whatever it looks like.
    pub force_string: bool,
}

/// An item of `fileParameters`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileParameter {
    /// Path of the value.
    pub name: String,
    /// The file that holds it.
    pub path: String,
}

impl HelmOptions {
    /// Nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self { rest: self.rest.clone(), ..Self::default() }
    }
}

/// A file of this source, or of another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ValueFile {
    /// Position of the other source.
    pub source: Option<usize>,
    /// Where it is there.
    pub path: RepoPath,
    /// As it is written, for messages.
    pub text: String,
}

/// The options, with all names resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Helm {
    /// Name of the release.
    pub release_name: String,
    /// Namespace of the release.
    pub namespace: String,
    /// Files with values, in order; the last one wins.
    pub value_files: Vec<ValueFile>,
    /// Leave out files that are not there.
    pub ignore_missing_value_files: bool,
    /// Values as YAML; they win over the files.
    pub values: String,
    /// `--set`: path and value, in order, escaped for helm.
    pub set: Vec<String>,
    /// `--set-string`.
    pub set_string: Vec<String>,
    /// `--set-file`: path and file.
    pub set_file: Vec<(String, ValueFile)>,
    /// Leave out the folder `crds`.
    pub skip_crds: bool,
    /// Leave out the chart's tests.
    pub skip_tests: bool,
    /// Do not check the values against the chart's schema.
    pub skip_schema_validation: bool,
    /// In place of the cluster's version.
    pub kube_version: Option<String>,
    /// In place of what the cluster serves.
    pub api_versions: Vec<String>,
}

impl Helm {
    /// Every file that is read besides the chart, and the field that names it.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &ValueFile)> {
        let values = self.value_files.iter().map(|file| ("helm.valueFiles", file));
        values.chain(self.set_file.iter().map(|(_, file)| ("helm.fileParameters", file)))
    }
}

/// `--set` splits at commas; a list in braces keeps them. As `cleanSetParameters` in Argo CD's `util/helm/cmd.go`.
pub(super) fn escaped(value: &str) -> String {
    if value.starts_with('{') && value.ends_with('}') {
        return value.to_owned();
    }
    let mut escaped = String::with_capacity(value.len());
    let mut before = None;
    for letter in value.chars() {
        if letter == ',' && before != Some('\\') {
            escaped.push('\\');
        }
        escaped.push(letter);
        before = Some(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_are_escaped_outside_of_lists() {
        for (value, expected) in [("a,b", r"a\,b"), (r"a\,b", r"a\,b"), ("{a,b}", "{a,b}"), ("", "")] {
            assert_eq!(escaped(value), expected);
        }
    }
}

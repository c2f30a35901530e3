//! `directory` of a source: which files of a folder are manifests.

use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;

use super::Rest;

/// The options as they are written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DirectoryOptions {
    /// Folders below count too.
    pub recurse: bool,
    /// Pattern of paths that count; all, when empty.
    pub include: String,
    /// Pattern of paths that do not count.
    pub exclude: String,
    #[serde(flatten)]
    pub(crate) rest: Rest,
}

impl DirectoryOptions {
    /// Nothing is set.
    pub fn is_empty(&self) -> bool {
        !self.recurse && self.include.is_empty() && self.exclude.is_empty()
    }
}

/// The options, ready to use. `*` matches `/` too, and `{a,b}` either, as in Argo CD.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Folders below count too.
    pub recurse: bool,
    include: Option<GlobMatcher>,
    exclude: Option<GlobMatcher>,
}

impl Directory {
    /// Compiles the patterns; a message for one that is none.
    pub(super) fn new(options: &DirectoryOptions) -> Result<Self, (&'static str, String)> {
        let pattern = |field, text: &str| {
            if text.is_empty() {
                return Ok(None);
            }
            let built = GlobBuilder::new(text).literal_separator(false).backslash_escape(true).build();
            built.map(|glob| Some(glob.compile_matcher())).map_err(|error| (field, error.to_string()))
        };
        Ok(Self {
            recurse: options.recurse,
            include: pattern("directory.include", &options.include)?,
            exclude: pattern("directory.exclude", &options.exclude)?,
        })
    }

    /// Whether a file is read; the path is relative to the folder.
    pub fn counts(&self, path: &str) -> bool {
        !self.exclude.as_ref().is_some_and(|pattern| pattern.is_match(path))
            && self.include.as_ref().is_none_or(|pattern| pattern.is_match(path))
    }

    /// Everything that a render depends on.
    pub(super) fn identity(&self) -> String {
        let text = |glob: &Option<GlobMatcher>| glob.as_ref().map(|glob| glob.glob().glob().to_owned());
        format!("{:?}", (self.recurse, text(&self.include), text(&self.exclude)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(include: &str, exclude: &str) -> Directory {
        let options =
            DirectoryOptions { include: include.into(), exclude: exclude.into(), ..DirectoryOptions::default() };
        Directory::new(&options).unwrap()
    }

    #[test]
    fn patterns_are_argo_cd_s() {
        assert!(directory("", "").counts("a/b.yaml"));
        assert!(directory("*.yaml", "").counts("a/b.yaml"));
        assert!(!directory("*.yaml", "").counts("a/b.json"));
        assert!(directory("{a,b}/*.yaml", "").counts("b/c.yaml"));
        assert!(!directory("", "{config.yaml,env-usw2/*}").counts("env-usw2/x/y.yaml"));
        assert!(!directory("*.yaml", "test-*").counts("test-a.yaml"));
        assert_eq!(
            Directory::new(&DirectoryOptions { include: "{a".into(), ..Default::default() }).unwrap_err().0,
            "directory.include"
        );
    }
}

//! What `gitmoor init` leaves behind, so that a later run finds the places where values stand: a readable
//! file that is committed with the fork.
//!
//! ```yaml
//! format: 1
//! initialised:
//! - setup_conf: setup.conf
//!   folders: [distribution]
//!   values:
//!     <<__aws_region__>>: eu-west-1
//!   files:
//!     distribution/platform.yaml: 1f7391f92b6a3792204e07e99f71f643cc35e7e1
//! ```
//!
//! `files` has a line for each file in which placeholders stood: the id of the Git blob that holds its
//! template, which is in the history of the fork. A template that no commit holds (placeholders that the
//! user added to a file that was initialised already) is `kept`: it lies beside the state, in
//! [`TEMPLATES`]. `values` has the values that stand in those files. A value that looks like a secret
//! is not repeated there: `withheld` has its SHA-256, which is enough to see that it is still the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// The folder of the state, at the top of the repository.
pub const FOLDER: &str = ".gitmoor";
/// The file, from the top of the repository.
pub const PATH: &str = ".gitmoor/init.yaml";
/// The folder with the templates that no commit holds, each under its file's path.
pub const TEMPLATES: &str = ".gitmoor/templates";

/// Whether a path, from the top of the repository, belongs to the state.
pub fn is_state(path: &str) -> bool {
    path == PATH || path.strip_prefix(TEMPLATES).is_some_and(|below| below.starts_with('/'))
}

/// The version of the format; it grows when an older program could be misled.
const FORMAT: u32 = 1;

const COMMENT: &str = "\
# Written by gitmoor: where the values of setup.conf stand in this repository.
# Commit it. `gitmoor init` and `gitmoor upgrade` read and write it; nobody else needs to.
";

/// The whole state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: u32,
    /// What the fork was last upgraded to, or adopted from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// One for each setup.conf.
    #[serde(default)]
    pub initialised: Vec<Initialised>,
}

/// Where the distribution comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// What to fetch from, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The commit whose templates the fork has.
    pub commit: String,
}

/// What was done with one setup.conf. Paths are relative to the top of the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initialised {
    /// The file with the values.
    pub setup_conf: String,
    /// The folders that were filled in.
    #[serde(default)]
    pub folders: Vec<String>,
    /// The single files that were filled in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// What stands in the files for which token.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// The digests of values that are not repeated here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub withheld: BTreeMap<String, String>,
    /// The templates of the files in which placeholders stood.
    #[serde(default)]
    pub files: BTreeMap<String, Template>,
}

/// Where a file's template is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Template {
    /// In the Git blob with this id.
    Blob(String),
    /// Under the file's path in [`TEMPLATES`].
    Kept,
}

const KEPT: &str = "kept";

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Blob(id) => id,
            Self::Kept => KEPT,
        })
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_id = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.as_str() {
            KEPT => Ok(Self::Kept),
            _ if is_id => Ok(Self::Blob(text)),
            _ => Err(de::Error::custom("neither the id of a blob nor `kept`")),
        }
    }
}

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not what this program or an older one has written.
    #[error("not a state of init")]
    Syntax(#[source] serde_yaml::Error),
    /// Written by a newer program.
    #[error("has format {0}, which this gitmoor does not know; use the version that wrote it, or a newer one")]
    Format(u32),
    /// A path that leads out of the repository.
    #[error("names {0}, which is not a path in the repository")]
    Path(String),
}

impl Default for State {
    fn default() -> Self {
        Self { format: FORMAT, upstream: None, initialised: Vec::new() }
    }
}

impl State {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let Version { format } = serde_yaml::from_str(text).map_err(StateError::Syntax)?;
        if format != FORMAT {
            return Err(StateError::Format(format));
        }
        let state: Self = serde_yaml::from_str(text).map_err(StateError::Syntax)?;
        let paths = |one: &Initialised| {
            let files = one.files.keys().chain(&one.also);
            files.chain(one.folders.iter().filter(|folder| *folder != ".")).cloned().collect::<Vec<_>>()
        };
        match state.initialised.iter().flat_map(paths).find(|path| !is_inside(path)) {
            Some(path) => Err(StateError::Path(path)),
            None => Ok(state),
        }
    }

    /// The file's text.
    pub fn text(&self) -> Result<String, StateError> {
        let yaml = serde_yaml::to_string(self).map_err(StateError::Syntax)?;
        Ok(format!("{COMMENT}{yaml}"))
    }

    /// What was done with this setup.conf; a new one where there was nothing.
    pub fn of(&mut self, setup_conf: &str) -> &mut Initialised {
        let index = self.initialised.iter().position(|one| one.setup_conf == setup_conf).unwrap_or_else(|| {
            self.initialised.push(Initialised { setup_conf: setup_conf.to_owned(), ..Initialised::default() });
            self.initialised.len() - 1
        });
        &mut self.initialised[index]
    }
}

/// A repository is input: its state must not lead a program out of it.
fn is_inside(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".." | ".git"))
}

impl Initialised {
    /// Whether the path lies in what was filled in.
    pub fn covers(&self, path: &str) -> bool {
        let within = |folder: &String| {
            folder == "." || path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        self.also.iter().any(|file| file == path) || self.folders.iter().any(within)
    }

    /// The folders and single files.
    pub fn scope(&self) -> Vec<String> {
        self.folders.iter().chain(&self.also).cloned().collect()
    }

    /// The values that the files hold; a withheld one is among `known` (pairs of token and value) when it
    /// did not change. Gives the tokens of those that are not, too.
    pub fn values_with<'k>(
        &self,
        known: impl IntoIterator<Item = (&'k str, &'k str)>,
    ) -> (BTreeMap<String, String>, Vec<String>) {
        let mut values = self.values.clone();
        for (token, value) in known {
            if self.withheld.get(token).is_some_and(|withheld| *withheld == digest(value)) {
                values.insert(token.to_owned(), value.to_owned());
            }
        }
        let unknown = self.withheld.keys().filter(|token| !values.contains_key(*token)).cloned().collect();
        (values, unknown)
    }

    /// Records what now stands for a token.
    pub fn set(&mut self, token: &str, value: &str, is_secret: bool) {
        self.values.remove(token);
        self.withheld.remove(token);
        if is_secret {
            self.withheld.insert(token.to_owned(), digest(value));
        } else {
            self.values.insert(token.to_owned(), value.to_owned());
        }
    }
}

fn digest(value: &str) -> String {
    use std::fmt::Write;
    Sha256::digest(value).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1f7391f92b6a3792204e07e99f71f643cc35e7e1";

    fn state() -> State {
        let mut state = State { upstream: Some(Upstream { url: None, commit: ID.to_owned() }), ..State::default() };
        let one = state.of("setup.conf");
        one.folders.push("distribution".to_owned());
        one.also.push("README.md".to_owned());
        one.files.insert("distribution/a.yaml".to_owned(), Template::Blob(ID.to_owned()));
        one.files.insert("README.md".to_owned(), Template::Kept);
        state
    }

    #[test]
    fn every_value_comes_back() {
        let mut state = state();
        let values =
            ["", "yes", "1", "~", " a ", "a: b", "#x", "a\nb\n", "\r\n", "\t", "Zürich 🚢", "'\"", "0x1", "\u{85}"];
        for (index, value) in values.iter().enumerate() {
            state.of("setup.conf").set(&format!("<<__{index}__>>"), value, false);
        }
        let text = state.text().unwrap();
        assert_eq!(State::parse(&text).unwrap(), state, "{text}");
        assert!(text.starts_with("# ") && text.contains(&format!("distribution/a.yaml: {ID}\n")), "{text}");
    }

    #[test]
    fn what_is_no_state_is_refused() {
        let good = state().text().unwrap();
        for (text, expected) in [
            (String::new(), "not a state"),
            ("<<<<<<< HEAD".to_owned(), "not a state"),
            (good.replace("format: 1", "format: 2"), "format 2"),
            (good.replace(ID, "abc"), "not a state"),
            (good.replace("distribution/a.yaml", "distribution/../../a"), "distribution/../../a"),
            (good.replace("distribution/a.yaml", "/etc/passwd"), "/etc/passwd"),
            (good.replace("distribution/a.yaml", ".git/config"), ".git/config"),
            (good + "unknown: 1\n", "not a state"),
        ] {
            let error = State::parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_value_that_looks_like_a_secret_is_not_repeated() {
        let mut state = state();
        let one = state.of("setup.conf");
        one.set("<<__key__>>", "AKIA-not-really", false);
        one.set("<<__key__>>", "AKIA-not-really", true);
        one.set("<<__a__>>", "1", false);
        let text = state.text().unwrap();
        assert!(!text.contains("AKIA"), "{text}");
        let one = &state.initialised[0];
        let (values, unknown) = one.values_with([("<<__key__>>", "AKIA-not-really"), ("<<__a__>>", "2")]);
        assert_eq!((values["<<__key__>>"].as_str(), values["<<__a__>>"].as_str()), ("AKIA-not-really", "1"));
        assert_eq!(unknown, [""; 0]);
        let (values, unknown) = one.values_with([("<<__key__>>", "another")]);
        assert_eq!((values.len(), unknown), (1, vec!["<<__key__>>".to_owned()]));
    }

    #[test]
    fn what_a_state_covers() {
        let state = state();
        for (path, expected) in
            [("distribution/x/y", true), ("README.md", true), ("distribution", false), ("distribution2/x", false)]
        {
            assert_eq!(state.initialised[0].covers(path), expected, "{path}");
        }
        let root = Initialised { folders: vec![".".to_owned()], ..Initialised::default() };
        assert!(root.covers("anything"));
    }
}

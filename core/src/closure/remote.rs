//! What comes from elsewhere: entries that kustomize would fetch, and what they stand for once it is known.
//!
//! Follows kustomize v5.8.1: `NewRepoSpecFromURL` in `api/internal/git/repospec.go`, and `IsRemoteFile` in
//! `api/internal/loader/fileloader.go`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::error::Category;
use crate::percent;
use crate::tree::{RepoPath, Tree};

/// Something from elsewhere, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RemoteReference {
    /// A Git repository at a revision.
    Repository {
        /// Its address, as written.
        address: String,
        /// Branch, tag or commit; `HEAD` when nothing was said.
        revision: String,
    },
    /// A file over HTTP.
    File {
        /// Its address, as written.
        address: String,
    },
    /// A chart of a chart repository or registry.
    Chart {
        /// Address of the repository, as written.
        repository: String,
        /// Its name.
        name: String,
        /// A version or a range of versions.
        version: String,
    },
}

impl fmt::Display for RemoteReference {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository { address, revision } => write!(f, "{} at {revision}", without_credentials(address)),
            Self::File { address } => f.write_str(&without_credentials(address)),
            Self::Chart { repository, name, version } => {
                let version = if version.is_empty() { "at its highest version" } else { version };
                write!(f, "{}/{name} {version}", without_credentials(repository).trim_end_matches('/'))
            }
        }
    }
}

/// What a reference stands for.
#[derive(Clone)]
pub enum RemoteContent {
    /// A commit's tree, or a chart's.
    Tree {
        /// The files.
        tree: Arc<dyn RemoteTree>,
        /// The commit, or the digest of the packed chart: equal ones hold equal files.
        id: String,
        /// The version of a chart; the reference of a repository, if it was one.
        version: String,
    },
    /// A file.
    File {
        /// What is in it.
        bytes: Arc<[u8]>,
        /// SHA-256, in hexadecimal.
        digest: String,
    },
    /// There is no file at the address, or it is a page for people: it may be a repository.
    NoFile,
    /// It cannot be had.
    Failed {
        /// The class of the failure.
        category: Category,
        /// Why, without credentials.
        reason: String,
    },
}

/// A tree that can be shared.
pub trait RemoteTree: Send + Sync {
    /// Opens it for one use.
    ///
    /// # Errors
    /// What stands in the way.
    fn open(&self) -> Result<Box<dyn Tree + Send>, crate::tree::TreeError>;
}

impl fmt::Debug for RemoteContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree { id, .. } => write!(f, "Tree({id})"),
            Self::File { digest, .. } => write!(f, "File({digest})"),
            Self::NoFile => f.write_str("NoFile"),
            Self::Failed { reason, .. } => write!(f, "Failed({reason})"),
        }
    }
}

/// All that is known of what comes from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Remotes(pub BTreeMap<RemoteReference, RemoteContent>);

/// An entry that names something from elsewhere: what it can mean, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// A file, when it can be one.
    pub(super) file: Option<RemoteReference>,
    /// A folder in a repository, when it can be one.
    pub(super) base: Option<Base>,
}

/// A folder in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) reference: RemoteReference,
    pub(super) path: RepoPath,
}

/// What an entry of `resources` or `components` means. kustomize asks for a file at every `http` address first, and
/// clones when the answer is none; here what can only be a repository, or ends as files do, is not asked for twice.
pub(super) fn entry(text: &str, may_be_base: bool) -> Entry {
    let base = may_be_base.then(|| base(text)).flatten();
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let like_file = [".yaml", ".yml", ".json"].iter().any(|end| path.to_ascii_lowercase().ends_with(end));
    let marked = path.split_once("://").is_some_and(|(_, rest)| {
        rest.contains("//") || rest.contains(".git/") || rest.ends_with(".git") || rest.contains("/_git/")
    });
    let asked = text.split_once('?').is_some_and(|(_, query)| query_value(query, "ref").is_some());
    let file = is_remote_file(text).then(|| RemoteReference::File { address: text.to_owned() });
    match (&file, &base) {
        (Some(_), Some(_)) if marked || (asked && !like_file) => Entry { file: None, base },
        (Some(_), Some(_)) if like_file => Entry { file, base: None },
        _ => Entry { file, base },
    }
}

/// Whether kustomize reads this as a file over HTTP.
pub(super) fn is_remote_file(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| ["http", "https"].iter().any(|s| scheme.eq_ignore_ascii_case(s)))
}

/// Whether kustomize clones this.
pub(super) fn is_repository(text: &str) -> bool {
    base(text).is_some()
}

/// The repository, revision and folder that a text names; `None` when kustomize sees no repository in it.
pub(super) fn base(text: &str) -> Option<Base> {
    if text.starts_with('/') {
        return None;
    }
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let text = strip(text, "git::").unwrap_or(text);
    let scheme = ["ssh://", "https://", "http://", "file://"].into_iter().find(|scheme| strip(text, scheme).is_some());
    let rest = scheme.and_then(|scheme| strip(text, scheme)).unwrap_or(text);
    let (user, rest) = rest.split_at(user_length(rest));
    let github = strip(rest, "github.com/").is_some() || strip(rest, "github.com:").is_some();
    let like_scp = scheme.is_none() && (!user.is_empty() || github);
    if scheme.is_none() && !like_scp {
        return None;
    }
    let (host, parts) = if scheme == Some("file://") {
        ("", marked(rest).unwrap_or((rest.to_owned(), String::new())))
    } else {
        let (host, path) = split_host(rest, like_scp)?;
        (host, marked(path).or_else(|| two_parts(path))?)
    };
    let (repository, folder) = parts;
    if repository.is_empty() {
        return None;
    }
    let address = match (scheme, github) {
        // kustomize reaches GitHub in one of two ways.
        (Some("ssh://"), true) => format!("git@github.com:{repository}"),
        (_, true) if !user.is_empty() && scheme.is_none() => format!("git@github.com:{repository}"),
        (_, true) => format!("https://github.com/{repository}"),
        (scheme, false) => format!("{}{user}{host}{repository}", scheme.unwrap_or_default()),
    };
    let revision = query_value(query, "ref").or_else(|| query_value(query, "version"));
    let revision = revision.unwrap_or_else(|| "HEAD".to_owned());
    let path = RepoPath::root().join(folder.trim_start_matches('/'))?;
    Some(Base { reference: RemoteReference::Repository { address, revision }, path })
}

/// What a message may say of a URL: no user, password or query.
pub fn without_credentials(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match (text.split_once("://"), text.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://{}", &text[at + 1..]),
        _ => text.to_owned(),
    }
}

fn strip<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// Length of a leading `user@`: a letter, then letters, digits and hyphens.
fn user_length(text: &str) -> usize {
    let Some(at) = text.find('@') else { return 0 };
    let user = &text[..at];
    let fits = user.starts_with(|first: char| first.is_ascii_alphabetic())
        && user.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
    if fits { at + 1 } else { 0 }
}

/// The host with what ends it, and the path behind.
fn split_host(text: &str, like_scp: bool) -> Option<(&str, &str)> {
    let slash = text.find('/');
    let colon = text.find(':').filter(|_| like_scp);
    let end = match (slash, colon) {
        (Some(slash), Some(colon)) if colon > 0 && colon < slash => Some(colon),
        (None, colon) => colon,
        (slash, _) => slash,
    };
    end.map(|end| text.split_at(end + 1))
}

/// Repository and folder, divided by one of the markers `_git/`, `//`, `.git`.
fn marked(path: &str) -> Option<(String, String)> {
    if let Some(at) = path.find("_git/") {
        let (front, rest) = path.split_at(at + "_git/".len());
        let (name, folder) = rest.split_once('/').unwrap_or((rest, ""));
        return Some((format!("{front}{name}"), folder.to_owned()));
    }
    if let Some((repository, folder)) = path.split_once("//") {
        return Some((repository.to_owned(), folder.to_owned()));
    }
    let (repository, folder) = path.split_at(path.find(".git")? + ".git".len());
    Some((repository.to_owned(), folder.to_owned()))
}

/// `org/repo`, and what follows.
fn two_parts(path: &str) -> Option<(String, String)> {
    let mut parts = path.splitn(3, '/');
    let (org, repository) = (parts.next()?, parts.next()?);
    Some((format!("{org}/{repository}"), parts.next().unwrap_or_default().to_owned()))
}

/// A value of a query, `None` when it is empty.
fn query_value(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.into_iter().find(|(key, value)| *key == name && !value.is_empty())?.1;
    let bytes = percent::decoded_where_it_is(&value.replace('+', " "));
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_divided_as_kustomize_divides_them() {
        for (text, address, revision, path) in [
            ("https://github.com/org/repo?ref=v1", "https://github.com/org/repo", "v1", "."),
            ("https://host.example/org/repo//path/x", "https://host.example/org/repo", "HEAD", "path/x"),
            ("github.com/org/repo", "https://github.com/org/repo", "HEAD", "."),
            ("GitHub.com/org/repo/sub?version=v2", "https://github.com/org/repo", "v2", "sub"),
            ("github.com/org/repo//sub?ref=a%2Fb&version=c", "https://github.com/org/repo", "a/b", "sub"),
            ("github.com:org/repo", "https://github.com/org/repo", "HEAD", "."),
            ("git@github.com:org/repo.git/sub", "git@github.com:org/repo.git", "HEAD", "sub"),
            ("ssh://git@github.com/org/repo", "git@github.com:org/repo", "HEAD", "."),
            ("git@host.example:org/repo", "git@host.example:org/repo", "HEAD", "."),
            ("ssh://git@host.example/org/repo", "ssh://git@host.example/org/repo", "HEAD", "."),
            ("git::https://host.example/a/b/c.git//x", "https://host.example/a/b/c.git", "HEAD", "x"),
            (
                "https://host.example/a/b/c.git/x?timeout=5s&submodules=0&ref=",
                "https://host.example/a/b/c.git",
                "HEAD",
                "x",
            ),
            (
                "https://me@dev.azure.com/org/p/_git/repo/x/y?version=GBmain",
                "https://me@dev.azure.com/org/p/_git/repo",
                "GBmain",
                "x/y",
            ),
            ("file:///srv/repo//x", "file:///srv/repo", "HEAD", "x"),
            ("file:///srv/repo", "file:///srv/repo", "HEAD", "."),
            ("user@host/org/repo", "user@host/org/repo", "HEAD", "."),
            ("http://127.0.0.1:3000/org/repo/deep", "http://127.0.0.1:3000/org/repo", "HEAD", "deep"),
        ] {
            let base = base(text).unwrap_or_else(|| panic!("{text}"));
            let expected = RemoteReference::Repository { address: address.into(), revision: revision.into() };
            assert_eq!((base.reference, base.path.to_string().as_str()), (expected, path), "{text}");
        }
    }

    #[test]
    fn local_paths() {
        for text in [
            "../base",
            "base",
            "./github.com/org/repo",
            "/abs/x",
            "a@b",
            "user@host/x",
            "github.com/org",
            "x/y.git",
            "https://host/org/repo//../../x",
        ] {
            assert!(!is_repository(text), "{text}");
        }
    }

    #[test]
    fn files_over_http_are_told_from_repositories() {
        for (text, file, base) in [
            ("https://host.example/x.yaml", true, false),
            ("https://github.com/o/r/releases/download/v1/install.yaml", true, false),
            ("https://raw.example/o/r/main/a.yaml?ref=x", true, false),
            ("HTTP://host.example/a/b/file", true, true),
            ("https://github.com/o/r", true, true),
            ("https://github.com/o/r?ref=v1", false, true),
            ("https://host/o/r.git//x.yaml", false, true),
            ("https://host/o/r//x", false, true),
            ("git@host:o/r", false, true),
            ("../x", false, false),
        ] {
            let entry = entry(text, true);
            assert_eq!((entry.file.is_some(), entry.base.is_some()), (file, base), "{text}");
        }
        assert_eq!(entry("https://github.com/o/r", false).base, None);
        assert!(!is_remote_file("http/x.yaml") && !is_remote_file("c:/x"));
    }

    #[test]
    fn messages_name_no_credentials() {
        assert_eq!(without_credentials("https://u:p@host.example/x?token=t"), "https://host.example/x");
        assert_eq!(without_credentials("git@host.example:org/repo"), "git@host.example:org/repo");
        let file = RemoteReference::File { address: "https://u:p@host/x.yaml?token=t".into() };
        assert_eq!(file.to_string(), "https://host/x.yaml");
    }
}

//! `kustomize build`: argument list and environment, version check, and messages that may be shown.
//!
//! The environment is that of [`go_program`]: nothing is fetched that the read-set's walker did not refuse. Plugins are off
//! by default and never turned on.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::go_program::{self, NOWHERE};
use crate::process::{self, Limits, ProcessError};
use crate::showable::{bounded, repository_paths, without_quoted};

/// The major version whose rules for reading files the read-set follows.
const MAJOR: u64 = 5;
/// Which kustomize, and how much it may use.
#[derive(Clone, Debug)]
pub struct Kustomize {
    /// Path of the program.
    pub program: PathBuf,
    /// Limits of one build.
    pub limits: Limits,
}

/// A version as `kustomize version` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 5 is what the read-set is made for.
    pub major: u64,
    /// Minor version.
    pub minor: u64,
    /// Patch version.
    pub patch: u64,
}

impl Version {
    /// Reads `v5.8.1`, and the longer forms of older releases (`{Version:kustomize/v4.5.7 ...}`).
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |at: usize| text[at + 1..].starts_with(|next: char| next.is_ascii_digit());
        let start = text.match_indices('v').map(|(at, _)| at).find(|at| digit(*at))? + 1;
        let end = text[start..].find(|next: char| !next.is_ascii_digit() && next != '.').unwrap_or(text.len() - start);
        let mut numbers = text[start..start + end].split('.').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What a build gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The manifests, as one YAML stream.
    pub manifests: String,
    /// What kustomize warned of, such as deprecated fields.
    pub warnings: Vec<String>,
}

/// Why there are no manifests.
#[derive(Debug, thiserror::Error)]
pub enum KustomizeError {
    /// kustomize refused the input.
    #[error("kustomize build failed: {message}")]
    Failed {
        /// What it said, with paths of the repository and without content of manifests.
        message: String,
        /// Whether it said that a file is not there.
        missing_file: bool,
    },
    /// It could not be run to its end.
    #[error("kustomize could not be run to its end")]
    Process(#[source] ProcessError),
    /// It printed something else than text.
    #[error("kustomize {what} printed what is not UTF-8")]
    NotText {
        /// The subcommand.
        what: &'static str,
    },
    /// Its version cannot be told.
    #[error("kustomize version printed {printed:?}, which names no version; install kustomize v5")]
    UnknownVersion {
        /// What it printed.
        printed: String,
    },
}

/// Asks for the version, which belongs into the key of every render. Warns of one whose rules may differ.
pub async fn version(kustomize: &Kustomize) -> Result<Version, KustomizeError> {
    let invocation =
        go_program::invocation(&kustomize.program, &kustomize.limits, vec!["version".into()], Path::new("/"));
    let output = process::run(invocation).await.map_err(KustomizeError::Process)?;
    let printed = String::from_utf8(output.stdout).map_err(|_| KustomizeError::NotText { what: "version" })?;
    let version = Version::parse(&printed)
        .ok_or_else(|| KustomizeError::UnknownVersion { printed: bounded(printed.trim()).into_owned() })?;
    if version.major != MAJOR {
        tracing::warn!(%version, "kustomize v{MAJOR} is expected: renders may differ from what is shown here");
    }
    Ok(version)
}

/// How charts are inflated: all that they need is in the checkout.
#[derive(Clone, Debug)]
pub struct Charts {
    /// The program.
    pub helm: PathBuf,
    /// Version of the cluster.
    pub kube_version: String,
    /// What it serves.
    pub api_versions: Vec<String>,
}

/// Builds `folder`, which lies in the checkout at `root`, without charts; both are absolute.
pub async fn build(kustomize: &Kustomize, root: &Path, folder: &Path) -> Result<Built, KustomizeError> {
    build_with(kustomize, root, folder, None).await
}

/// As [`build`], with charts.
pub async fn build_with(
    kustomize: &Kustomize,
    root: &Path,
    folder: &Path,
    charts: Option<&Charts>,
) -> Result<Built, KustomizeError> {
    // Absolute, since kustomize takes a relative `github.com/org/repo` for a repository.
    let mut arguments: Vec<OsString> = vec!["build".into(), folder.into()];
    let mut invocation = go_program::invocation(&kustomize.program, &kustomize.limits, Vec::new(), root);
    // For values of charts; it goes with this.
    let mut _values = None;
    if let Some(charts) = charts {
        let made = tempfile::Builder::new().prefix("values-").tempdir_in(root.parent().unwrap_or(root));
        let made = made.map_err(|source| {
            KustomizeError::Process(ProcessError::Io { program: kustomize.program.display().to_string(), source })
        })?;
        invocation.environment.retain(|(name, _)| name != "TMPDIR");
        invocation.environment.push(("TMPDIR".into(), made.path().into()));
        invocation.environment.push(("HELM_NO_PLUGINS".into(), "1".into()));
        invocation.environment.push(("HELM_PLUGINS".into(), NOWHERE.into()));
        invocation.environment.push(("KUBECONFIG".into(), NOWHERE.into()));
        _values = Some(made);
        arguments.extend(["--enable-helm".into(), "--helm-command".into(), charts.helm.clone().into()]);
        if !charts.kube_version.is_empty() {
            arguments.extend(["--helm-kube-version".into(), charts.kube_version.clone().into()]);
        }
        for version in &charts.api_versions {
            arguments.extend(["--helm-api-versions".into(), version.into()]);
        }
    }
    invocation.arguments = arguments;
    match process::run(invocation).await {
        Ok(output) => {
            let manifests = String::from_utf8(output.stdout).map_err(|_| KustomizeError::NotText { what: "build" })?;
            let (warnings, _) = split_warnings(&output.stderr_tail, root);
            Ok(Built { manifests, warnings })
        }
        Err(ProcessError::Failed { stderr_tail, status, program }) => {
            let (_, errors) = split_warnings(&stderr_tail, root);
            if errors.is_empty() {
                let stderr_tail = String::new();
                return Err(KustomizeError::Process(ProcessError::Failed { program, status, stderr_tail }));
            }
            Err(KustomizeError::Failed { missing_file: speaks_of_missing_file(&errors), message: showable(&errors) })
        }
        Err(error) => Err(KustomizeError::Process(error)),
    }
}

/// Warnings apart from errors, both with paths as they stand in the repository.
fn split_warnings(stderr: &str, root: &Path) -> (Vec<String>, String) {
    let text = repository_paths(stderr, root);
    let (warnings, errors): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("# Warning: "));
    let mut warnings: Vec<String> =
        warnings.into_iter().map(|line| bounded(line.trim_start_matches("# Warning: ")).into_owned()).collect();
    warnings.sort();
    warnings.dedup();
    let errors = errors.join("\n");
    (warnings, errors.trim().trim_start_matches("Error: ").to_owned())
}

/// Whether the build may have failed only because a file was not written into its folder. These are the words of
/// `os.PathError` (every read), `filesys.ConfirmDir` and `NewErrMissingKustomization`. All else that kustomize can say is
/// about content, and would be the same on the whole tree.
fn speaks_of_missing_file(errors: &str) -> bool {
    ["no such file or directory", "doesn't exist", "unable to find one of 'kustomization"]
        .iter()
        .any(|words| errors.contains(words))
}

/// A message without what it quotes from manifests, literals and environment files: any of it can be a Secret's.
fn showable(errors: &str) -> String {
    let mut text = Cow::Borrowed(errors);
    for (start, end) in QUOTES {
        text = Cow::Owned(without_quoted(&text, start, end));
    }
    bounded(text.trim()).into_owned()
}

/// After which words kustomize quotes content, and what ends it; no end means the rest of the message.
/// From `kusttarget.go`, `kv.go`, `PatchTransformer.go`, `PatchJson6902Transformer.go`, `resource/factory.go` and
/// `kyaml/yaml/rnode.go`; the first two from `yaml.v3`, to which an unquoted value that starts with `*` is an alias.
const QUOTES: [(&str, &str); 14] = [
    ("unknown anchor '", "' referenced"),
    ("cannot unmarshal !!", " into "),
    ("with config: `", "`"),
    ("[patch: \"", "\"]"),
    ("literal sources [", ""),
    ("invalid literal source ", ", expected"),
    ("in object ", ""),
    ("has invalid utf8 bytes", ""),
    ("JsonOp=", ""),
    (", Patch=", ""),
    ("must specify a target for patch ", ""),
    ("must specify one of patch and path in", ""),
    ("patch and path can't be set at the same time", ""),
    ("decoding ", ""),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::showable::LONGEST_MESSAGE;

    #[test]
    fn versions_of_all_ages() {
        let five = Version { major: 5, minor: 8, patch: 1 };
        assert_eq!(Version::parse("v5.8.1\n"), Some(five));
        assert_eq!(Version::parse("{kustomize/v4.5.7  2022-08-02T16:35:54Z  }").unwrap().to_string(), "v4.5.7");
        assert_eq!(Version::parse("(devel)"), None);
        assert_eq!(Version::parse("v5"), None);
    }

    #[test]
    fn messages_name_paths_of_the_repository() {
        let stderr = "# Warning: 'bases' is deprecated.\nError: evalsymlink failure on '/tmp/r-1/app/x.yaml' : lstat \
                      /tmp/r-1/app/x.yaml: no such file or directory in /tmp/r-1\n";
        let (warnings, errors) = split_warnings(stderr, Path::new("/tmp/r-1"));
        assert_eq!(warnings, ["'bases' is deprecated."]);
        assert_eq!(errors, "evalsymlink failure on 'app/x.yaml' : lstat app/x.yaml: no such file or directory in .");
        assert!(speaks_of_missing_file(&errors));
        assert!(!speaks_of_missing_file("json: cannot unmarshal bool"));
    }

    #[test]
    fn rule_4_messages_quote_no_content() {
        for quoted in [
            "trouble configuring builtin SecretGenerator with config: `\nliterals:\n- a=hunter2\n`: cause",
            "literal sources [a hunter2]: invalid literal source hunter2, expected key=value",
            "unable to parse SM or JSON patch from [patch: \"data: hunter2\"]",
            "yaml: unknown anchor 'hunter2' referenced in File: secret.yaml",
            "yaml: line 4: cannot unmarshal !!str `hunter2` into map[string]string",
            "empty item at x in object kind: Secret\ndata: hunter2",
        ] {
            let shown = showable(quoted);
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(showable("with config: `x`: cause"), "with config: `…`: cause");
    }

    #[test]
    fn messages_are_bounded() {
        let long = "é".repeat(10_000);
        assert!(showable(&long).len() < LONGEST_MESSAGE + 20);
    }
}

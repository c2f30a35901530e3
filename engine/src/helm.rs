//! `helm template`: argument list and environment, version check, and messages that may be shown.
//!
//! Nothing is fetched and nothing is run besides: the environment of [`go_program`], plugins off, homes that do not exist,
//! no DNS in templates (helm's default), and no cluster (`lookup` finds nothing). Values of the Application come
//! over standard input, so that they stand in no file and no argument list.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use gitmoor_core::source;
use sha2::{Digest as _, Sha256};

use crate::go_program::{self, NOWHERE};
use crate::kustomize::Version;
use crate::process::{self, Invocation, Limits, ProcessError};
use crate::showable::{bounded, repository_paths, without_quoted};

/// The major version whose command line is used.
const MAJOR: u64 = 3;

/// Which helm, and how much it may use.
#[derive(Clone, Debug)]
pub struct Helm {
    /// Path of the program.
    pub program: PathBuf,
    /// Limits of one render.
    pub limits: Limits,
}

/// What templates see of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Its version, such as `v1.36.3`.
    pub kube_version: String,
    /// `group/version` and `group/version/Kind` of all that it serves.
    pub api_versions: BTreeSet<String>,
}

impl Capabilities {
    /// Digest of everything, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for text in std::iter::once(&self.kube_version).chain(&self.api_versions) {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What is rendered with which values.
#[derive(Clone, Debug)]
pub struct Template<'a> {
    /// Folder that stands for the root of the chart's repository.
    pub root: &'a Path,
    /// Folders that stand for the roots of other repositories.
    pub other_roots: Vec<PathBuf>,
    /// The chart's folder in it, absolute.
    pub chart: PathBuf,
    /// The options of the Application.
    pub options: &'a source::Helm,
    /// Where the files with values are, those that exist, in order.
    pub value_files: Vec<PathBuf>,
    /// Where the files of `--set-file` are: path of the value, and file.
    pub set_files: Vec<(String, PathBuf)>,
    /// What templates see of the cluster.
    pub capabilities: &'a Capabilities,
}

/// Why there are no manifests.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    /// helm, or the chart, refused the input.
    #[error("helm template failed: {message}")]
    Failed {
        /// What it said, with paths of the repository and without values.
        message: String,
    },
    /// It could not be run to its end.
    #[error("helm could not be run to its end")]
    Process(#[source] ProcessError),
    /// It printed something else than text.
    #[error("helm {what} printed what is not UTF-8")]
    NotText {
        /// The subcommand.
        what: &'static str,
    },
    /// Its version cannot be told, or is another one.
    #[error("helm version printed {printed:?}; install helm v3")]
    WrongVersion {
        /// What it printed.
        printed: String,
    },
}

/// Asks for the version, and refuses any but Helm 3.
pub async fn version(helm: &Helm) -> Result<Version, HelmError> {
    let arguments = ["version", "--short"].map(OsString::from).to_vec();
    let output = process::run(invocation(helm, arguments, Path::new("/"), None)).await.map_err(HelmError::Process)?;
    let printed = String::from_utf8(output.stdout).map_err(|_| HelmError::NotText { what: "version" })?;
    let version = Version::parse(&printed).filter(|version| version.major == MAJOR);
    version.ok_or_else(|| HelmError::WrongVersion { printed: bounded(printed.trim()).into_owned() })
}

/// Renders a chart; gives its manifests as one YAML stream.
pub async fn template(helm: &Helm, template: &Template<'_>) -> Result<String, HelmError> {
    let values = Some(template.options.values.clone()).filter(|values| !values.trim().is_empty());
    let arguments = arguments(template, values.is_some());
    let stdin = values.map(String::into_bytes);
    match process::run(invocation(helm, arguments, template.root, stdin)).await {
        Ok(output) => String::from_utf8(output.stdout).map_err(|_| HelmError::NotText { what: "template" }),
        Err(ProcessError::Failed { stderr_tail, status, program }) => {
            let message = showable(&stderr_tail, template);
            if message.is_empty() {
                let stderr_tail = String::new();
                return Err(HelmError::Process(ProcessError::Failed { program, status, stderr_tail }));
            }
            Err(HelmError::Failed { message })
        }
        Err(error) => Err(HelmError::Process(error)),
    }
}

/// As Argo CD's `util/helm/cmd.go`: files, then the Application's own values, then single ones.
fn arguments(template: &Template<'_>, values_on_stdin: bool) -> Vec<OsString> {
    let options = template.options;
    let mut arguments: Vec<OsString> = vec!["template".into(), options.release_name.clone().into()];
    arguments.push(template.chart.clone().into());
    let mut flag = |name: &str, value: &str| arguments.push(format!("--{name}={value}").into());
    if !options.namespace.is_empty() {
        flag("namespace", &options.namespace);
    }
    let version = options.kube_version.as_deref().unwrap_or(&template.capabilities.kube_version);
    if !version.is_empty() {
        flag("kube-version", version);
    }
    if options.api_versions.is_empty() {
        template.capabilities.api_versions.iter().for_each(|version| flag("api-versions", version));
    } else {
        options.api_versions.iter().for_each(|version| flag("api-versions", version));
    }
    for (name, on) in [
        ("include-crds", !options.skip_crds),
        ("skip-tests", options.skip_tests),
        ("skip-schema-validation", options.skip_schema_validation),
    ] {
        if on {
            flag(name, "true");
        }
    }
    // `--values` splits at commas, which a path may hold.
    for file in &template.value_files {
        flag("values", &csv(&file.to_string_lossy()));
    }
    if values_on_stdin {
        flag("values", "-");
    }
    options.set.iter().for_each(|value| flag("set", value));
    options.set_string.iter().for_each(|value| flag("set-string", value));
    for (name, file) in &template.set_files {
        flag("set-file", &format!("{name}={}", file.to_string_lossy().replace(',', "\\,")));
    }
    arguments
}

/// A field of comma-separated values, as pflag reads them.
fn csv(text: &str) -> String {
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn invocation(helm: &Helm, arguments: Vec<OsString>, folder: &Path, stdin: Option<Vec<u8>>) -> Invocation {
    let mut invocation = go_program::invocation(&helm.program, &helm.limits, arguments, folder);
    let own = [
        ("HELM_CACHE_HOME", NOWHERE),
        ("HELM_CONFIG_HOME", NOWHERE),
        ("HELM_DATA_HOME", NOWHERE),
        ("HELM_PLUGINS", NOWHERE),
        ("HELM_NO_PLUGINS", "1"),
        ("KUBECONFIG", NOWHERE),
    ];
    invocation.environment.extend(own.map(|(name, value)| (name.into(), value.into())));
    invocation.stdin = stdin;
    invocation
}

/// A message without what it quotes of values, which can be a Secret's.
fn showable(stderr: &str, template: &Template<'_>) -> String {
    let roots = std::iter::once(template.root).chain(template.other_roots.iter().map(PathBuf::as_path));
    let text = roots.fold(stderr.to_owned(), |text, root| repository_paths(&text, root));
    let noise = ["walk.go:", "Use --debug flag", "WARNING: Kubernetes configuration"];
    let lines = text.lines().filter(|line| !line.is_empty() && !noise.iter().any(|start| line.starts_with(start)));
    let mut text = lines.map(without_checked_value).collect::<Vec<_>>().join("\n");
    for (start, end) in QUOTES {
        text = without_quoted(&text, start, end);
    }
    bounded(text.trim().trim_start_matches("Error: ")).into_owned()
}

/// A line of the schema's checks without the value: `at '/path': 'value' does not match pattern …`.
fn without_checked_value(line: &str) -> std::borrow::Cow<'_, str> {
    let end = ["' does not match pattern", "' is not valid"].iter().find_map(|end| line.find(end));
    match (line.find(": '"), end) {
        (Some(start), Some(end)) if start < end => format!("{}…{}", &line[..start + 3], &line[end..]).into(),
        _ => line.into(),
    }
}

/// After which words helm quotes values: the YAML reader, number readers, and `--set`.
const QUOTES: [(&str, &str); 6] = [
    ("cannot unmarshal !!str `", "`"),
    ("cannot unmarshal !!int `", "`"),
    ("parsing \"", "\""),
    ("failed parsing --set data: ", ""),
    ("failed parsing --set-string data: ", ""),
    ("failed parsing --set-file data: ", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> source::Helm {
        source::Helm {
            release_name: "web".to_owned(),
            namespace: "team".to_owned(),
            set: vec!["a=1".to_owned()],
            set_string: vec!["b=2".to_owned()],
            skip_tests: true,
            ..source::Helm::default()
        }
    }

    fn with<'a>(options: &'a source::Helm, capabilities: &'a Capabilities) -> Template<'a> {
        Template {
            root: Path::new("/tmp/r"),
            other_roots: Vec::new(),
            chart: "/tmp/r/chart".into(),
            options,
            value_files: vec!["/tmp/r/a,b.yaml".into()],
            set_files: vec![("c".to_owned(), "/tmp/r/c,d".into())],
            capabilities,
        }
    }

    #[test]
    fn later_values_win_and_no_argument_is_a_flag_by_accident() {
        let capabilities = Capabilities { kube_version: "v1.36.0".to_owned(), api_versions: ["v1".to_owned()].into() };
        let options = options();
        let arguments = arguments(&with(&options, &capabilities), true);
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_str().unwrap()).collect();
        let expected = [
            "template",
            "web",
            "/tmp/r/chart",
            "--namespace=team",
            "--kube-version=v1.36.0",
            "--api-versions=v1",
            "--include-crds=true",
            "--skip-tests=true",
            "--values=\"/tmp/r/a,b.yaml\"",
            "--values=-",
            "--set=a=1",
            "--set-string=b=2",
            "--set-file=c=/tmp/r/c\\,d",
        ];
        assert_eq!(arguments, expected);
    }

    #[test]
    fn rule_4_messages_quote_no_values() {
        let (options, capabilities) = (options(), Capabilities::default());
        let template = with(&options, &capabilities);
        for (said, kept) in [
            ("walk.go:75: found symbolic link\nError: yaml: cannot unmarshal !!str `hunter2` into int\n", "into int"),
            ("Error: strconv.ParseInt: parsing \"hunter2\": invalid syntax", "invalid syntax"),
            ("Error: failed parsing --set data: key \"hunter2\" has no value", "--set data"),
            ("c:\n- at '/p': 'hunter2' does not match pattern '^x'", "does not match"),
        ] {
            let shown = showable(said, &template);
            assert!(!shown.contains("hunter2") && shown.contains(kept) && !shown.contains("walk.go"), "{shown}");
        }
        assert_eq!(showable("Error: no /tmp/r/chart/x\n\nUse --debug flag to render", &template), "no chart/x");
    }
}

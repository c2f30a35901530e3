//! What the agent is told: flags, each also as an environment variable and in a file.

mod file;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory as _, Parser};
use gitmoor_core::replacement::Replacement;

/// Follows Git repositories from inside a Kubernetes cluster.
#[derive(Clone, Debug, Parser)]
#[command(name = "gitmoor-agent", version, about, long_about = None)]
pub(crate) struct Settings {
    /// File with settings, as YAML: names of flags without their dashes, and their values
    #[arg(long, env = "GITMOOR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Namespace of the agent's own objects and of Applications [default: that of the pod or kubeconfig]
    #[arg(long, env = "GITMOOR_NAMESPACE")]
    pub namespace: Option<String>,

    /// Further namespaces with Applications, separated by commas
    #[arg(long, env = "GITMOOR_APPLICATION_NAMESPACES", value_delimiter = ',')]
    pub application_namespaces: Vec<String>,

    /// Work also on what Argo CD works on, instead of leaving it alone while Argo CD runs
    #[arg(long, env = "GITMOOR_BESIDE_ARGO_CD")]
    pub beside_argo_cd: bool,

    /// Name of this installation, written into every object; never change it [default: the namespace]
    #[arg(long, env = "GITMOOR_INSTALLATION")]
    pub installation: Option<String>,

    /// Name under which this process holds the lease [default: the host's name]
    #[arg(long, env = "GITMOOR_IDENTITY")]
    pub identity: Option<String>,

    /// Name of the agent's own pod, which is labelled gitmoor.dev/leader=true while this agent works
    #[arg(long, env = "GITMOOR_POD")]
    pub pod: Option<String>,

    /// Folder for mirrors of repositories; may be lost at any time
    #[arg(long, env = "GITMOOR_DATA_DIR", default_value = "/var/lib/gitmoor")]
    pub data_dir: PathBuf,

    /// Folder that renders run in [default: /dev/shm where there is one, else that for temporary files]
    #[arg(long, env = "GITMOOR_SCRATCH_DIR")]
    pub scratch_dir: Option<PathBuf>,

    /// The kustomize program
    #[arg(long, env = "GITMOOR_KUSTOMIZE", default_value = "kustomize")]
    pub kustomize: PathBuf,

    /// The helm program
    #[arg(long, env = "GITMOOR_HELM", default_value = "helm")]
    pub helm: PathBuf,

    /// Seconds between two looks at a repository that no webhook reports
    #[arg(long, env = "GITMOOR_POLL_INTERVAL", default_value = "60", value_parser = seconds)]
    pub poll_interval: Duration,

    /// Seconds between two looks at a chart that is followed by a range of versions, at a base on a branch, and at a
    /// file over HTTP
    #[arg(long, env = "GITMOOR_CHART_INTERVAL", default_value = "300", value_parser = seconds)]
    pub chart_interval: Duration,

    /// Seconds between two looks for mirrors on disk that nobody follows; one that is not used at two of them goes
    #[arg(long, env = "GITMOOR_TIDY_INTERVAL", default_value = "600", value_parser = seconds)]
    pub tidy_interval: Duration,

    /// Seconds that a fetch may take
    #[arg(long, env = "GITMOOR_FETCH_TIMEOUT", default_value = "120", value_parser = seconds)]
    pub fetch_timeout: Duration,

    /// Seconds that a render may take
    #[arg(long, env = "GITMOOR_RENDER_TIMEOUT", default_value = "60", value_parser = seconds)]
    pub render_timeout: Duration,

    /// Allow repositories by file:// addresses
    #[arg(long, env = "GITMOOR_ALLOW_LOCAL_REPOSITORIES")]
    pub allow_local_repositories: bool,

    /// Hosts (`host` or `host:port`) that bases, files, charts and redirects may lead to although they are inside,
    /// separated by commas; hosts of followed repositories may anyway, link-local addresses never
    #[arg(long, env = "GITMOOR_ALLOW_HOST", value_name = "HOST", value_delimiter = ',')]
    pub allow_host: Vec<String>,

    /// Use addresses that begin with TO in place of those that begin with FROM, as Git's insteadOf: for repositories,
    /// chart repositories and registries; TO may also be a local folder; may be repeated, the longest FROM wins
    #[arg(long, env = "GITMOOR_REPLACE_SOURCE", value_name = "FROM=TO", value_delimiter = ',')]
    pub replace_source: Vec<Replacement>,

    /// Address for health and metrics
    #[arg(long, env = "GITMOOR_HTTP_LISTEN", default_value = "127.0.0.1:8080")]
    pub http_listen: SocketAddr,

    /// Address for webhooks and health, apart from metrics, which are not for everybody [default: that of --http-listen]
    #[arg(long, env = "GITMOOR_WEBHOOK_LISTEN", value_name = "ADDRESS")]
    pub webhook_listen: Option<SocketAddr>,

    /// File with the secret of webhooks, as entered at the Git server; without it there are none
    #[arg(long, env = "GITMOOR_WEBHOOK_SECRET_FILE")]
    pub webhook_secret_file: Option<PathBuf>,

    /// Applications worked on at the same time
    #[arg(long, env = "GITMOOR_CONCURRENCY", default_value = "16")]
    pub concurrency: usize,

    /// Log as text or as JSON
    #[arg(long, env = "GITMOOR_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// External secrets.
    #[command(flatten)]
    pub secrets: crate::secrets::Options,
}

impl Settings {
    /// From the command line, else the environment, else the file, else the defaults. Ends the process with what is
    /// wrong.
    pub(crate) fn read() -> Self {
        match file::complete(&Self::command(), std::env::args_os().collect()) {
            Ok(arguments) => Self::parse_from(arguments).with_absolute_folders(),
            Err(error) => Self::command().error(clap::error::ErrorKind::ValueValidation, error).exit(),
        }
    }
}

impl Settings {
    /// With folders that stay the same ones where the agent's children run.
    fn with_absolute_folders(mut self) -> Self {
        let folders = [Some(&mut self.data_dir), self.scratch_dir.as_mut()];
        for folder in folders.into_iter().flatten() {
            // Fails for an empty path alone, which nobody can use either.
            if let Ok(absolute) = std::path::absolute(&*folder) {
                *folder = absolute;
            }
        }
        self
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number of seconds between 0.01 and 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    const INTRODUCTION: &str = "\
# Settings of the agent

Made from the program's own list of flags: a test compares the two. None is needed. Every flag is also an environment
variable, and a line of the file that `--config` names (`poll-interval: 30`, `allow-host: [git.example]`); the command
line wins over the environment, and that over the file. In the cluster a setting is a key of the ConfigMap
`gitmoor-agent-settings` in the agent's namespace, by the name of the variable, and holds from the next start of a pod:

```sh
kubectl create configmap gitmoor-agent-settings -n gitmoor --from-literal=GITMOOR_POLL_INTERVAL=30
kubectl rollout restart deployment/gitmoor-agent -n gitmoor
```

The agent finds AWS' region and identity as every AWS program does (`AWS_REGION`, `AWS_ROLE_ARN`, …), its log's detail
in `RUST_LOG` (`info` unless said otherwise), and the API server in `KUBECONFIG` where it does not run in a pod.

| flag | variable | default | meaning |
| --- | --- | --- | --- |
";

    fn page() -> String {
        let mut page = INTRODUCTION.to_owned();
        for argument in Settings::command().get_arguments().filter(|argument| !argument.is_hide_set()) {
            let flag = argument.get_long().unwrap();
            // Which have none: clap's own.
            if ["help", "version"].contains(&flag) {
                continue;
            }
            let variable = argument.get_env().unwrap_or_else(|| panic!("--{flag} has no variable"));
            let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let (help, stated) = match help.split_once(" [default: ") {
                Some((help, stated)) => (help.to_owned(), stated.trim_end_matches(']').to_owned()),
                None => (help, String::new()),
            };
            let default = if defaults.is_empty() { stated } else { format!("`{}`", defaults.join(",")) };
            let variable = variable.to_string_lossy();
            let help = help.replace('|', "\\|").replace('\n', " ");
            writeln!(page, "| `--{flag}` | `{variable}` | {default} | {help} |").unwrap();
        }
        page
    }

    #[test]
    fn folders_stay_the_same_ones_in_children() {
        let read = |arguments: &[&str]| Settings::parse_from([&["agent"], arguments].concat()).with_absolute_folders();
        let here = std::env::current_dir().unwrap();
        let settings = read(&["--data-dir", "data", "--scratch-dir=./scratch"]);
        assert_eq!((settings.data_dir, settings.scratch_dir), (here.join("data"), Some(here.join("scratch"))));
        assert_eq!(read(&[]).data_dir, Path::new("/var/lib/gitmoor"));
    }

    #[test]
    fn the_page_of_settings_is_true() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let page = page();
        if std::env::var_os("GITMOOR_WRITE_DOCS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            written, page,
            "write it anew: GITMOOR_WRITE_DOCS=1 cargo test --workspace --bins the_page_of_settings"
        );
    }
}

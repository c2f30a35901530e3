//! `gitmoor doctor`: what is missing on this machine, in the cluster, at AWS and in setup.conf.

mod aws;
mod cluster;
mod fork;
mod root;
mod secrets;
mod tools;

use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use crate::{
    cluster::Target,
    failure::{Exit, Failure},
    fork_folder::of_fork,
    terminal::{Style, Terminal},
};

/// Checks tools, cluster, rights, clocks, AWS and setup.conf, and says how to mend what is wrong
///
/// Changes nothing. Exit status 1 when something is wrong; what is only doubtful does not count.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gitmoor doctor
  # Without a cluster or AWS: tools and setup.conf
  gitmoor doctor --offline")]
pub(crate) struct Arguments {
    /// Ask neither the cluster nor AWS
    #[arg(long)]
    offline: bool,
    /// setup.conf of the fork
    #[arg(long, value_name = "FILE", default_value_os_t = of_fork("setup.conf"))]
    setup_conf: PathBuf,
    /// Folder of the distribution
    #[arg(long, value_name = "FOLDER", default_value_os_t = of_fork("distribution"))]
    distribution: PathBuf,
    /// The kustomize program
    #[arg(long, env = "GITMOOR_KUSTOMIZE", default_value = "kustomize", value_name = "PROGRAM")]
    kustomize: PathBuf,
    /// The helm program
    #[arg(long, env = "GITMOOR_HELM", default_value = "helm", value_name = "PROGRAM")]
    helm: PathBuf,
    #[command(flatten)]
    target: Target,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Fine,
    Doubtful,
    Wrong,
}

/// What a check found.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    said: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn fine(check: &'static str, said: impl Into<String>) -> Self {
        Self { check, state: State::Fine, said: said.into(), fix: None }
    }

    fn doubtful(check: &'static str, said: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state: State::Doubtful, said: said.into(), fix: Some(fix.into()) }
    }

    fn wrong(check: &'static str, said: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state: State::Wrong, said: said.into(), fix: Some(fix.into()) }
    }
}

/// Runs all checks, whatever one of them says.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start threads", &error))?;
    let mut findings = runtime.block_on(tools::check(&arguments.kustomize, &arguments.helm));
    let conf = fork::read(&arguments.setup_conf, &arguments.distribution, &mut findings);
    fork::check(&arguments.distribution, &mut findings);
    if !arguments.offline {
        let issuer = cluster::check(arguments, conf.as_ref(), &mut findings);
        findings.extend(runtime.block_on(aws::check(conf.as_ref(), issuer.as_deref())));
    }
    let wrong = findings.iter().filter(|finding| finding.state == State::Wrong).count();
    if terminal.is_json() {
        terminal.json(&json!({"findings": findings}));
    } else {
        findings.iter().for_each(|finding| print(finding, terminal));
    }
    terminal.message(&format!("{} checks, {wrong} of them found something wrong", findings.len()));
    Ok(if wrong > 0 { Exit::Findings } else { Exit::Done })
}

fn print(finding: &Finding, terminal: &mut Terminal) {
    let (word, style) = match finding.state {
        State::Fine => ("ok", Style::Green),
        State::Doubtful => ("doubtful", Style::Yellow),
        State::Wrong => ("wrong", Style::Red),
    };
    terminal.data(style, &format!("{word:<9} {:<12} {}", finding.check, finding.said));
    if let Some(fix) = &finding.fix {
        terminal.data(Style::Plain, &format!("{:<22} {fix}", ""));
    }
}

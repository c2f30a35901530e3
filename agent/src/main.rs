//! `gitmoor-agent`: follows Git repositories from inside a Kubernetes cluster.

mod settings;

mod assemble;
mod run;
mod stand_by;

mod applications;
mod argo_cd;
mod charts;
mod credentials;
mod follow;
mod heads;
mod mirrors;
mod projects;
mod remotes;
mod repositories;

mod context;
mod queue;
mod sources;
mod state;

mod reconcile;
mod refresh;

mod evaluate;
mod handling;
mod kinds;
mod watches;

mod rollout;
mod turn;

mod apply;
mod deletion;
mod drift;
mod events;
mod handover;
mod hooks;
mod mutations;
mod namespace;
mod prune;
mod repairs;
mod report;
mod write;

mod secrets;

mod digest_key;
mod http;
mod latencies;
mod leader;
mod lease;
mod metrics;

mod clock;
mod environment;

use std::process::ExitCode;

use gitmoor_core::builtin as objects;
use gitmoor_engine::git::{self, Fetcher};
use gitmoor_engine::jq;
use settings::{LogFormat, Settings};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == Fetcher::SUBCOMMAND) {
        return git::child_main();
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == jq::SUBCOMMAND) {
        return jq::child_main();
    }
    let settings = Settings::read();
    start_log(settings.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run::run(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// To stderr; `RUST_LOG` chooses what.
fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => log.json().init(),
    }
}

//! `make bench`: what the agent takes for a job, beside a floor that is measured in the same run.
//!
//! ```text
//! for each size:  fleet -> stage (cluster, repository, agent) -> cold -> push -> no-op -> drift -> steady -> restart -> figures
//! ```
//!
//! Nothing here judges: aims stand beside the figures, and the exit status is 0 unless something fails. Figures are of
//! use only in a release build and on a machine that does nothing else.

mod cold;
mod commits;
mod drift;
mod figures;
mod fleet;
mod floor;
mod idle;
mod observer;
mod push;
mod restart;
mod stage;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::FutureExt as _;
use gitmoor_tests::harness::ControlPlane;

use figures::Figures;
use fleet::Fleet;
use stage::Stage;

/// Measures the agent against floors.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure [default: everything]
    scenarios: Vec<Scenario>,
    /// Applications; push is measured at every size, the rest at the last one
    #[arg(long, value_delimiter = ',', default_value = "10,100")]
    applications: Vec<usize>,
    /// Objects of each Application
    #[arg(long, default_value_t = 10)]
    objects: usize,
    /// Applications of the repository whose commits are measured; a hundred share a base
    #[arg(long, default_value_t = 1000)]
    large: usize,
    /// Pushes at each size
    #[arg(long, default_value_t = 15)]
    pushes: usize,
    /// Seconds in which nothing happens
    #[arg(long, default_value_t = 20)]
    steady: u64,
    /// An environment variable of the agent, such as RUST_LOG=debug; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    agent_env: Vec<(String, String)>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Something to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// From no object to all of them.
    Cold,
    /// From a push to the changed object.
    Push,
    /// A commit that no Application reads.
    Noop,
    /// Edits behind the agent's back.
    Drift,
    /// Nothing at all, for as long as `--steady` says.
    Steady,
    /// An agent that starts with everything in sync.
    Restart,
    /// Commits to a large repository whose Applications share bases.
    Commits,
}

impl Arguments {
    fn wants(&self, scenario: Scenario) -> bool {
        self.scenarios.is_empty() || self.scenarios.contains(&scenario)
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("no `=` in it")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> ExitCode {
    // The harness says what is wrong by panicking; where in its code is of no interest here.
    std::panic::set_hook(Box::new(|panic| say(panic.payload_as_str().unwrap_or("it does not say why"))));
    let arguments = Arguments::parse();
    let json = arguments.json;
    let measured = AssertUnwindSafe(measure(arguments)).catch_unwind().await;
    match measured {
        Ok(Ok(figures)) => {
            show(&if json { figures.json() } else { figures.table() });
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
        // The hook has said why.
        Err(_) => ExitCode::FAILURE,
    }
}

async fn measure(arguments: Arguments) -> anyhow::Result<Figures> {
    say("starting a control plane");
    let control_plane = ControlPlane::builder().start().await;
    let mut figures = Figures::default();
    let last = arguments.applications.last().copied().unwrap_or_default();
    let sizes: &[usize] = if arguments.scenarios == [Scenario::Commits] { &[] } else { &arguments.applications };
    for &size in sizes {
        let fleet = Fleet { applications: size, objects: arguments.objects, shared: 0 };
        say(&format!("{size} applications of {} objects: starting an agent", arguments.objects));
        let mut stage = Stage::start(&control_plane, fleet, &arguments.agent_env).await?;
        cold::measure(&mut stage, &mut figures, size == last && arguments.wants(Scenario::Cold)).await?;
        if arguments.wants(Scenario::Push) {
            push::measure(&mut stage, &mut figures, arguments.pushes).await?;
        }
        if size == last && arguments.wants(Scenario::Noop) {
            idle::measure(&mut stage, &mut figures).await?;
        }
        if size == last && arguments.wants(Scenario::Drift) {
            drift::measure(&mut stage, &mut figures).await?;
        }
        if size == last && arguments.wants(Scenario::Steady) {
            drift::steady(&mut stage, &mut figures, Duration::from_secs(arguments.steady)).await?;
        }
        if size == last && arguments.wants(Scenario::Restart) {
            restart::measure(&mut stage, &mut figures).await?;
        }
    }
    if arguments.wants(Scenario::Commits) {
        let fleet = Fleet { applications: arguments.large, objects: 2, shared: 100.min(arguments.large) };
        say(&format!("{} applications, of which {} share a base: starting an agent", fleet.applications, fleet.shared));
        let mut stage = Stage::start(&control_plane, fleet, &arguments.agent_env).await?;
        cold::measure(&mut stage, &mut figures, false).await?;
        commits::measure(&mut stage, &mut figures).await?;
    }
    Ok(figures)
}

/// A message: goes to standard error.
#[allow(clippy::print_stderr)]
fn say(message: &str) {
    eprintln!("bench: {}", message.trim_end());
}

/// The result: goes to standard output.
#[allow(clippy::print_stdout)]
fn show(text: &str) {
    println!("{text}");
}

//! `gitmoor rehearse`: the whole tree onto an empty API server of this machine, and what goes wrong.

mod arguments;
mod asked;
mod aws;
mod controllers;
mod findings;
mod repository;
mod saves;
mod stage;
mod tree;
mod watch;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use gitmoor_core::tracking::ApplicationKey;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use arguments::Arguments;

use crate::{
    failure::{Exit, Failure},
    fleet::{Fleet, Prepared, Surveyor},
    terminal::Terminal,
};
use findings::Findings;
use saves::Saves;
use stage::Stage;
use tree::{Files, Tree};
use watch::Watch;

/// Time between two looks at the Applications.
const LOOK: Duration = Duration::from_millis(300);

/// Renders the tree for what can be told from it, starts the stage, lets the agent sync, and says what went wrong; or goes
/// on with what is saved. A signal ends all that was started.
pub(crate) fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let prepared = arguments.render.prepare()?;
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let stopped = stopped()?;
        let rehearsal = async {
            if arguments.watch {
                watch(&arguments, &prepared, terminal).await
            } else {
                once(&arguments, &prepared, terminal).await
            }
        };
        tokio::select! {
            ended = rehearsal => ended,
            () = stopped => if arguments.watch { Ok(Exit::Done) } else {
                Err(Failure::new(Exit::Io, "interrupted before the rehearsal was over"))
            },
        }
    })
}

async fn once(arguments: &Arguments, prepared: &Prepared, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let (stage, tree, ..) = begin(arguments, prepared, terminal).await?;
    let mut findings = Findings::default();
    let known = tree.known();
    findings.extend(tree.findings);
    settle(arguments, &stage, &known, &mut findings, terminal).await?;
    findings.extend(stage.deprecated().into_iter().map(|deprecated| deprecated.finding));
    findings.print(terminal);
    Ok(if findings.is_empty() { Exit::Done } else { Exit::Findings })
}

async fn watch(arguments: &Arguments, prepared: &Prepared, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let Some((repository, _)) = &prepared.clone else { return Err(Files::without_git()) };
    // From before the first look, so that nothing is missed in between.
    let saves = Saves::follow(repository)?;
    let (stage, tree, files, surveyor) = begin(arguments, prepared, terminal).await?;
    terminal.message("what is saved is synced, until Ctrl-C");
    terminal.stream();
    Watch::new(arguments, prepared, surveyor, stage, files, tree).follow(saves, terminal).await
}

/// Renders the files as they are, and starts the stage with them.
async fn begin(
    arguments: &Arguments,
    prepared: &Prepared,
    terminal: &mut Terminal,
) -> Result<(Stage, Tree, Files, Surveyor), Failure> {
    let files = Files::now(prepared)?;
    let surveyor = prepared.surveyor(&files.roots, None)?;
    let tree = Tree::render(arguments, &surveyor, &files, &Fleet::default()).await?;
    let asked = tree.asked();
    for ((namespace, name), keys) in &asked.by_hand {
        let keys = keys.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        terminal.message(&format!(
            "Secret {namespace}/{name} ({keys}) is not in the tree, and a store logs in to AWS with it: make it by hand on \
             a cluster; here something stands in for it"
        ));
    }
    terminal.message("starting an API server on this machine …");
    let namespace = tree.fleet.agent_namespace().unwrap_or_default();
    let stage = Stage::set(arguments, prepared, &surveyor, &files, asked, namespace).await?;
    terminal.message(&format!("ready at {}; the agent syncs the tree", stage.url()));
    Ok((stage, tree, files, surveyor))
}

/// Ends with the first Ctrl-C, or when the program is asked to end.
fn stopped() -> Result<impl Future<Output = ()>, Failure> {
    let handle = |kind| signal(kind).map_err(|error| Failure::io("cannot wait for Ctrl-C", &error));
    let (mut interrupt, mut terminate) = (handle(SignalKind::interrupt())?, handle(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Looks at the Applications until nothing changes any more, standing in for the controllers of other kinds.
async fn settle(
    arguments: &Arguments,
    stage: &Stage,
    known: &BTreeSet<ApplicationKey>,
    findings: &mut Findings,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let (started, mut changed) = (Instant::now(), Instant::now());
    let mut before = String::new();
    let patience = arguments.timeout;
    loop {
        let applications = stage.applications().await?;
        let now = findings.observe(&applications, started.elapsed());
        // Quiet is who has nothing to do, not who is slow.
        if now != before || !stage.rests().0 || stage.has_yet_to_speak(&applications) {
            (before, changed) = (now, Instant::now());
        }
        stage.stand_in(&applications).await;
        let done = findings.all_done(known);
        let quiet = changed.elapsed() > arguments.quiet_seconds;
        if done || quiet || started.elapsed() > patience {
            findings.close(known);
            let how = match (done, quiet) {
                (true, _) => "everything is Synced and Healthy",
                (false, true) => "nothing changes any more",
                (false, false) => "not done in time (--timeout)",
            };
            terminal.message(&format!("{how} after {:.1} s", started.elapsed().as_secs_f64()));
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

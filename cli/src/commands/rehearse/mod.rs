//! `gitmoor rehearse`: the whole tree onto an empty API server of this machine, and what goes wrong.

mod arguments;
mod findings;
mod repository;
mod stage;
mod stand_ins;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use gitmoor_core::{
    provision::{Item, unprovided, unserved},
    scope::Scopes,
    tracking::ApplicationKey,
};

pub(crate) use arguments::Arguments;

use crate::{
    failure::{Exit, Failure},
    fleet::{AllBound, Binder, Prepared, Surveyor, idle_digester},
    terminal::Terminal,
};
use findings::{Finding, Findings};
use stage::Stage;

/// Time between two looks at the Applications.
const LOOK: Duration = Duration::from_millis(300);

/// Renders the tree for what can be told from it, starts the stage, lets the agent sync, and says what went wrong.
pub(crate) fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let prepared = arguments.render.prepare()?;
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let mut findings = Findings::default();
        let (surveyor, bound, namespace) = render(&arguments, &prepared, &mut findings).await?;
        provisions(&bound, &mut findings);
        terminal.message("starting an API server on this machine …");
        let stage = Stage::set(&arguments, &prepared, &surveyor, &bound, &namespace).await?;
        terminal.message(&format!("ready at {}; the agent syncs the tree", stage.url()));
        let known: BTreeSet<ApplicationKey> = bound.keys().cloned().collect();
        settle(&arguments, &stage, &known, &mut findings, terminal).await?;
        findings.extend(stage.deprecated());
        findings.print(terminal);
        Ok(if findings.is_empty() { Exit::Done } else { Exit::Findings })
    })
}

/// Every Application, rendered as the agent will.
async fn render(
    arguments: &Arguments,
    prepared: &Prepared,
    findings: &mut Findings,
) -> Result<(Surveyor, AllBound, String), Failure> {
    let ground = prepared.present()?;
    let roots = prepared.wanted_roots(&ground)?;
    let surveyor = prepared.surveyor(&roots, None)?;
    let fleet = surveyor.survey(&ground, roots).await?;
    let namespace = fleet.agent_namespace().unwrap_or_default().to_owned();
    let installation = arguments.render.installation(&namespace)?;
    let (scopes, digester) = (Scopes::new(fleet.scopes()), idle_digester());
    let binder = Binder { installation: &installation, digester: &digester, resources: None, scopes: &scopes };
    let mut bound = AllBound::new();
    for key in fleet.applications.keys() {
        match surveyor.bind(&ground, &fleet, key, &binder).await {
            Ok(rendered) => drop(bound.insert(key.clone(), rendered)),
            Err(problems) => {
                let told = problems.into_iter().map(|problem| Finding::new("NotRendered", key, problem));
                findings.extend(told.collect());
            }
        }
    }
    Ok((surveyor, bound, namespace))
}

/// What the objects need and nobody brings.
fn provisions(bound: &AllBound, findings: &mut Findings) {
    let names: Vec<String> = bound.keys().map(ToString::to_string).collect();
    let all = names.iter().zip(bound.values());
    let items: Vec<Item<'_>> = all
        .flat_map(|(application, bound)| {
            bound.manifests.items().iter().map(move |manifest| Item { application, object: &manifest.object })
        })
        .collect();
    for (category, missing) in [("WebhookUnserved", unserved(&items)), ("SecretMissing", unprovided(&items))] {
        findings.extend(missing.into_iter().map(|missing| Finding::missing(category, missing)).collect());
    }
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
    let patience = Duration::from_secs(arguments.timeout);
    loop {
        let applications = stage.applications().await?;
        let now = findings.observe(&applications, started.elapsed());
        if now != before {
            (before, changed) = (now, Instant::now());
        }
        stage.stand_in(&applications).await;
        let done = findings.all_done(known);
        let quiet = changed.elapsed() > Duration::from_secs(arguments.quiet_seconds);
        if done || quiet || started.elapsed() > patience {
            findings.close(known);
            let how = if done { "everything is Synced and Healthy" } else { "nothing changes any more" };
            terminal.message(&format!("{how} after {:.1} s", started.elapsed().as_secs_f64()));
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

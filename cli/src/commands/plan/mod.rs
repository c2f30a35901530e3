//! `gitmoor plan`: what a change does to the objects of each Application.

mod arguments;
mod build;
mod changes;
mod json;
mod live;
mod markdown;
mod points;
mod report;
mod text;

pub(crate) use arguments::Arguments;
pub(super) use changes::Changes;

use crate::{
    arguments::Output,
    failure::{Exit, Failure},
    fleet::{Fleet, Prepared, Surveyor},
    terminal::Terminal,
};
use live::Connection;
use points::Points;
use report::Report;

/// Surveys both sides, compares the Applications that differ, and prints what becomes of their objects.
pub(crate) fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let prepared = arguments.render.prepare()?;
    let points = Points::find(&prepared, arguments.base.as_deref(), arguments.head.as_deref())?;
    let runtime = super::runtime()?;
    let connection = arguments.live.asked.then(|| runtime.block_on(Connection::open(&arguments.live))).transpose()?;
    let (surveyor, roots) = surveyor(&prepared, &points, connection.as_ref())?;
    let report = runtime.block_on(async {
        let (before, after) = survey(&surveyor, &points, roots).await?;
        match &connection {
            None => {
                let grounds = (&points.base.ground, &points.head.ground);
                build::report(&arguments.render, &surveyor, grounds, &before, &after).await
            }
            Some(cluster) => live::report(&arguments, &surveyor, &points, (&before, &after), cluster).await,
        }
    })?;
    surveyor.renders().tidy();
    match terminal.output() {
        Output::Json => terminal.json(&json::document(&report, &points)),
        Output::Markdown => markdown::print(&report, &points, arguments.summary, terminal)?,
        Output::Text | Output::Cloudformation => text::print(&report, arguments.summary, terminal),
    }
    terminal.message(&report.sentence(&points));
    Ok(exit(&report, arguments.exit_code))
}

type Roots = (Vec<serde_json::Value>, Vec<serde_json::Value>);

/// The root Applications of both sides, and what surveys them. Before the first commit of a root there was nothing.
fn surveyor(
    prepared: &Prepared,
    points: &Points,
    connection: Option<&Connection>,
) -> Result<(Surveyor, Roots), Failure> {
    let before = prepared.roots(&points.base.ground)?.unwrap_or_default();
    let after = prepared.wanted_roots(&points.head.ground)?;
    prepared.refuse_uninitialised(&after)?;
    let all: Vec<_> = after.iter().chain(&before).cloned().collect();
    let capabilities = connection.map(Connection::capabilities);
    Ok((prepared.surveyor(&all, capabilities)?, (before, after)))
}

async fn survey(surveyor: &Surveyor, points: &Points, (before, after): Roots) -> Result<(Fleet, Fleet), Failure> {
    let before = surveyor.survey(&points.base.ground, before).await?;
    let mut after = surveyor.survey(&points.head.ground, after).await?;
    surveyor.keep_orphans(&points.head.ground, &mut after, &before).await?;
    Ok((before, after))
}

fn exit(report: &Report, exit_code: bool) -> Exit {
    if report.applications.iter().any(|application| application.broke) {
        Exit::Input
    } else if exit_code && report.changes_anything() {
        Exit::Findings
    } else {
        Exit::Done
    }
}

//! From no object to all of them.

use std::time::Instant;

use crate::figures::{Figure, Figures};
use crate::stage::{PATIENCE, Stage};
use crate::{floor, say};

/// Brings the fleet up, and measures that when it is wanted.
pub(crate) async fn measure(stage: &mut Stage, figures: &mut Figures, wanted: bool) -> anyhow::Result<()> {
    let count = stage.fleet.applications;
    say(&format!("cold sync of {count} applications"));
    let mut applications = stage.watch_applications().await?;
    let start = stage.count().await;
    let begun = Instant::now();
    stage.apply_applications().await;
    let synced = |object: &serde_json::Value| object["status"]["sync"]["status"] == "Synced";
    let done = applications.until(PATIENCE, |all| all.len() == count && all.values().all(synced)).await?;
    stage.await_idle().await?;
    let cost = stage.cost(&start).await;
    if !wanted {
        return Ok(());
    }
    say("floor: the same renders and applies alone");
    let applies = floor::apply_all(stage).await?;
    let builds = floor::build_all(stage).await?;
    let scenario = format!("cold {count}x{}", stage.fleet.objects);
    figures.push(Figure::time(&scenario, "to all Synced", done - begun).floor(applies + builds).aim(2.0));
    figures.push(Figure::time(&scenario, "floor: server-side apply, 32 at once", applies));
    figures.push(Figure::time(&scenario, "floor: kustomize build, all cores", builds));
    figures.cost(&scenario, &cost, (count, "application"));
    say(&format!("requests of the agent:\n{}", cost.requests));
    Ok(())
}

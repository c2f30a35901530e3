//! A commit that no Application reads.

use std::time::Duration;

use crate::figures::{Figure, Figures};
use crate::say;
use crate::stage::Stage;

/// How long its consequences may take to show.
const SETTLE: Duration = Duration::from_secs(3);

/// What a fetch asks a Git server for first.
const LISTING: &str = "/platform.git/info/refs";

/// Pushes a change beside everything that Applications read.
pub(crate) async fn measure(stage: &mut Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let count = stage.fleet.applications;
    say(&format!("a commit that none of {count} applications reads"));
    let before = evaluated(stage).await?;
    let listings = stage.world.remote.count(LISTING);
    let start = stage.count().await;
    stage.world.repository.commit(&[("notes.md", "nothing of interest")], "notes").await;
    stage.report_push().await?;
    tokio::time::sleep(SETTLE).await;
    stage.await_idle().await?;
    let cost = stage.cost(&start).await;
    let scenario = format!("no-op at {count}");
    let looked_at = evaluated(stage).await? - before;
    figures.push(Figure::new(&scenario, "applications looked at", looked_at, "").aim(0.0));
    let listed = stage.world.remote.count(LISTING) - listings;
    figures.push(Figure::new(&scenario, "requests for the repository's listing", listed as f64, "").aim(1.0));
    figures.cost(&scenario, &cost, (1, "commit"));
    Ok(())
}

/// Applications that were evaluated, whether or not that took a render.
pub(crate) async fn evaluated(stage: &Stage) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for counter in ["renders_total{result=\"success\"}", "renders_cached_total", "renders_spared_total"] {
        sum += stage.metric(&format!("gitmoor_{counter}")).await?;
    }
    Ok(sum)
}

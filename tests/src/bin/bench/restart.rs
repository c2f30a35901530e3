//! An agent that starts with everything in sync.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::figures::{Figure, Figures};
use crate::stage::{PATIENCE, Stage};
use crate::{idle, say};

/// Kills the agent and starts it again; done when it has looked at every Application.
pub(crate) async fn measure(stage: &mut Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let count = stage.fleet.applications;
    say(&format!("restart with {count} applications in sync"));
    stage.world.agent.kill();
    let start = stage.count().await;
    let begun = Instant::now();
    stage.world.agent.restart();
    stage.world.agent.await_ready(PATIENCE).await;
    let ready = begun.elapsed();
    while idle::evaluated(stage).await? < count as f64 {
        if begun.elapsed() > PATIENCE {
            bail!("the agent does not look at every Application after a restart");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.await_idle().await?;
    let done = begun.elapsed();
    let cost = stage.cost(&start).await;
    let scenario = format!("restart at {count}");
    figures.push(Figure::time(&scenario, "to ready", ready));
    figures.push(Figure::time(&scenario, "to all evaluated", done));
    let writes = cost.requests.clone().writes().count();
    figures.push(Figure::new(&scenario, "writes", writes as f64, "").aim(0.0));
    figures.cost(&scenario, &cost, (count, "application"));
    say(&format!("requests of the agent:\n{}", cost.requests));
    Ok(())
}

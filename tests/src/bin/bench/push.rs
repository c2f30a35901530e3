//! From a push to the changed object.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::figures::{Figure, Figures, median};
use crate::floor::Follower;
use crate::observer::Observer;
use crate::stage::{PATIENCE, Stage};
use crate::{fleet, say};

/// Twice the same time, measured.
const SAME: f64 = 1.2;
const TO_APPLIED: &str = "to applied, median";

/// Pushes changes of one object, one after the other, each also taken by the floor.
pub(crate) async fn measure(stage: &mut Stage, figures: &mut Figures, pushes: usize) -> anyhow::Result<()> {
    let count = stage.fleet.applications;
    say(&format!("{pushes} pushes at {count} applications"));
    let follower = Follower::clone(stage).await?;
    let mut maps = Observer::start(&stage.world.client, "v1/ConfigMap", &stage.world.target).await?;
    let mut applications = stage.watch_applications().await?;
    // The first one fills caches on both sides.
    for generation in 1..=2 {
        push(stage, &mut maps, &mut applications, (generation % count, generation)).await?;
        follower.take_push(stage, generation % count, generation).await?;
    }
    let (mut applied, mut synced, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    let start = stage.count().await;
    for generation in 3..pushes + 3 {
        let change = (generation % count, generation);
        let times = push(stage, &mut maps, &mut applications, change).await?;
        applied.push(times.0);
        synced.push(times.1);
        floors.push(follower.take_push(stage, change.0, generation).await?);
    }
    stage.await_idle().await?;
    let cost = stage.cost(&start).await;
    let slowest = applied.iter().max().copied().unwrap_or_default();
    let scenario = format!("push at {count}");
    let (applied, floor) = (median(&mut applied), median(&mut floors));
    let compared = figures.first(TO_APPLIED).map(|(other, time)| {
        Figure::new(&scenario, &format!("in units of {other}"), applied.as_secs_f64() / time, "").aim(SAME)
    });
    figures.push(Figure::time(&scenario, TO_APPLIED, applied).floor(floor).aim(3.0));
    if let Some(figure) = compared {
        figures.push(figure);
    }
    figures.push(Figure::time(&scenario, "to applied, slowest", slowest));
    figures.push(Figure::time(&scenario, "to Synced in status, median", median(&mut synced)));
    figures.cost(&scenario, &cost, (pushes, "push"));
    say(&format!("requests of the agent:\n{}", cost.requests));
    Ok(())
}

/// One push; gives the times until the object has its new value, and until the Application says so.
async fn push(
    stage: &Stage,
    maps: &mut Observer,
    applications: &mut Observer,
    (application, generation): (usize, usize),
) -> anyhow::Result<(Duration, Duration)> {
    let (path, content) = fleet::changed_file(application, generation);
    let commit = stage.world.repository.commit(&[(&path, &content)], "change one object").await;
    let pushed = Instant::now();
    stage.report_push().await?;
    let (object, name) = (format!("{}-0", fleet::name(application)), fleet::name(application));
    let wanted = Value::from(generation.to_string());
    let applied = maps.until(PATIENCE, |all| all.get(&object).is_some_and(|map| map["data"]["generation"] == wanted));
    let applied = applied.await?;
    let says_so = |object: &Value| {
        object["status"]["sync"]["status"] == "Synced" && object["status"]["sync"]["revision"] == commit.as_str()
    };
    let synced = applications.until(PATIENCE, |all| all.get(&name).is_some_and(says_so)).await?;
    Ok((applied - pushed, synced.saturating_duration_since(pushed)))
}

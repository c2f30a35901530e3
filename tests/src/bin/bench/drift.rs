//! From somebody's edit to the object as Git has it; and a while in which nothing happens.

use std::time::{Duration, Instant};

use gitmoor_tests::harness::installation::api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::figures::{Figure, Figures, median};
use crate::observer::Observer;
use crate::stage::{PATIENCE, Stage};
use crate::{fleet, say};

/// Edits, one after the other, each of another object.
const EDITS: usize = 20;

/// Edits objects behind the agent's back.
pub(crate) async fn measure(stage: &mut Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let count = stage.fleet.applications;
    say(&format!("{EDITS} edits at {count} applications"));
    let maps = api(&stage.world.client, "v1/ConfigMap", Some(&stage.world.target));
    let mut observer = Observer::start(&stage.world.client, "v1/ConfigMap", &stage.world.target).await?;
    let (mut restored, mut floors) = (Vec::new(), Vec::new());
    let start = stage.count().await;
    for edit in 0..EDITS.min(count) {
        let name = format!("{}-0", fleet::name(edit));
        let wanted = maps.get(&name).await?.data["data"]["generation"].clone();
        let edited = Patch::Merge(json!({"data": {"generation": "edited"}}));
        let asked = Instant::now();
        maps.patch(&name, &PatchParams::default(), &edited).await?;
        let answered = Instant::now();
        // The least that it can take: one more request like that.
        floors.push(answered - asked);
        let is_edited = |map: &Value| map["data"]["generation"] == "edited";
        observer.until(PATIENCE, |all| all.get(&name).is_some_and(is_edited)).await?;
        let back = |map: &Value| map["data"]["generation"] == wanted;
        let seen = observer.until(PATIENCE, |all| all.get(&name).is_some_and(back)).await?;
        restored.push(seen.saturating_duration_since(answered));
    }
    stage.await_idle().await?;
    let cost = stage.cost(&start).await;
    let scenario = format!("drift at {count}");
    figures.push(Figure::time(&scenario, "edit to restored, median", median(&mut restored)).floor(median(&mut floors)));
    figures.cost(&scenario, &cost, (EDITS.min(count), "edit"));
    Ok(())
}

/// Does nothing for a time.
pub(crate) async fn steady(stage: &mut Stage, figures: &mut Figures, time: Duration) -> anyhow::Result<()> {
    let count = stage.fleet.applications;
    say(&format!("nothing for {} s at {count} applications", time.as_secs()));
    stage.await_idle().await?;
    let start = stage.count().await;
    tokio::time::sleep(time).await;
    let cost = stage.cost(&start).await;
    let scenario = format!("steady at {count}");
    let share = cost.own_cpu.as_secs_f64() / time.as_secs_f64() * 100.0;
    figures.push(Figure::new(&scenario, "of a core", share, "%").aim(1.0));
    let beyond = cost
        .requests
        .clone()
        .filter(|request| request.verb != "watch" && request.resource != "leases.coordination.k8s.io");
    figures.push(Figure::new(&scenario, "requests besides watches and lease", beyond.count() as f64, "").aim(0.0));
    say(&format!("requests of the agent:\n{}", cost.requests));
    Ok(())
}

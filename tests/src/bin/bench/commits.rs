//! What commits cost in a large repository: one Application, a base that many share, nothing of anybody's, and very many
//! files at once.

use std::time::{Duration, Instant};

use gitmoor_core::closure::{PathIndex, read_set};
use gitmoor_core::tree::RepoPath;
use gitmoor_engine::work_folder::WorkFolder;
use serde_json::Value;

use crate::figures::{Figure, Figures};
use crate::floor;
use crate::observer::Observer;
use crate::stage::{PATIENCE, Stage};
use crate::{fleet, say};

/// How long the consequences of a commit that has none may take to show.
const SETTLE: Duration = Duration::from_secs(3);
/// Paths of the largest commit.
const MANY: usize = 10_000;
/// What a look-up of so many may take, in seconds.
const LOOKUP: f64 = 0.05;

/// Renders that were made, not those that were on disk.
const RENDERS: &str = "gitmoor_renders_total{result=\"success\"}";

/// A commit, and the Applications that read something of it.
struct Commit {
    what: &'static str,
    files: Vec<(String, String)>,
    readers: Vec<usize>,
}

/// Pushes one commit of each kind.
pub(crate) async fn measure(stage: &mut Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let mut applications = stage.watch_applications().await?;
    let mut many: Vec<_> = (1..MANY).map(|n| (format!("data/{}/{n}.txt", n % 100), format!("{n}\n"))).collect();
    many.push(fleet::changed_file(8, 1));
    let readme = ("README.md".to_owned(), "nobody reads this\n".to_owned());
    for commit in [
        Commit { what: "one app", files: vec![fleet::changed_file(7, 1)], readers: vec![7] },
        Commit { what: "base", files: vec![fleet::changed_base(0, 1)], readers: (0..stage.fleet.shared).collect() },
        Commit { what: "README only", files: vec![readme], readers: Vec::new() },
        Commit { what: "10,000 paths", files: many, readers: vec![8] },
    ] {
        push(stage, figures, &mut applications, commit).await?;
    }
    look_up(stage, figures)
}

async fn push(
    stage: &Stage,
    figures: &mut Figures,
    applications: &mut Observer,
    Commit { what, files, readers }: Commit,
) -> anyhow::Result<()> {
    let scenario = format!("{what} of {}", stage.fleet.applications);
    say(&format!("a commit: {scenario}"));
    let floor = floor::build_these(stage, &readers).await?;
    let before = stage.metric(RENDERS).await?;
    let start = stage.count().await;
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let commit = stage.world.repository.commit(&files, what).await;
    let pushed = Instant::now();
    stage.report_push().await?;
    let names: Vec<String> = readers.iter().map(|reader| fleet::name(*reader)).collect();
    let is_there = |object: &Value| {
        object["status"]["sync"]["status"] == "Synced" && object["status"]["sync"]["revision"] == commit.as_str()
    };
    let done = applications.until(PATIENCE, |all| names.iter().all(|name| all.get(name).is_some_and(is_there))).await?;
    if readers.is_empty() {
        tokio::time::sleep(SETTLE).await;
    }
    stage.await_idle().await?;
    let cost = stage.cost(&start).await;
    let rendered = stage.metric(RENDERS).await? - before;
    figures.push(Figure::new(&scenario, "renders", rendered, "").aim(readers.len() as f64));
    if !readers.is_empty() {
        let synced = done.saturating_duration_since(pushed);
        figures.push(Figure::time(&scenario, "to all Synced, floor: kustomize build", synced).floor(floor));
    }
    figures.push(Figure::time(&scenario, "CPU time of fetch and renders", cost.children_cpu));
    figures.push(Figure::time(&scenario, "agent's own CPU time", cost.own_cpu));
    Ok(())
}

/// What changed paths touch, of the read-sets of all Applications.
fn look_up(stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let applications = stage.fleet.applications;
    let tree = WorkFolder::around(stage.world.repository.tree())?.0;
    let path = |text: &str| RepoPath::root().join(text).unwrap_or_default();
    let mut index = PathIndex::default();
    for application in 0..applications {
        index.insert(application, &read_set(&tree, &path(&fleet::folder(application)))?);
    }
    let changed: Vec<RepoPath> =
        (0..MANY).map(|n| path(&format!("{}/{}.yaml", fleet::folder(n % applications), n / applications))).collect();
    let started = Instant::now();
    let touched = index.touched(changed.iter());
    let took = started.elapsed();
    let scenario = format!("index of {applications}");
    figures.push(Figure::time(&scenario, "look-up of 10,000 paths", took).aim(LOOKUP));
    figures.push(Figure::new(&scenario, "applications that they touch", touched.len() as f64, ""));
    Ok(())
}

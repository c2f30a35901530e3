//! The metrics of a real agent: their page, and the dashboard and alerts that use them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use gitmoor_tests::harness::repository::git_command;
use gitmoor_tests::harness::{ControlPlane, Installation, config_map, definitions, http, tools};
use serde_json::{Value, json};

const INTRODUCTION: &str = "# Metrics

What both pods of the agent answer at `/metrics` (port 8080), as a real agent answered a test: written by it
(`GITMOOR_WRITE_DOCS=1 cargo test --workspace --test cluster -- metrics`). The one that waits for its lease counts its own requests alone, and has `gitmoor_leader` at 0. Labels have words of
fixed lists, but `namespace` and `name`, of which there are as many as Applications, and `store`. A `result` is `success` or the category of what
went wrong, the same word as in conditions. A counter's samples end in `_total`, a histogram's in `_bucket`, `_sum` and `_count`.
";

/// One metric.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut found = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                name.clone_into(&mut current);
                help.trim_end_matches('.').clone_into(&mut found.entry(current.clone()).or_default().help);
            }
            ["#", "TYPE", name, kind] => kind.clone_into(&mut found.entry(name.to_owned()).or_default().kind),
            ["#", ..] => {}
            _ => {
                let family = found.get_mut(&current).unwrap_or_else(|| panic!("{line} is of no family"));
                let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |it| it.0);
                let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name);
                family.labels.extend(names.filter(|name| *name != "le").map(str::to_owned));
            }
        }
    }
    found
}

/// What an agent says that has seen a bit of everything.
async fn scrape() -> BTreeMap<String, Family> {
    // Of its own: other agents would follow the kinds of secrets as well.
    let control_plane = ControlPlane::builder().start().await;
    definitions::install(&control_plane.client().await).await;
    let world = Installation::start_on(&control_plane, "metrics", |agent| agent).await;
    world.repository.commit(&[("bad/a.yaml", "kind: [\n")], "a bad one").await;
    let one = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "one"))], "a good one").await;
    world.apply(&world.application("web", "web")).await;
    world.apply(&world.application("bad", "bad")).await;
    world
        .apply(&json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "needy", "namespace": world.target},
        "spec": {"secretStoreRef": {"name": "none"}, "data": [{"secretKey": "k", "remoteRef": {"key": "k"}}]}}))
        .await;
    world.await_synced("web", &one).await;
    world.await_unknown("bad", "InvalidManifest").await;
    let two = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "two"))], "a change").await;
    world.await_synced("web", &two).await;
    // The harness' own commits are of another time; this one was made when it was pushed.
    world.repository.write("elsewhere.txt", "three");
    world.repository.git(&["add", "--all"]).await;
    let mut commit = git_command(world.repository.tree());
    commit.env_remove("GIT_COMMITTER_DATE").args(["commit", "--quiet", "--message", "now"]);
    assert!(commit.status().await.unwrap().success());
    world.repository.git(&["push", "--quiet", "origin", "HEAD"]).await;
    let text = async || http::get(&format!("{}/metrics", world.agent.url())).await.unwrap().body;
    let complete = async || {
        let text = text().await;
        let wanted = [
            "gitmoor_secrets_store_syncs_total{",
            "stage=\"healthy\"",
            "gitmoor_seen_to_rendered_seconds_count 1\n",
            "gitmoor_push_to_seen_seconds_count 1\n",
        ];
        if wanted.iter().all(|wanted| text.contains(wanted)) { Ok(text) } else { Err(text) }
    };
    let text = world
        .scene()
        .eventually("everything was counted", gitmoor_tests::harness::installation::PATIENCE, complete)
        .await;
    let web = format!("{{namespace=\"{}\",name=\"web\",sync=\"Synced\",health=\"Healthy\"}} 1", world.namespace);
    assert!(text.contains(&format!("gitmoor_application_info{web}")), "{text}");
    assert!(text.contains("gitmoor_syncs_total{result=\"success\"} 2"), "{text}");
    assert!(text.contains("gitmoor_objects{health=\"Healthy\"} 1"), "{text}");
    assert!(text.contains("gitmoor_api_requests_total{verb=\"watch\",code=\"200\"}"), "{text}");
    for (stage, count) in [("rendered", 1), ("applied", 2), ("healthy", 2)] {
        assert!(text.contains(&format!("gitmoor_seen_to_{stage}_seconds_count {count}\n")), "{stage}: {text}");
    }
    families(&text)
}

/// Every name of ours in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("gitmoor_"));
    words.map(str::to_owned).collect()
}

/// The labels that an expression selects or groups by.
fn labels(expression: &str) -> BTreeSet<String> {
    let between = |open: &str, close: char| -> Vec<String> {
        let parts = expression.split(open).skip(1).filter_map(|rest| rest.split(close).next());
        parts
            .flat_map(|part| part.split(',').map(|one| one.split(['=', '!', '~']).next().unwrap().trim().to_owned()))
            .collect()
    };
    between("by (", ')').into_iter().chain(between("{", '}')).filter(|label| !label.is_empty()).collect()
}

/// All expressions of the distribution with metrics of ours, with the file.
fn expressions() -> Vec<(String, String)> {
    fn collect(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                into.extend(map.get("expr").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| collect(value, into));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
            _ => {}
        }
    }
    let components = tools::workspace().join("distribution/components");
    let mut found = Vec::new();
    for path in gitmoor_tests::distribution::fork::files(&components) {
        let is_wanted = path.extension().is_some_and(|kind| kind == "json" || kind == "yaml");
        let text = if is_wanted { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        if names(&text).is_empty() || !text.contains("expr") {
            continue;
        }
        let mut all = Vec::new();
        for document in gitmoor_core::yaml::read_documents(&text, &gitmoor_core::yaml::Limits::default()).unwrap() {
            collect(&document.value, &mut all);
        }
        let file = path.strip_prefix(&components).unwrap_or(Path::new("")).display().to_string();
        found.extend(all.into_iter().filter(|one| !names(one).is_empty()).map(|one| (file.clone(), one)));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_the_dashboard_and_the_alerts_have_the_metrics_of_a_real_agent() {
    let families = scrape().await;
    let samples = |name: &str, family: &Family| -> Vec<String> {
        match family.kind.as_str() {
            "counter" => vec![format!("{name}_total")],
            "histogram" => ["bucket", "sum", "count"].map(|suffix| format!("{name}_{suffix}")).to_vec(),
            _ => vec![name.to_owned()],
        }
    };
    let mut known = BTreeMap::new();
    for (name, family) in &families {
        known.extend(samples(name, family).into_iter().map(|sample| (sample, family)));
    }

    let expressions = expressions();
    let files: BTreeSet<&str> = expressions.iter().map(|(file, _)| file.as_str()).collect();
    assert!(expressions.len() > 20 && files.len() >= 2, "{files:?}");
    for (file, expression) in &expressions {
        let used = names(expression);
        let unknown: Vec<&String> = used.iter().filter(|name| !known.contains_key(*name)).collect();
        assert!(unknown.is_empty(), "{file}: there is no {unknown:?}");
        let has = |label: &String| label == "le" || used.iter().any(|name| known[name].labels.contains(label));
        let strange: Vec<String> = labels(expression).into_iter().filter(|label| !has(label)).collect();
        assert!(strange.is_empty(), "{file}: {expression}: no label {strange:?}");
    }

    let mut page = format!("{INTRODUCTION}\n| metric | | labels | |\n| --- | --- | --- | --- |\n");
    for (name, Family { kind, help, labels }) in &families {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    let path = tools::workspace().join("docs/metrics.md");
    if std::env::var_os("GITMOOR_WRITE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/metrics.md is not what an agent says; see its first lines:\n{page}");
}

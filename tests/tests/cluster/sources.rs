//! Where manifests come from: charts, options, several sources.

use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::repository::Repository;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::{
    ChartServer, ControlPlane, GitRemote, Installation, condition, config_map, kustomization,
};
use serde_json::{Value, json};

const CHART: &str = "apiVersion: v2\nname: app\nversion: 1.0.0\n";

fn template(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {{{{ .Values.key | quote }}}}\n  \
         release: {{{{ .Release.Name }}}}-{{{{ .Release.Namespace }}}}\n"
    )
}

fn with_source(world: &Installation, name: &str, path: &str, options: &Value) -> Value {
    let mut application = world.application(name, path);
    application["spec"]["source"].as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    application
}

/// Waits until a ConfigMap has a value, and its Application a commit.
async fn await_key(world: &Installation, application: &str, commit: &str, name: &str, value: &str) -> Value {
    let status = world.await_synced(application, commit).await;
    assert_eq!(world.key(name).await.as_deref(), Some(value), "{status:#}");
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_of_a_repository_follows_its_values_and_templates() {
    let world = Installation::start("chart").await;
    let files = [
        ("charts/app/Chart.yaml", CHART.to_owned()),
        ("charts/app/values.yaml", "key: default\n".to_owned()),
        ("charts/app/templates/map.yaml", template("web")),
        ("values/web.yaml", "key: one\n".to_owned()),
        ("other/map.yaml", config_map("other", "key", "other")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let first = world.repository.commit(&files, "a chart").await;
    let options = json!({"helm": {"valueFiles": ["../../values/web.yaml"]}});
    world.apply(&with_source(&world, "web", "charts/app", &options)).await;
    world.apply(&world.application("other", "other")).await;
    world.await_synced("other", &first).await;
    let status = await_key(&world, "web", &first, "web", "one").await;
    assert_eq!(status["sourceType"], "Helm");
    let map = world.target("v1/ConfigMap", "web").await.unwrap();
    assert_eq!(map["data"]["release"], format!("web-{}", world.target));

    // A commit to the values is one render, and it is this Application's.
    let before = world.metrics().await.sum("gitmoor_renders_total");
    let second = world.repository.commit(&[("values/web.yaml", "key: two\n")], "values").await;
    await_key(&world, "web", &second, "web", "two").await;
    let third = world.repository.commit(&[("charts/app/templates/more.yaml", &template("more"))], "template").await;
    await_key(&world, "web", &third, "more", "two").await;
    world.repository.commit(&[("README.md", "nothing of anybody's\n")], "readme").await;
    let fourth = world.repository.commit(&[("values/web.yaml", "key: three\n")], "values").await;
    await_key(&world, "web", &fourth, "web", "three").await;
    let renders = world.metrics().await.sum("gitmoor_renders_total") - before;
    assert!((renders - 3.0).abs() < f64::EPSILON, "{renders} renders for three commits that change the chart's inputs");

    let fifth = world.repository.commit(&[("charts/app/templates/more.yaml", "a: {{ fail \"no\" }}\n")], "bad").await;
    let message = world.await_unknown("web", "RenderFailed").await;
    assert!(message.contains("app/templates/more.yaml"), "{fifth}: {message}");
    assert_eq!(world.key("web").await.as_deref(), Some("three"), "what runs keeps running");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_the_application_change_what_is_rendered() {
    let world = Installation::start("options").await;
    let commit = world
        .repository
        .commit(
            &[
                ("app/kustomization.yaml", &kustomization(&["map.yaml"])),
                ("app/map.yaml", &config_map("web", "key", "one")),
                ("plain/a.yaml", &config_map("a", "key", "a")),
                ("plain/deep/b.yaml", &config_map("b", "key", "b")),
                ("plain/deep/c.yaml", &config_map("c", "key", "c")),
            ],
            "two folders",
        )
        .await;
    let options = json!({"kustomize": {"nameSuffix": "-x", "patches": [
        {"target": {"kind": "ConfigMap"}, "patch": "- {op: replace, path: /data/key, value: patched}"}]}});
    world.apply(&with_source(&world, "app", "app", &options)).await;
    let options = json!({"directory": {"recurse": true, "exclude": "deep/c*"}});
    world.apply(&with_source(&world, "plain", "plain", &options)).await;
    let status = await_key(&world, "app", &commit, "web-x", "patched").await;
    assert_eq!(status["sourceType"], "Kustomize");
    let status = await_key(&world, "plain", &commit, "b", "b").await;
    assert_eq!((&status["sourceType"], world.key("c").await), (&json!("Directory"), None));

    // Without a commit: the options alone are news.
    world.patch_application("app", &json!({"spec": {"source": {"kustomize": {"nameSuffix": "-y"}}}})).await;
    let has = |status: &Value| status["resources"][0]["name"] == "web-y" && status["sync"]["status"] == "Synced";
    world.await_status("has its new name", "app", has).await;
    world
        .scene()
        .eventually("the old one is pruned", PATIENCE, async || {
            if world.key("web-x").await.is_none() { Ok(()) } else { Err("it is there".to_owned()) }
        })
        .await;
    let new = world.repository.commit(&[("plain/new/d.yaml", &config_map("d", "key", "d"))], "a new folder").await;
    await_key(&world, "plain", &new, "d", "d").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sources_make_one_application() {
    let mut world = Installation::start("several").await;
    let values = world.remote.repository("values").await;
    let first = world
        .repository
        .commit(
            &[
                ("charts/app/Chart.yaml", CHART),
                ("charts/app/templates/map.yaml", &template("web")),
                ("plain/map.yaml", &config_map("plain", "key", "one")),
            ],
            "a chart and a folder",
        )
        .await;
    let own = values.commit(&[("envs/live.yaml", "key: live\n"), ("README.md", "x\n")], "values").await;
    let mut application = world.application("web", "");
    let spec = application["spec"].as_object_mut().unwrap();
    spec.remove("source");
    let url = world.repository.url();
    spec.insert("sources".to_owned(), json!([
        {"repoURL": url, "targetRevision": "main", "path": "charts/app", "helm": {"valueFiles": ["$values/envs/live.yaml"]}},
        {"repoURL": values.url(), "targetRevision": "main", "ref": "values"},
        {"repoURL": url, "targetRevision": "main", "path": "plain"},
    ]));
    world.apply(&application).await;
    let at = |revisions: [&str; 3]| {
        let revisions = json!(revisions);
        move |status: &Value| status["sync"]["status"] == "Synced" && status["sync"]["revisions"] == revisions
    };
    let status = world.await_status("is synced", "web", at([&first, &own, &first])).await;
    assert_eq!(status["sourceTypes"], json!(["Helm", "Directory", "Directory"]));
    assert_eq!(status["sync"]["comparedTo"]["sources"][1]["ref"], "values");
    let finished = |status: &Value| status["history"][0]["revisions"] == json!([first, own, first]);
    let status = world.await_status("has a history", "web", finished).await;
    assert_eq!(status["history"][0]["sources"].as_array().unwrap().len(), 3, "{status:#}");
    assert_eq!(world.key("web").await.as_deref(), Some("live"));
    assert_eq!(world.key("plain").await.as_deref(), Some("one"));

    // What the values' repository has besides them is nobody's input; the values are.
    let before = world.metrics().await.sum("gitmoor_renders_total");
    values.commit(&[("README.md", "y\n")], "readme").await;
    let second = values.commit(&[("envs/live.yaml", "key: changed\n")], "values").await;
    world.await_status("moved on in one source", "web", at([&first, &second, &first])).await;
    assert_eq!(world.key("web").await.as_deref(), Some("changed"));
    let renders = world.metrics().await.sum("gitmoor_renders_total") - before;
    assert!((renders - 1.0).abs() < f64::EPSILON, "{renders} renders for one commit that changes inputs");

    // A restart finds out what it was, and writes nothing.
    let before = world.status("web").await;
    values.commit(&[("README.md", "z\n")], "readme").await;
    world.agent.restart();
    world.agent.await_ready(PATIENCE).await;
    let fifth = world.repository.commit(&[("plain/map.yaml", &config_map("plain", "key", "two"))], "plain").await;
    let status = world.await_status("goes on", "web", at([&first, &second, &fifth])).await;
    assert_eq!(status["history"].as_array().unwrap().len(), before["history"].as_array().unwrap().len() + 1);
    values.commit(&[("envs/live.yaml", "-> gone\n")], "no mapping").await;
    world.await_unknown("web", "RenderFailed").await;
    values.remove("envs/live.yaml").await;
    let message = world.await_unknown("web", "InvalidSource").await;
    assert!(message.contains("$values/envs/live.yaml"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_object_in_two_sources_the_last_one_counts() {
    let world = Installation::start("repeated").await;
    let (one, two) = (config_map("web", "key", "one"), config_map("web", "key", "two"));
    world.repository.commit(&[("one/map.yaml", &one), ("two/map.yaml", &two)], "twice").await;
    let mut application = world.application("web", "");
    let source = |path: &str| json!({"repoURL": world.repository.url(), "targetRevision": "main", "path": path});
    let spec = application["spec"].as_object_mut().unwrap();
    spec.remove("source");
    spec.insert("sources".to_owned(), json!([source("one"), source("two")]));
    world.apply(&application).await;
    let warned =
        |status: &Value| status["sync"]["status"] == "Synced" && condition(status, "RepeatedResource").is_some();
    world.await_status("is synced and warns", "web", warned).await;
    assert_eq!(world.key("web").await.as_deref(), Some("two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_see_what_the_cluster_serves_and_when_that_changes() {
    let world = Installation::start("capabilities").await;
    let group = format!("{}.example", world.target);
    let map = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\ndata:\n  key: '{{{{ .Capabilities.APIVersions.Has \
         \"{group}/v1/Thing\" }}}} {{{{ .Capabilities.APIVersions.Has \"apps/v1/Deployment\" }}}} {{{{ semverCompare \
         \">=1.25-0\" .Capabilities.KubeVersion.Version }}}}'\n"
    );
    let commit = world.repository.commit(&[("app/Chart.yaml", CHART), ("app/templates/map.yaml", &map)], "asks").await;
    world.apply(&world.application("web", "app")).await;
    await_key(&world, "web", &commit, "web", "false true true").await;
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    world
        .apply(&json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("things.{group}")},
            "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
        }))
        .await;
    world
        .scene()
        .eventually("the template sees it", PATIENCE, async || {
            let key = world.key("web").await;
            if key.as_deref() == Some("true true true") { Ok(()) } else { Err(format!("{key:?}")) }
        })
        .await;
}

/// A chart of a repository or registry as the source of an Application.
fn of_chart(world: &Installation, name: &str, repository: &str, revision: &str) -> Value {
    let mut application = world.application(name, "");
    application["spec"]["source"] = json!({"repoURL": repository, "chart": "app", "targetRevision": revision});
    application
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_come_from_repositories_and_registries() {
    let control_plane = ControlPlane::shared().await;
    let mut world =
        Installation::start_on(control_plane, "charts", |agent| agent.env("GITMOOR_CHART_INTERVAL", "0.3")).await;
    let server = ChartServer::start().await;
    server.set_credentials(Some(("me", "canary-of-the-charts")));
    let chart = |name: &str| [("templates/map.yaml", template(name)), ("values.yaml", "key: default\n".to_owned())];
    let publish = |version: &str, name: &str| {
        let files = chart(name);
        server.publish("app", version, &files.iter().map(|(path, text)| (*path, text.as_str())).collect::<Vec<_>>());
    };
    publish("1.0.0", "one");
    for (name, url) in [("charts", server.url()), ("registry", server.registry().replace("oci://", ""))] {
        world
            .apply(&json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": name, "namespace": world.namespace, "labels": {"argocd.argoproj.io/secret-type": "repo-creds"}},
                "stringData": {"url": url, "type": "helm", "username": "me", "password": "canary-of-the-charts"},
            }))
            .await;
    }
    let values = world.repository.commit(&[("values/live.yaml", "key: live\n")], "values").await;
    let mut exact = of_chart(&world, "exact", &server.registry(), "1.0.0");
    exact["spec"]["destination"]["namespace"] = json!(world.target);
    exact["spec"]["source"]["helm"] = json!({"releaseName": "own", "valuesObject": {"key": "exact"}});
    world.apply(&exact).await;
    world.await_synced("exact", "1.0.0").await;
    assert_eq!(world.key("one").await.as_deref(), Some("exact"));
    let map = world.target("v1/ConfigMap", "one").await.unwrap();
    assert_eq!(map["data"]["release"], format!("own-{}", world.target));

    // A range, with values from Git.
    publish("1.1.0", "two");
    let mut range = of_chart(&world, "range", &server.url(), "1.x");
    let mut source = range["spec"].as_object_mut().unwrap().remove("source").unwrap();
    source["helm"] = json!({"valueFiles": ["$own/values/live.yaml"]});
    range["spec"]["sources"] =
        json!([source, {"repoURL": world.repository.url(), "targetRevision": "main", "ref": "own"}]);
    world.apply(&range).await;
    let at = |revisions: [&str; 2]| {
        let revisions = json!(revisions);
        move |status: &Value| status["sync"]["status"] == "Synced" && status["sync"]["revisions"] == revisions
    };
    world.await_status("is at the highest version", "range", at(["1.1.0", &values])).await;
    assert_eq!(world.key("two").await.as_deref(), Some("live"));
    publish("1.2.0", "three");
    world.await_status("moves on by itself", "range", at(["1.2.0", &values])).await;
    assert_eq!(world.key("three").await.as_deref(), Some("live"));
    world.await_status("stays", "exact", |status| status["sync"]["revision"] == "1.0.0").await;

    // Without the server, after a restart: what was fetched is still there.
    server.set_credentials(Some(("me", "another")));
    world.agent.restart();
    world.agent.await_ready(PATIENCE).await;
    world.patch_application("exact", &json!({"spec": {"source": {"helm": {"valuesObject": {"key": "later"}}}}})).await;
    world
        .scene()
        .eventually("it is rendered anew", PATIENCE, async || {
            let key = world.key("one").await;
            if key.as_deref() == Some("later") { Ok(()) } else { Err(format!("{key:?}")) }
        })
        .await;
    let log = world.agent.log();
    assert!(!log.contains("canary-of-the-charts"), "rule 4");

    world.apply(&of_chart(&world, "refused", &server.url(), "1.1.0")).await;
    world.await_unknown("refused", "RefusedCredentials").await;
    server.set_credentials(None);
    world.apply(&of_chart(&world, "none", &server.url(), "9.9.9")).await;
    let message = world.await_unknown("none", "RevisionNotFound").await;
    assert!(message.contains("no version `9.9.9`"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_and_folders_stand_in_for_upstream() {
    let scratch = Scratch::new("replaced");
    let bare = scratch.folder("git");
    let upstream = Repository::create(&bare, &scratch.folder("trees"), "local", "unused".to_owned()).await;
    let local = upstream.commit(&[("app/map.yaml", &config_map("local", "key", "local"))], "local").await;
    let charts = scratch.folder("charts");
    std::fs::create_dir_all(charts.join("app/templates")).unwrap();
    std::fs::write(charts.join("app/Chart.yaml"), CHART).unwrap();
    std::fs::write(charts.join("app/templates/map.yaml"), template("chart")).unwrap();
    let control_plane = ControlPlane::shared().await;
    let remote = GitRemote::start().await;
    let world = Installation::start_on(control_plane, "replaced", |agent| {
        agent
            .arg(format!("--replace-source=https://github.com/={}/", remote.url()))
            .arg(format!("--replace-source=https://github.com/org/={}/", bare.display()))
            .arg(format!("--replace-source=https://charts.example={}", charts.display()))
    })
    .await;
    let mirrored = remote.repository("mirrored").await;
    let first = mirrored.commit(&[("app/map.yaml", &config_map("mirrored", "key", "one"))], "mirrored").await;
    let mut application = world.application("mirrored", "app");
    application["spec"]["source"]["repoURL"] = json!("https://github.com/mirrored.git");
    world.apply(&application).await;
    await_key(&world, "mirrored", &first, "mirrored", "one").await;
    application["metadata"]["name"] = json!("local");
    application["spec"]["source"]["repoURL"] = json!("https://github.com/org/local");
    world.apply(&application).await;
    await_key(&world, "local", &local, "local", "local").await;
    let mut chart = of_chart(&world, "chart", "https://charts.example/", "1.x");
    chart["spec"]["source"]["helm"] = json!({"values": "key: chart"});
    world.apply(&chart).await;
    let status = await_key(&world, "chart", "1.0.0", "chart", "chart").await;
    assert_eq!(status["sync"]["comparedTo"]["source"]["repoURL"], "https://charts.example/", "as it is written");

    // Nothing that a replacement does not name is local, and nothing above the folder is.
    for (repository, words) in [
        ("https://github.com/org/../secret", "holds `..`"),
        (&format!("file://{}/local.git", bare.display()), "local repositories are off"),
    ] {
        world.patch_application("local", &json!({"spec": {"source": {"repoURL": repository}}})).await;
        let fits = |status: &Value| {
            let told = status["conditions"].to_string();
            status["sync"]["status"] == "Unknown" && told.contains(words)
        };
        world.await_status(words, "local", fits).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sources_go_back_to_where_they_were() {
    let world = Installation::start("sources-back").await;
    let folders = |value: &str| {
        [("one/map.yaml", config_map("one", "key", value)), ("two/map.yaml", config_map("two", "key", value))]
    };
    let commit = async |value: &str| {
        let files = folders(value);
        world.repository.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str())), value).await
    };
    let first = commit("1").await;
    let mut application = world.application("both", "one");
    let source = application["spec"].as_object_mut().unwrap().remove("source").unwrap();
    let sources = ["one", "two"].map(|path| {
        let mut source = source.clone();
        source["path"] = json!(path);
        source
    });
    application["spec"]["sources"] = json!(sources);
    world.apply(&application).await;
    let at = |commit: &str| {
        let revisions = json!([commit, commit]);
        move |status: &Value| status["sync"]["status"] == "Synced" && status["sync"]["revisions"] == revisions
    };
    world.await_status("is at the first commit", "both", at(&first)).await;
    let second = commit("2").await;
    let status = world.await_status("is at the second commit", "both", at(&second)).await;
    let before = &status["history"][0];
    assert_eq!((&before["revisions"], &before["sources"]), (&json!([first, first]), &json!(sources)));

    // One revision says nothing of two sources; nothing is done, and it is told.
    let ask = async |sync: Value| world.patch_application("both", &json!({"operation": {"sync": sync}})).await;
    world.patch_application("both", &json!({"spec": {"syncPolicy": {"automated": null}}})).await;
    ask(json!({"revision": first})).await;
    let failed = |status: &Value| status["operationState"]["phase"] == "Failed";
    let status = world.await_status("cannot be done", "both", failed).await;
    let message = status["operationState"]["message"].as_str().unwrap();
    assert!(message.contains("operation.sync.revisions has to name a revision of each"), "{message}");
    assert_eq!(world.key("one").await.as_deref(), Some("2"));

    ask(json!({"revisions": before["revisions"], "sources": before["sources"]})).await;
    let back = |status: &Value| {
        let state = &status["operationState"];
        state["phase"] == "Succeeded" && state["syncResult"]["revisions"] == json!([first, first])
    };
    let status = world.await_status("is rolled back", "both", back).await;
    assert_eq!(status["operationState"]["syncResult"]["sources"], json!(sources));
    for name in ["one", "two"] {
        assert_eq!(world.key(name).await.as_deref(), Some("1"), "{name}");
    }
    world.await_status("differs from Git", "both", |status| status["sync"]["status"] == "OutOfSync").await;

    // Automation goes on from there.
    let automated = json!({"prune": true});
    world.patch_application("both", &json!({"spec": {"syncPolicy": {"automated": automated}}})).await;
    world.await_status("is at the second commit again", "both", at(&second)).await;
    assert_eq!(world.key("two").await.as_deref(), Some("2"));
}

//! Whose change it was: the commit that `gitmoor explain` names.

use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::{ChartServer, ControlPlane, Installation, config_map, eventually, kustomization};
use serde_json::{Value, json};

use super::Person;
use super::explain::explained;

/// What a finding says of commits that changed something.
fn blamed(finding: &Value) -> Vec<&str> {
    let all = finding["evidence"].as_array().unwrap();
    let commits = all.iter().filter(|one| one["what"] == "commit").filter_map(|one| one["text"].as_str());
    commits.filter(|text| text.contains(" changed last in ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commit_that_broke_it_is_named_wherever_it_is_read_from() {
    let world = Installation::start("blame").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let charts = ChartServer::start().await;
    let template =
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: chart\ndata:\n  host: {{ .Values.host | quote }}\n";
    charts.publish("web", "1.0.0", &[("templates/map.yaml", template)]);
    let charted = |name: &str, version: &str| {
        let mut application = world.application(name, ".");
        let values = json!({"repoURL": world.repository.url(), "targetRevision": "main", "ref": "values"});
        let helm = json!({"valueFiles": ["$values/values/web.yaml"], "releaseName": name});
        let chart = json!({"repoURL": charts.url(), "chart": "web", "targetRevision": version, "helm": helm});
        application["spec"].as_object_mut().unwrap().remove("source");
        application["spec"]["sources"] = json!([chart, values]);
        serde_yaml::to_string(&application).unwrap()
    };
    let branch = |revision: &str| {
        let mut application = world.application("branch", "plain");
        application["spec"]["source"]["targetRevision"] = json!(revision);
        serde_yaml::to_string(&application).unwrap()
    };
    let overlay = serde_yaml::to_string(&world.application("overlay", "overlay")).unwrap();
    let commit =
        async |path: &str, text: &str| world.repository.commit(&[(path, text)], &format!("a change of {path}")).await;
    world.repository.write("apps/charted.yaml", charted("charted", "1.0.0"));
    world
        .repository
        .write("apps/version.yaml", charted("version", "1.0.0").replace("values/web.yaml", "values/ok.yaml"));
    world.repository.write("apps/branch.yaml", branch("main"));
    world.repository.write("apps/overlay.yaml", overlay);
    world.repository.write("values/web.yaml", "host: one\n");
    world.repository.write("values/ok.yaml", "host: two\n");
    world.repository.write("plain/map.yaml", config_map("plain", "key", "one"));
    world.repository.write("base/kustomization.yaml", kustomization(&["map.yaml"]));
    world.repository.write("base/map.yaml", config_map("based", "key", "one"));
    world.repository.write("overlay/kustomization.yaml", kustomization(&["../base"]));
    let good = world.repository.commit_all("everything is well").await;
    let mut parent = world.application("platform", "apps");
    parent["spec"]["destination"]["namespace"] = json!(world.namespace);
    world.apply(&parent).await;
    world.await_synced("overlay", &good).await;
    world.await_synced("branch", &good).await;

    let typo = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: based\nspecs:\n  a: b\n";
    let value = commit("values/web.yaml", "host: <<__rds.host__>>\n").await;
    let base = commit("base/map.yaml", typo).await;
    let revision = commit("apps/branch.yaml", &branch("mian")).await;
    let other = charted("version", "9.9.9").replace("values/web.yaml", "values/ok.yaml");
    let version = commit("apps/version.yaml", &other).await;
    // What nobody reads, and what lies beside what broke.
    let notes = ["overlay/NOTES.md", "plain/NOTES.md", "values/NOTES.md", "apps/NOTES.md"];
    notes.iter().for_each(|path| world.repository.write(path, "notes\n"));
    world.repository.commit_all("notes").await;

    let here = world.repository.tree();
    for (application, cause, file, culprit) in [
        ("charted", "UnresolvedPlaceholder", "values/web.yaml", &value),
        ("overlay", "UnknownField", "base/map.yaml", &base),
        ("branch", "UnknownRevision", "apps/branch.yaml", &revision),
        ("version", "ChartNotFound", "apps/version.yaml", &version),
    ] {
        let named = async || {
            let finding = explained(&person, here, application, cause).await;
            let expected = format!("{file} was changed last in {} by Test", &culprit[..7]);
            match blamed(&finding).as_slice() {
                [only] if only.starts_with(&expected) => Ok(finding),
                _ => Err(format!("{expected} is expected in {finding:#}")),
            }
        };
        // The Application's own file counts from the commit on that its parent has applied.
        let finding = eventually(&format!("who broke {application}"), PATIENCE, named).await;
        let way = format!("{application} stands in {file}: correct it there, commit and push; platform would undo");
        let remedy = finding["remedy"].as_array().unwrap();
        let is_told = remedy.iter().any(|one| one.as_str().unwrap().starts_with(&way));
        assert_eq!(is_told, matches!(cause, "UnknownRevision" | "ChartNotFound"), "{finding:#}");
    }
    let below = explained(&person, here, "platform", "UnresolvedPlaceholder").await;
    assert_eq!(below["application"], "charted");
    assert!(blamed(&below)[0].starts_with("values/web.yaml was"), "of the one below: {below:#}");
    assert_eq!(blamed(&below).len(), 1, "{below:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_git_did_not_do_is_no_commits_fault() {
    let world = Installation::start("blameless").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "a map").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &commit).await;
    person.run(&["suspend", "web"]).assert(0);
    world.patch("v1/ConfigMap", &world.target, "map", &json!({"data": {"key": "by hand"}})).await;
    world.await_status("differs", "web", |status| status["sync"]["status"] == "OutOfSync").await;
    let run = person.run_in(world.repository.tree(), &["explain", "web", "--output", "json"], b"");
    let finding = run.assert(1).json()["findings"][0].clone();
    assert_eq!(finding["cause"], "NotSynced");
    assert_eq!(blamed(&finding), Vec::<&str>::new(), "{finding:#}");
}

//! Repositories that mean harm: each ends in a condition that names the thing, nothing outside is read, nothing is run,
//! and other Applications keep syncing.

mod sizes;

use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::{ControlPlane, Installation, condition, config_map, kustomization};
use serde_json::{Value, json};

/// What stands in files outside of every repository.
const CANARY: &str = "canary-outside-of-the-tree";

/// Where something in the Application or its tree is wrong.
const SOURCE: &[&str] = &["InvalidSource", "InvalidSpec"];
/// Where something may not be fetched.
const REFUSED: &[&str] = &["RemoteRefused", "InvalidSource"];

/// An Application that ends badly: its name, its source beside the repository, and how it ends.
struct Case {
    name: &'static str,
    source: Value,
    categories: &'static [&'static str],
    words: &'static str,
}

fn case(name: &'static str, source: Value, category: &'static [&'static str], words: &'static str) -> Case {
    Case { name, source, categories: category, words }
}

/// One of the folder of its name.
fn folder(name: &'static str, category: &'static [&'static str], words: &'static str) -> Case {
    case(name, json!({"path": name}), category, words)
}

/// Applies the Applications, and waits until each has said what it has to; a good one keeps syncing meanwhile.
async fn end_badly(world: &Installation, cases: &[Case]) {
    let first = world.repository.commit(&[("good/map.yaml", &config_map("good", "key", "before"))], "good").await;
    world.apply(&world.application("good", "good")).await;
    world.await_synced("good", &first).await;
    for case in cases {
        let mut application = world.application(case.name, "unset");
        let source = application["spec"]["source"].as_object_mut().unwrap();
        source.remove("path");
        source.extend(case.source.as_object().unwrap().clone());
        if source.get("chart").is_some_and(|chart| !chart.is_null()) {
            source.remove("path");
        }
        if let Some(values) = source.remove("values") {
            application["spec"]["sources"] = json!([application["spec"]["source"].take(), values]);
            application["spec"].as_object_mut().unwrap().remove("source");
        }
        world.apply(&application).await;
    }
    let meanwhile =
        world.repository.commit(&[("good/map.yaml", &config_map("good", "key", "meanwhile"))], "more").await;
    world.await_synced("good", &meanwhile).await;
    let all_told = async || {
        let mut open = Vec::new();
        for Case { name, categories, words, .. } in cases {
            let status = world.status(name).await;
            let told = categories.iter().filter_map(|category| condition(&status, category));
            if status["sync"]["status"] != "Unknown" || !told.into_iter().any(|said| said.contains(words)) {
                let said = status["conditions"].to_string().chars().take(600).collect::<String>();
                open.push(format!("{name}: neither of {categories:?} with {words:?}: {said}"));
            }
        }
        if open.is_empty() { Ok(()) } else { Err(open.join("\n")) }
    };
    world.scene().eventually("every Application says what is wrong with it", 2 * PATIENCE, all_told).await;
    let last = world.repository.commit(&[("good/map.yaml", &config_map("good", "key", "after"))], "last").await;
    world.await_synced("good", &last).await;
}

/// The text is in no log, no status and no object.
async fn assert_nowhere(world: &Installation, cases: &[Case], text: &str) {
    assert!(!world.agent.log().contains(text), "the log has it");
    for case in cases {
        let application = world.get("argoproj.io/v1alpha1/Application", &world.namespace, case.name).await;
        assert!(!application.unwrap().to_string().contains(text), "the status of {} has it", case.name);
    }
    for name in ["out", "stolen", "values"] {
        assert!(world.target("v1/ConfigMap", name).await.is_none(), "{name} was applied");
    }
}

const CHART: &str = "apiVersion: v2\nname: app\nversion: 1.0.0\n";
const SHOWS: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stolen}\ndata: {a: {{ .Values | toJson | quote }}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_paths_that_lead_out_of_the_tree_are_named_and_read_nothing() {
    let outside = Scratch::new("hostile-outside");
    outside.write("canary.yaml", format!("key: {CANARY}\n"));
    outside.write("kustomization.yaml", "configMapGenerator: [{name: stolen, files: [canary.yaml]}]\n");
    let (canary, elsewhere) =
        (outside.path().join("canary.yaml").display().to_string(), outside.path().display().to_string());
    let world = Installation::start("hostile-paths").await;
    let up = format!("{}{}", "../".repeat(12), canary.trim_start_matches('/'));
    let repository = &world.repository;
    let write = |path: &str, text: &str| repository.write(path, text);
    let link = |path: &str, target: &str| {
        let path = repository.tree().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    };
    write("chart/Chart.yaml", CHART);
    write("chart/templates/map.yaml", SHOWS);
    write("linked-chart/Chart.yaml", CHART);
    link("linked-chart/templates", &elsewhere);
    link("values/absolute.yaml", &canary);
    link("values/up.yaml", &up);
    link("values/twice.yaml", "up.yaml");
    link("values/folder", &elsewhere);
    link("plain/canary.yaml", &canary);
    write("up/kustomization.yaml", &kustomization(&[&up]));
    write("absolute/kustomization.yaml", &kustomization(&[&canary]));
    write("generated/kustomization.yaml", &format!("configMapGenerator: [{{name: stolen, files: [key={up}]}}]\n"));
    write("through/kustomization.yaml", &kustomization(&["../values/up.yaml"]));
    write("base/kustomization.yaml", &kustomization(&["../values/folder"]));
    write("patched/kustomization.yaml", &format!("resources: []\npatches: [{{path: {canary}}}]\n"));
    write(
        "inflated/kustomization.yaml",
        &format!("helmCharts: [{{name: app, releaseName: x, valuesFile: {up}}}]\nhelmGlobals: {{chartHome: ..}}\n"),
    );
    write(
        "depends/Chart.yaml",
        &format!(
            "{CHART}dependencies: [{{name: x, version: 1.x, repository: 'file://{}'}}]\n",
            up.trim_end_matches("/canary.yaml")
        ),
    );
    let helm = |options: Value| json!({"path": "chart", "helm": options});
    let file = |file: &str| helm(json!({"valueFiles": [file]}));
    let parameter = |file: &str| helm(json!({"fileParameters": [{"name": "a", "path": file}]}));
    let referenced = |options: Value| json!({"path": "chart", "helm": options, "values": {"repoURL": repository.url(), "targetRevision": "main", "ref": "own"}});
    let cases = [
        case("values-up", file(&up), SOURCE, "helm.valueFiles"),
        case("values-root", file(&format!("/../{up}")), SOURCE, "helm.valueFiles"),
        case("values-link", file("../values/absolute.yaml"), SOURCE, "values/absolute.yaml is a symbolic link"),
        case("values-up-link", file("../values/up.yaml"), SOURCE, "values/up.yaml is a symbolic link"),
        case("values-two-links", file("../values/twice.yaml"), SOURCE, "values/up.yaml is a symbolic link"),
        case("values-folder", file("../values/folder/canary.yaml"), SOURCE, "values/folder is a symbolic link"),
        case("file-up", parameter(&up), SOURCE, "helm.fileParameters"),
        case("file-link", parameter("../values/up.yaml"), SOURCE, "values/up.yaml is a symbolic link"),
        case("ref-up", referenced(json!({"valueFiles": [format!("$own/{up}")]})), SOURCE, "helm.valueFiles"),
        case(
            "ref-link",
            referenced(json!({"valueFiles": ["$own/values/up.yaml"]})),
            SOURCE,
            "values/up.yaml is a symbolic link",
        ),
        case(
            "ref-file-up",
            referenced(json!({"fileParameters": [{"name": "a", "path": format!("$own/../{up}")}]})),
            SOURCE,
            "helm.fileParameters",
        ),
        case("chart-link", json!({"path": "linked-chart"}), SOURCE, "linked-chart/templates is a symbolic link"),
        folder("plain", SOURCE, "plain/canary.yaml is a symbolic link"),
        folder("up", SOURCE, "is not a path inside the repository"),
        folder("absolute", SOURCE, "is not a path inside the repository"),
        folder("generated", SOURCE, "is not a path inside the repository"),
        folder("through", SOURCE, "values/up.yaml is a symbolic link"),
        folder("base", SOURCE, "values/folder is a symbolic link"),
        folder("patched", SOURCE, "is not a path inside the repository"),
        folder("inflated", SOURCE, "is not a path inside the repository"),
        folder("depends", SOURCE, "is not a path inside the repository"),
        case("path-up", json!({"path": "../x"}), SOURCE, "spec.source.path"),
        case("path-absolute", json!({"path": elsewhere}), SOURCE, "spec.source.path"),
        case("path-link", json!({"path": "values/folder"}), SOURCE, "values/folder is a symbolic link"),
    ];
    end_badly(&world, &cases).await;
    assert_nowhere(&world, &cases, CANARY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_addresses_that_are_commands_or_lead_inside_run_and_reach_nothing() {
    let marks = Scratch::new("hostile-commands");
    let mark = |name: &str| marks.path().join(name).display().to_string();
    // A machine whose own configuration knows a filter: content must not set it off.
    let home = Scratch::new("hostile-home");
    home.write(
        ".gitconfig",
        format!(
            "[filter \"evil\"]\n\tsmudge = touch {a}; cat\n\tclean = touch {a}; cat\n\tprocess = touch {a}\n[protocol \"ext\"]\n\tallow = always\n",
            a = mark("filter")
        ),
    );
    let control_plane = ControlPlane::shared().await;
    let world = Installation::start_on(control_plane, "hostile-addresses", |agent| {
        agent.env("HOME", home.path().display().to_string())
    })
    .await;
    let repository = &world.repository;
    repository.write(".gitattributes", "* filter=evil ident export-subst\n");
    repository.write("filtered/map.yaml", config_map("filtered", "key", "$Id$ $Format:%H$"));
    repository.write(".gitmodules", format!("[submodule \"s\"]\n\tpath = modules/s\n\turl = --upload-pack=touch {}\n[submodule \"e\"]\n\tpath = modules/e\n\turl = ext::sh -c touch% {}\n", mark("submodule"), mark("submodule")));
    let commit = repository.commit_all("filters").await;
    for name in ["s", "e"] {
        let entry = format!("160000,{commit},modules/{name}");
        repository.git(&["update-index", "--add", "--cacheinfo", &entry]).await;
    }
    repository.git(&["commit", "--quiet", "--message", "submodules"]).await;
    repository.git(&["push", "--quiet", "origin", "HEAD"]).await;
    // What is committed from now on keeps them.
    for name in ["s", "e"] {
        std::fs::create_dir_all(repository.tree().join("modules").join(name)).unwrap();
    }
    let server = control_plane.url().to_owned();
    let remote =
        |name: &str, entry: &str| repository.write(&format!("{name}/kustomization.yaml"), kustomization(&[entry]));
    remote("metadata", "http://169.254.169.254/latest/meta-data/iam.yaml");
    remote("metadata-base", "http://[fd00:ec2::254]/latest/x.git//a");
    remote("api-server", &format!("{server}/api/v1/secrets.yaml"));
    remote("api-service", "https://10.96.0.1/api/v1/secrets.yaml");
    remote("local", "file:///etc//x");
    remote("ext", &format!("ext::sh -c touch% {} //x", mark("ext-base")));
    remote("option", &format!("git::--upload-pack=touch${{IFS}}{}//x", mark("option-base")));
    remote("module", "../modules/s");
    let url = |url: &str| json!({"repoURL": url, "path": "x"});
    let cases = [
        case("ext-url", url(&format!("ext::sh -c touch% {}", mark("ext"))), &["InvalidSpec"], "spec.source.repoURL"),
        case(
            "option-url",
            url(&format!("--upload-pack=touch {}", mark("option"))),
            &["InvalidSpec"],
            "spec.source.repoURL",
        ),
        case(
            "proxy-url",
            url(&format!("ssh://-oProxyCommand=touch${{IFS}}{}/x", mark("proxy"))),
            &["InvalidSpec"],
            "spec.source.repoURL",
        ),
        case("file-url", url("file:///etc"), &["InvalidSpec"], "spec.source.repoURL"),
        case(
            "revision",
            json!({"path": "good", "targetRevision": format!("--upload-pack=touch {}", mark("revision"))}),
            &["RevisionNotFound", "InvalidSpec"],
            "--upload-pack",
        ),
        case("submodule", json!({"path": "modules/s"}), &["Unsupported"], "modules/s is a Git submodule"),
        folder("module", &["Unsupported"], "modules/s is a Git submodule"),
        folder("metadata", REFUSED, "169.254.169.254"),
        folder("metadata-base", REFUSED, "fd00:ec2::254"),
        folder("api-server", REFUSED, "leads to an address inside"),
        folder("api-service", REFUSED, "10.96.0.1"),
        folder("local", REFUSED, "local repositories are off"),
        folder("ext", REFUSED, "ext::sh -c touch%"),
        folder("option", REFUSED, "upload-pack"),
    ];
    world.apply(&world.application("filtered", "filtered")).await;
    end_badly(&world, &cases).await;
    world
        .await_target("what is filtered stands as it was committed", "v1/ConfigMap", "filtered", |map| {
            map.is_some_and(|map| map["data"]["key"] == "$Id$ $Format:%H$")
        })
        .await;
    let made: Vec<_> = std::fs::read_dir(marks.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(made.is_empty(), "commands were run: {made:?}");
}

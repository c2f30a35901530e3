//! diff, doctor, and names in the shell.

use gitmoor_tests::harness::installation::api;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::{Aws, ControlPlane, Installation, Kubelet, config_map, tools};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::Person;

const CANARY: &str = "canary-of-the-difference";

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_what_the_api_server_would_change_and_no_value_of_a_secret() {
    let world = Installation::start("diff").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let secret =
        |value: &str| format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  key: {value}\n");
    let files = [("web/map.yaml", config_map("map", "key", "one")), ("web/secret.yaml", secret(CANARY))];
    let first = world.repository.commit(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)], "one").await;
    let mut application = world.application("web", "web");
    application["spec"]["syncPolicy"] = json!({});
    world.apply(&application).await;
    world.await_status("is seen", "web", |status| status["sync"]["revision"] == first.as_str()).await;
    let here = world.repository.tree();
    let diff = |arguments: &[&str]| person.run_in(here, &[&["diff", "web"], arguments].concat(), b"");
    let missing = diff(&[]);
    let said = &missing.assert(1).stdout;
    assert!(said.contains(&format!("ConfigMap {}/map missing", world.target)) && said.contains("+  key: "), "{said}");
    assert!(!said.contains(CANARY), "{said}");
    person.run(&["sync", "web", "--wait"]).assert(0);
    let same = diff(&[]);
    assert!(same.assert(0).stderr.contains("is as"), "{same:?}");

    // What nobody else owns is no difference; what Git has and somebody changed is one.
    world.patch("v1/ConfigMap", &world.target, "map", &json!({"data": {"key": "edited", "more": "kept"}})).await;
    let edited = diff(&[]);
    let said = &edited.assert(1).stdout;
    assert!(said.contains("-  key: edited") && said.contains("+  key: one") && !said.contains("-  more"), "{said}");
    let files = [("web/map.yaml", config_map("map", "key", "two")), ("web/secret.yaml", secret("another-canary"))];
    world.repository.commit(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)], "two").await;
    let next = diff(&["--revision", "HEAD", "--output", "json"]);
    let objects = next.assert(1).json()["objects"].clone();
    let text = objects.to_string();
    assert!(text.contains("+  key: two") && text.contains("*** (after)"), "{text}");
    assert!(!text.contains(CANARY) && !text.contains("another-canary"), "{text}");
    assert_eq!(world.target("v1/ConfigMap", "map").await.unwrap()["data"]["key"], "edited", "nothing was changed");
    let elsewhere = person.run(&["diff", "web"]);
    assert!(elsewhere.assert(2).stderr.contains("clone"), "{elsewhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_judged_as_the_application_and_its_objects_ask_for_it() {
    let world = Installation::start("options").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let anew = |value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: anew\n  annotations: {{argocd.argoproj.io/sync-options: \
             Force=true}}\nimmutable: true\ndata: {{key: {value}}}\n"
        )
    };
    let fixed = |value: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: fixed}}\nimmutable: true\ndata: {{key: {value}}}\n")
    };
    let files = [
        ("web/map.yaml", config_map("map", "key", "one")),
        ("web/anew.yaml", anew("one")),
        ("web/fixed.yaml", fixed("one")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let commit = world.repository.commit(&files, "one").await;
    let mut application = world.application("web", "web");
    let rule = json!({"group": "", "kind": "ConfigMap", "name": "map", "jsonPointers": ["/data/key"]});
    application["spec"]["ignoreDifferences"] = json!([rule]);
    world.apply(&application).await;
    world.await_synced("web", &commit).await;
    world.patch("v1/ConfigMap", &world.target, "map", &json!({"data": {"key": "theirs"}})).await;
    let diff =
        |arguments: &[&str]| person.run_in(world.repository.tree(), &[&["diff", "web"], arguments].concat(), b"");
    let same = diff(&[]);
    assert!(same.assert(0).stderr.contains("is as"), "{same:?}");
    assert_eq!(world.target("v1/ConfigMap", "map").await.unwrap()["data"]["key"], "theirs", "the agent leaves it, too");

    let files = [("web/anew.yaml", &*anew("two")), ("web/fixed.yaml", &*fixed("two"))];
    // Committed here, and not pushed: nobody applies it.
    for (path, text) in files {
        world.repository.write(path, text);
    }
    world.repository.git(&["commit", "--quiet", "--all", "--message", "two"]).await;
    let next = diff(&["--revision", "HEAD"]);
    let said = &next.assert(1).stdout;
    let anew = format!("ConfigMap {}/anew would be deleted and made anew", world.target);
    assert!(said.contains(&anew) && said.contains("-  key: one") && said.contains("+  key: two"), "{said}");
    assert_eq!(said.matches("ConfigMap ").count(), 1, "nothing else differs: {said}");
    assert!(next.stderr.contains(&format!("ConfigMap {}/fixed: ", world.target)), "{next:?}");
    assert!(next.stderr.contains("cannot be changed") && next.stderr.contains("Force=true"), "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_what_is_wrong_with_its_fix() {
    let world = Installation::start("doctor").await;
    let control_plane = ControlPlane::shared().await;
    let person = Person::of(control_plane, &world);
    world.repository.write("setup.conf", "<<__environment__>>=single-node\n<<__broken\n");
    world.repository.commit(&[("distribution/a.yaml", "a: <<__left__>>\n")], "not initialised").await;
    let run = person.run_in(world.repository.tree(), &["doctor", "--output", "json"], b"");
    let findings = run.assert(1).json()["findings"].clone();
    let of = |check: &str| -> Vec<Value> {
        findings.as_array().unwrap().iter().filter(|finding| finding["check"] == check).cloned().collect()
    };
    for (check, state) in [
        ("git", "fine"),
        ("kustomize", "fine"),
        ("helm", "fine"),
        ("cluster", "fine"),
        ("clock", "fine"),
        ("agent", "fine"),
        ("rights", "fine"),
        ("setup.conf", "wrong"),
        ("fork", "wrong"),
    ] {
        let found = of(check);
        assert!(!found.is_empty() && found.iter().all(|finding| finding["state"] == state), "{check}: {findings:#}");
        assert!(state == "fine" || found[0]["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{found:?}");
    }
    assert!(of("fork")[0]["said"].as_str().unwrap().contains("distribution/a.yaml"), "{findings:#}");
    assert!(of("user")[0]["said"].as_str().unwrap().starts_with("person"), "{findings:#}");

    // Somebody without rights.
    let nobody = control_plane.kubeconfig_for_user("nobody-in-particular", None);
    let kubeconfig = nobody.path().to_str().unwrap();
    let run = person.run(&["doctor", "--kubeconfig", kubeconfig, "--output", "json"]);
    let said = run.assert(1).json().to_string();
    assert!(said.contains("patch applications.argoproj.io"), "{said}");
    let offline = person.run(&["doctor", "--offline"]);
    assert!(!offline.assert(0).stdout.contains("rights"), "{offline:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_compares_the_root_application_with_the_clone_s() {
    let world = Installation::start("doctor-root").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    world.repository.commit(&[("apps/web.yaml", "")], "a fork").await;
    let root = world.application("platform", "apps");
    let write = |root: &Value| world.repository.write("distribution/platform.yaml", root.to_string());
    let doctor = || {
        let findings = person.run_in(world.repository.tree(), &["doctor", "--output", "json"], b"").json();
        let findings = findings["findings"].as_array().unwrap().clone();
        let found: Vec<Value> = findings.into_iter().filter(|finding| finding["check"] == "root").collect();
        let [found] = &found[..] else { panic!("{found:?}") };
        ["state", "said", "fix"].map(|key| found[key].as_str().unwrap_or_default().to_owned())
    };
    write(&root);
    let [state, said, fix] = doctor();
    assert!(
        state == "doubtful" && said.contains("is not in the cluster") && fix.contains("gitmoor bootstrap"),
        "{said}"
    );
    world.apply(&root).await;
    let [state, said, fix] = doctor();
    assert!(state == "fine" && said.ends_with("is as distribution/platform.yaml says") && fix.is_empty(), "{said}");

    let mut moved = root.clone();
    moved["spec"]["source"]["repoURL"] = json!("https://robot:secret@git.example.org/new.git");
    moved["spec"]["source"]["targetRevision"] = json!("next");
    write(&moved);
    let [state, said, fix] = doctor();
    assert!(state == "wrong" && fix.contains("gitmoor bootstrap"), "{said}: {fix}");
    let address = root["spec"]["source"]["repoURL"].as_str().unwrap();
    let expected = format!(
        "spec.source.repoURL is {address} in the cluster, https://git.example.org/new.git in the file; \
         spec.source.targetRevision is main in the cluster, next in the file"
    );
    assert!(said.ends_with(&expected), "{said}");
    // Before init there is nothing to compare with.
    moved["spec"]["source"]["targetRevision"] = json!("<<__git_repo.target_revision__>>");
    write(&moved);
    let run = person.run_in(world.repository.tree(), &["doctor", "--output", "json"], b"").json().to_string();
    assert!(!run.contains("root Application"), "{run}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_asks_aws_who_somebody_is() {
    let (aws, control_plane) = (Aws::start().await, ControlPlane::shared().await);
    let person = Person::new(control_plane, "nowhere-in-particular");
    let folder = Scratch::new("doctor-aws");
    let doctor = |environment: &str, account: &str, endpoint: &str| -> Vec<(String, String)> {
        let conf = format!("<<__environment__>>={environment}\n<<__aws_account_id__>>={account}\n");
        folder.write("setup.conf", conf);
        let mut variables = aws.environment();
        variables[0].1 = endpoint.to_owned();
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let run = person.run_with(folder.path(), &variables, &["doctor", "--output", "json"], b"");
        let findings = run.json()["findings"].as_array().unwrap().clone();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let of_aws = findings.iter().filter(|finding| finding["check"] == "aws");
        of_aws.map(|finding| (text(finding, "state"), text(finding, "said"))).collect()
    };
    // The account that moto plays.
    let own = doctor("aws", "123456789012", &aws.endpoint());
    let [(state, said)] = &own[..] else { panic!("{own:?}") };
    assert_eq!(state, "fine");
    assert!(said.starts_with("account 123456789012 as arn:aws:sts::123456789012:"), "{said}");
    let other = doctor("aws", "999999999999", &aws.endpoint());
    let wrong = ("wrong".to_owned(), "setup.conf names account 999999999999, and you are in 123456789012".to_owned());
    assert_eq!(other[1..], [wrong]);
    let silent = doctor("aws", "123456789012", "http://127.0.0.1:9");
    assert!(silent[0].0 == "doubtful" && silent[0].1.starts_with("no identity: "), "{silent:?}");
    let keys = person.run_in(folder.path(), &["doctor", "--output", "json"], b"").json();
    assert_eq!(
        keys["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == "keys").count(),
        0,
        "no keys on AWS"
    );
    let elsewhere = doctor("single-node", "999999999999", "http://127.0.0.1:9");
    let keys = person.run_in(folder.path(), &["doctor"], b"").assert(1).stdout.clone();
    assert!(keys.contains("there is no Secret nowhere-in-particular/aws-access-keys"), "{keys}");
    assert_eq!(
        elsewhere,
        [("fine".to_owned(), "no account is needed on this machine: setup.conf names another environment".to_owned())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_complete_from_the_cluster() {
    let world = Installation::start("complete").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let application = world.application("warehouse", "nowhere");
    world.apply(&application).await;
    let offered = person.complete(&["gitmoor", "sync", "ware"]);
    assert_eq!(offered.lines().collect::<Vec<_>>(), ["warehouse"]);
    let elsewhere = person.complete(&["gitmoor", "sync", "-n", "default", "ware"]);
    assert!(!elsewhere.contains("warehouse"), "{elsewhere}");
}

/// A pod that a kubelet has.
async fn pod(world: &Installation, kubelet: &Kubelet, (namespace, name): (&str, &str), status: Value) {
    let pods = api(&world.client, "v1/Pod", Some(namespace));
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"nodeName": kubelet.node, "containers": [{"name": "main", "image": "x"}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let status = json!({"status": status});
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_those_of_the_pod_that_holds_the_lease_and_explain_reads_last_words() {
    let world = Installation::start("logs").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let nowhere = person.run(&["logs"]);
    assert!(nowhere.assert(4).stderr.contains("does not run as a pod"), "{nowhere:?}");
    let kubelet = Kubelet::start(&world.client, "present words\n", "first\nFATAL: no such table\n").await;
    let running = json!({"phase": "Running", "containerStatuses": [{"name": "main", "image": "x", "imageID": "", "ready": true,
        "restartCount": 0, "containerID": "test://1", "state": {"running": {}}}]});
    pod(&world, &kubelet, (&world.namespace, &world.user), running).await;
    let logs = person.run(&["logs"]);
    assert_eq!(logs.assert(0).stdout, "present words\n", "{logs:?}");
    assert_eq!(person.run(&["logs", "--follow"]).assert(0).stdout, "present words\n");
    let told = person.run(&["logs", "--output", "json"]).assert(0).json();
    assert_eq!(told["lines"], json!(["present words"]));
    let told = person.run(&["logs", "--follow", "--output", "json"]).assert(0).json();
    assert_eq!(told, json!({"line": "present words"}));

    let manifest = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: migration\nspec:\n  nodeName: NODE\n  containers:\n    - name: main\n      \
                    image: x\n"
        .replace("NODE", &kubelet.node);
    world.repository.commit(&[("job/pod.yaml", &manifest)], "a pod").await;
    world.apply(&world.application("job", "job")).await;
    world.await_target("the pod is there", "v1/Pod", "migration", |pod| pod.is_some()).await;
    let crashed = json!({"status": {"phase": "Running", "containerStatuses": [{"name": "main", "image": "x", "imageID": "",
        "ready": false, "restartCount": 2, "containerID": "test://3", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "containerID": "test://2"}}}]}});
    let pods = api(&world.client, "v1/Pod", Some(&world.target));
    pods.patch_status("migration", &PatchParams::default(), &Patch::Merge(&crashed)).await.unwrap();
    let finding = super::explain::explained(&person, std::path::Path::new("/"), "job", "ContainerCrashes").await;
    let sentence = finding["sentence"].as_str().unwrap();
    assert!(sentence.ends_with("crashes with exit code 1: FATAL: no such table"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_documentation_work() {
    let world = Installation::start("docs").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let commit = world.repository.commit(&[("mlflow/map.yaml", &config_map("map", "key", "one"))], "a map").await;
    world.apply(&world.application("mlflow", "mlflow")).await;
    world.await_synced("mlflow", &commit).await;
    let page = std::fs::read_to_string(tools::workspace().join("docs/cli.md")).unwrap();
    let blocks = page.split("\n```sh\n").skip(1).map(|rest| rest.split_once("\n```\n").unwrap().0);
    let commands: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(commands.len() > 8 && commands.iter().all(|line| line.starts_with("gitmoor ")), "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let run = person.run_in(world.repository.tree(), &words, b"");
        assert_eq!(run.status, Some(0), "{command}: {run:?}");
    }
}

/// Prints how long `status` and `explain` take with a thousand Applications of ten objects.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; makes a thousand Applications"]
async fn soak_a_thousand_applications_are_shown() {
    use futures::StreamExt as _;
    let world = Installation::start("thousand").await;
    let control_plane = ControlPlane::shared().await;
    let namespace = gitmoor_tests::harness::create_namespace(&world.client, "many").await;
    let person = Person::new(control_plane, &namespace);
    let applications = api(&world.client, "argoproj.io/v1alpha1/Application", Some(&namespace));
    let resources: Vec<Value> = (0..10)
        .map(|n| {
            json!({"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "web", "name": format!("web-{n}"),
                "status": "Synced", "health": {"status": "Healthy"}})
        })
        .collect();
    let make = async |n: usize| {
        let mut object = world.application(&format!("app-{n:04}"), "web");
        object["metadata"]["namespace"] = json!(namespace);
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        applications.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let status = json!({"status": {
            "sync": {"status": "Synced", "revision": commit}, "health": {"status": "Healthy"}, "resources": resources,
            "history": (0..10).map(|id| json!({"id": id, "revision": commit, "deployedAt": "2026-01-01T00:00:00Z"})).collect::<Vec<_>>(),
        }});
        applications.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    };
    futures::stream::iter((0..1000).map(make)).buffer_unordered(32).collect::<Vec<()>>().await;
    for command in [&["status"][..], &["status", "--output", "json"], &["explain", "app-0500"]] {
        let mut times: Vec<u128> = (0..9)
            .map(|_| {
                let started = std::time::Instant::now();
                let run = person.run(command);
                assert!(matches!(run.status, Some(0 | 1)), "{run:?}");
                started.elapsed().as_millis()
            })
            .collect();
        times.sort_unstable();
        println!("{}: {} ms (of nine, {} to {})", command.join(" "), times[4], times[0], times[8]);
    }
}

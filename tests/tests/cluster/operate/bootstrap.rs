//! From a fork to a platform that runs, and back.

use std::path::Path;

use gitmoor_tests::harness::installation::{CREDENTIALS, PATIENCE, api, apply};
use gitmoor_tests::harness::run::Run;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::{
    Agent, ControlPlane, GitRemote, Repository, condition, config_map, create_namespace, eventually, kustomization,
    tools, unique_name,
};
use serde_json::{Value, json};

use super::Person;

const CLAIM: &str = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: data\nspec:\n  accessModes: [ReadWriteOnce]\n  \
                     resources:\n    requests:\n      storage: 1Gi\n";

/// A fork with an agent and one Application below the root.
pub(super) fn write_fork(repository: &Repository, namespace: &str, target: &str) {
    let application = |name: &str, path: &str, destination: &str| {
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "project": "default",
                "source": {"repoURL": repository.url(), "targetRevision": "main", "path": path},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": destination},
                "syncPolicy": {"automated": {"prune": true, "selfHeal": true}, "syncOptions": ["CreateNamespace=true"]},
            },
        })
        .to_string()
    };
    let component = "distribution/components/gitmoor";
    let agent = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gitmoor-agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "gitmoor-agent"}},
            "template": {
                "metadata": {"labels": {"app": "gitmoor-agent"}},
                "spec": {"serviceAccountName": "gitmoor-agent", "containers": [{"name": "agent", "image": "<<__image__>>"}]},
            },
        },
    });
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: gitmoor-agent\n".to_owned();
    let own = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n");
    let files = [
        ("distribution/platform.yaml", application("platform", "distribution/selection", namespace)),
        ("distribution/selection/web.yaml", application("web", "distribution/web", target)),
        // The agent keeps itself, too.
        ("distribution/selection/gitmoor.yaml", application("gitmoor", component, namespace)),
        ("distribution/web/map.yaml", config_map("web", "key", "one")),
        ("distribution/applications/gitmoor.yaml", application("gitmoor", component, namespace)),
        (&format!("{component}/kustomization.yaml"), {
            let resources = ["crds", "namespace.yaml", "account.yaml", "deployment.yaml"];
            kustomization(&resources) + &format!("namespace: {namespace}\n")
        }),
        (&format!("{component}/namespace.yaml"), own),
        (&format!("{component}/account.yaml"), account),
        (&format!("{component}/deployment.yaml"), agent.to_string()),
    ];
    for (path, text) in &files {
        repository.write(path, text);
    }
    let shipped = tools::workspace().join("distribution/components/gitmoor/crds");
    for entry in std::fs::read_dir(shipped).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        repository.write(&format!("{component}/crds/{name}"), std::fs::read(entry.path()).unwrap());
    }
}

pub(super) async fn get(client: &kube::Client, kind: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
    let found = api(client, kind, namespace).get_opt(name).await;
    // A kind that is not served has no objects.
    found.ok().flatten().map(|object| serde_json::to_value(object).unwrap())
}

/// The control plane is its own: definitions come and go.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_becomes_a_platform_and_goes_again() {
    let control_plane = ControlPlane::builder().controllers(true).scheduler(true).kwok_nodes(1).start().await;
    let client = control_plane.client().await;
    let remote = GitRemote::with_credentials("git", CREDENTIALS.1).await;
    let repository = remote.repository("platform").await;
    let (namespace, target) = (unique_name("boot"), unique_name("web"));
    write_fork(&repository, &namespace, &target);
    repository.commit_all("a fork").await;
    let person = Person::new(&control_plane, &namespace);
    let here = repository.tree();
    let run = |arguments: &[&str], stdin: &[u8]| person.run_in(here, arguments, stdin);

    let refused = run(&["bootstrap"], b"");
    assert!(refused.assert(3).stderr.contains("<<__image__>>"), "{refused:?}");
    let deployment = "distribution/components/gitmoor/deployment.yaml";
    let text = std::fs::read_to_string(here.join(deployment)).unwrap().replace("<<__image__>>", "gitmoor:test");
    repository.commit(&[(deployment, &text)], "initialised").await;

    let dry = run(&["bootstrap", "--dry-run", "--token-stdin"], CREDENTIALS.1.as_bytes());
    let said = &dry.assert(0).stdout;
    for object in [
        "CustomResourceDefinition.apiextensions.k8s.io applications.argoproj.io ".to_owned(),
        format!("Deployment.apps {namespace}/gitmoor-agent "),
        format!("Application.argoproj.io {namespace}/platform "),
    ] {
        let line = said.lines().find(|line| line.starts_with(&object)).unwrap_or_else(|| panic!("{object}: {said}"));
        assert!(line.ends_with("would be created"), "{line}");
    }
    assert!(get(&client, "v1/Namespace", None, &namespace).await.is_none(), "nothing was done");
    run(&["bootstrap", "--export", "manifests", "--token-stdin"], CREDENTIALS.1.as_bytes()).assert(0);
    let exported = ["10-definitions", "20-agent", "30-platform"]
        .map(|name| std::fs::read_to_string(here.join(format!("manifests/{name}.yaml"))).unwrap())
        .concat();
    assert!(exported.contains("kind: Deployment") && !exported.contains("\nkind: Secret\n"), "{exported}");
    std::fs::remove_dir_all(here.join("manifests")).unwrap();

    let identity = control_plane.kubeconfig_for_user(&unique_name("agent"), Some("system:masters"));
    let team = create_namespace(&client, "team").await;
    let agent = || {
        Agent::builder(&identity)
            .arg(format!("--namespace={namespace}"))
            .arg(format!("--application-namespaces={team}"))
            .env("GITMOOR_POLL_INTERVAL", "0.3")
    };
    let start = || agent().start();
    let mut agent = start();
    let page = std::fs::read_to_string(tools::workspace().join("docs/bootstrap.md")).unwrap();
    let commands = page.split_once("\n```sh\n").and_then(|(_, rest)| rest.split_once("\n```\n")).unwrap().0;
    let mut said = String::new();
    for command in commands.lines() {
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let run = person.run_with(here, &[("GIT_TOKEN", CREDENTIALS.1)], &words, b"");
        said = format!("{}{}", run.stdout, run.stderr);
        assert!(run.status == Some(0), "{command}: {said}\n{}", agent.log());
        assert!(!said.contains(CREDENTIALS.1), "{said}");
    }
    assert!(said.contains("the platform is Synced and Healthy"), "{said}");
    assert!(get(&client, "v1/ConfigMap", Some(&target), "web").await.is_some());
    let secret = get(&client, "v1/Secret", Some(&namespace), "repository").await.unwrap();
    assert_eq!(secret["metadata"]["labels"]["argocd.argoproj.io/secret-type"], "repository");

    let again = run(&["bootstrap", "--timeout", "2m", "--output", "json"], b"").assert(0).json();
    let all = again["objects"].as_array().unwrap();
    assert!(all.iter().all(|object| object["result"] == "unchanged"), "{again:#}");

    // One Application does not get on: why, and what to do, is said while it is waited for.
    let lost = std::fs::read_to_string(here.join("distribution/selection/web.yaml")).unwrap();
    let lost = lost.replace("\"name\":\"web\"", "\"name\":\"lost\"").replace("distribution/web", "nowhere");
    repository.commit(&[("distribution/selection/lost.yaml", &lost)], "a folder that is not there").await;
    let check = async || {
        let object = get(&client, "argoproj.io/v1alpha1/Application", Some(&namespace), "lost").await;
        let status = object.map_or(Value::Null, |mut object| object["status"].take());
        condition(&status, "PathNotFound").map(drop).ok_or_else(|| status.to_string())
    };
    eventually("the agent has looked for the folder", PATIENCE, check).await;
    let stuck = run(&["bootstrap", "--timeout", "3s"], b"");
    let said = &stuck.assert(1).stderr;
    assert!(said.contains("lost is stuck: the folder nowhere does not exist"), "{said}");
    repository.remove("distribution/selection/lost.yaml").await;

    // An agent that is no pod would make it all again.
    let refused = run(&["uninstall", "--yes"], b"");
    assert!(refused.assert(5).stderr.contains("it is no pod of the namespace; nothing was deleted"), "{refused:?}");
    assert!(get(&client, "apps/v1/Deployment", Some(&namespace), "gitmoor-agent").await.is_some());
    agent.terminate(PATIENCE).await;
    let gone = run(&["uninstall", "--yes"], b"");
    assert!(gone.assert(0).stderr.contains("gitmoor-agent deleted"), "{gone:?}");
    assert!(get(&client, "apps/v1/Deployment", Some(&namespace), "gitmoor-agent").await.is_none());
    assert!(get(&client, "v1/ConfigMap", Some(&target), "web").await.is_some(), "what runs keeps running");
    assert!(get(&client, "argoproj.io/v1alpha1/Application", Some(&namespace), "web").await.is_some());

    let without = run(&["refresh", "web", "--wait"], b"");
    assert!(without.assert(4).stderr.contains("no agent is running"), "{without:?}");
    let why = run(&["explain", "web"], b"");
    assert!(why.assert(1).stdout.contains("there is no Deployment of the agent"), "{why:?}");

    repository.commit(&[("distribution/web/claim.yaml", CLAIM)], "data").await;
    let mut agent = start();
    run(&["bootstrap", "--no-wait"], b"").assert(0);
    let check = async || {
        let claim = get(&client, "v1/PersistentVolumeClaim", Some(&target), "data").await;
        claim.map(drop).ok_or_else(|| "no claim".to_owned())
    };
    eventually("there is data", PATIENCE, check).await;
    // The agent follows another namespace, too: what it deployed from there goes with it.
    let elsewhere = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "elsewhere", "namespace": team},
        "spec": {
            "project": "default",
            "source": {"repoURL": repository.url(), "targetRevision": "main", "path": "distribution/web"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": team},
            "syncPolicy": {"automated": {}},
        },
    });
    apply(&client, &elsewhere).await;
    let check = async || {
        let map = get(&client, "v1/ConfigMap", Some(&team), "web").await;
        map.map(drop).ok_or_else(|| "no map".to_owned())
    };
    eventually("the other namespace is followed", PATIENCE, check).await;
    let dry = run(&["uninstall", "--purge", "--dry-run"], b"");
    assert!(dry.assert(0).stdout.contains(&format!("Application {team}/elsewhere: ")), "{dry:?}");
    assert!(!dry.stderr.contains("would be left"), "{dry:?}");
    let asked = run(&["uninstall", "--purge"], b"");
    assert!(asked.assert(5).stdout.contains("go, with their data"), "{asked:?}");
    assert!(get(&client, "v1/ConfigMap", Some(&target), "web").await.is_some());
    let purged = run(&["uninstall", "--purge", "--yes", "--timeout", "2m"], b"");
    let asks = &purged.assert(0).stderr;
    assert!(!asks.contains("left as it is"), "{asks}");
    assert!(!asks.contains("confirm-prune") && asks.lines().all(|line| line.len() < 300), "{asks}");
    assert!(get(&client, "v1/ConfigMap", Some(&target), "web").await.is_none());
    assert!(get(&client, "argoproj.io/v1alpha1/Application", Some(&namespace), "platform").await.is_none());
    assert!(get(&client, "v1/ConfigMap", Some(&team), "web").await.is_none(), "of another namespace");
    assert!(get(&client, "argoproj.io/v1alpha1/Application", Some(&team), "elsewhere").await.is_none());
    let check = async || match get(&client, "v1/Namespace", None, &namespace).await {
        None => Ok(()),
        Some(object) => Err(object["status"].to_string()),
    };
    eventually("the namespace is gone", PATIENCE, check).await;
    agent.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ssh_key_is_made_once_and_its_public_part_shown() {
    let control_plane = ControlPlane::shared().await;
    let client = control_plane.client().await;
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    let namespace = create_namespace(&client, "key").await;
    write_fork(&repository, &namespace, "web");
    let deployment = repository.tree().join("distribution/components/gitmoor/deployment.yaml");
    let text = std::fs::read_to_string(&deployment).unwrap().replace("<<__image__>>", "gitmoor:test");
    std::fs::write(deployment, text).unwrap();
    let person = Person::new(control_plane, &namespace);
    let url = "git@git.example.com:team/platform.git";
    let arguments = ["bootstrap", "--credential-only", "--ssh-key", "--repository", url];
    let first = person.run_in(repository.tree(), &arguments, b"");
    let public = first.assert(0).stdout.trim().to_owned();
    assert!(public.starts_with("ssh-ed25519 AAAA") && public.lines().count() == 1, "{first:?}");
    // Another repository than that of the root Application has a Secret of its own.
    let own = get(&client, "v1/Secret", Some(&namespace), "repository").await;
    assert!(own.is_none(), "{own:?}");
    let name =
        first.stderr.split(&format!("Secret {namespace}/")).nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let secret = get(&client, "v1/Secret", Some(&namespace), name).await.unwrap();
    assert!(secret["data"]["sshPrivateKey"].as_str().is_some_and(|key| key.len() > 100));
    let again = person.run_in(repository.tree(), &arguments, b"");
    assert_eq!(again.assert(0).stdout.trim(), public, "the same key");
    let token = ["bootstrap", "--credential-only", "--token-stdin", "--repository", url];
    let kept = person.run_in(repository.tree(), &token, b"token");
    assert!(kept.assert(5).stderr.contains("holds an SSH key, which a token would replace"), "{kept:?}");
    person.run_in(repository.tree(), &[&token[..], &["--replace-credential"]].concat(), b"token").assert(0);
    let wrong = person.run_in(repository.tree(), &["bootstrap", "--credential-only", "--ssh-key"], b"");
    assert!(wrong.assert(2).stderr.contains("--repository ssh://git@127.0.0.1/"), "{wrong:?}");
    let missing = person.run_in(Path::new("/"), &["bootstrap"], b"");
    assert!(missing.assert(4).stderr.contains("--distribution"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_goes_where_the_agent_finds_it_and_takes_none_from_others() {
    let client = ControlPlane::shared().await.client().await;
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    let namespace = create_namespace(&client, "token").await;
    write_fork(&repository, &namespace, "web");
    let deployment = repository.tree().join("distribution/components/gitmoor/deployment.yaml");
    let text = std::fs::read_to_string(&deployment).unwrap().replace("<<__image__>>", "gitmoor:test");
    std::fs::write(deployment, text).unwrap();
    let person = Person::new(ControlPlane::shared().await, &namespace);
    let run = |more: &[&str], token: &str| {
        let arguments = [&["bootstrap", "--credential-only", "--token-stdin"], more].concat();
        person.run_in(repository.tree(), &arguments, token.as_bytes())
    };
    let secrets = api(&client, "v1/Secret", Some(&namespace));
    let make = async |name: &str, label: &str, url: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "labels": {"argocd.argoproj.io/secret-type": label}},
            "stringData": {"type": "git", "url": url, "password": "expired"},
        });
        let object = serde_json::from_value(object).unwrap();
        secrets.create(&kube::api::PostParams::default(), &object).await.unwrap();
    };
    let all = async || {
        let listed = secrets.list(&kube::api::ListParams::default()).await.unwrap().items;
        let read = |secret: &kube::api::DynamicObject| {
            let text = |key: &str| {
                let text = secret.data["data"][key].as_str().unwrap_or_default();
                String::from_utf8(base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap())
                    .unwrap()
            };
            (secret.metadata.name.clone().unwrap(), text("url"), text("password"))
        };
        listed.iter().map(read).collect::<Vec<_>>()
    };
    let owned = |all: &[(&str, &str, &str)]| -> Vec<(String, String, String)> {
        all.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect()
    };

    // Somebody has made it by hand, under a name of their own, and has written the address in another way.
    make("mine", "repository", "https://Git.example/team/other.git").await;
    run(&["--repository", "https://git.example/team/other"], "new").assert(0);
    let mine = ("mine", "https://git.example/team/other", "new");
    assert_eq!(all().await, owned(&[mine]), "one more would lie beside the expired one");

    // By the name that would be taken, one for all repositories of a server, and then one of another repository.
    let server = repository.url().rsplit_once('/').unwrap().0.to_owned();
    make("repository", "repo-creds", &server).await;
    let refused = run(&[], "new");
    assert!(refused.assert(5).stderr.contains("opens all repositories below"), "{refused:?}");
    assert_eq!(all().await, owned(&[mine, ("repository", &server, "expired")]));
    let label = json!({"metadata": {"labels": {"argocd.argoproj.io/secret-type": "repository"}}});
    let parameters = kube::api::PatchParams::default();
    secrets.patch("repository", &parameters, &kube::api::Patch::Merge(&label)).await.unwrap();
    let refused = run(&[], "new");
    assert!(refused.assert(5).stderr.contains(&format!("has the credentials of {server}, which")), "{refused:?}");
    run(&["--replace-credential"], "new").assert(0);
    assert_eq!(all().await, owned(&[mine, ("repository", repository.url(), "new")]));
    run(&[], "newer").assert(0);
    assert_eq!(all().await, owned(&[mine, ("repository", repository.url(), "newer")]));
}

/// The control plane is its own: definitions are written.
#[tokio::test(flavor = "multi_thread")]
async fn exported_files_are_applied_after_a_bootstrap_and_before_one() {
    let control_plane = ControlPlane::builder().controllers(true).scheduler(true).kwok_nodes(1).start().await;
    let client = control_plane.client().await;
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    let (namespace, target) = (unique_name("boot"), unique_name("web"));
    write_fork(&repository, &namespace, &target);
    let person = Person::new(&control_plane, &namespace);
    let here = repository.tree();
    let deployment = here.join("distribution/components/gitmoor/deployment.yaml");
    let template = std::fs::read_to_string(&deployment).unwrap();
    let image = |image: &str| std::fs::write(&deployment, template.replace("<<__image__>>", image)).unwrap();
    let files = Scratch::new("export");
    // As it says that they are applied.
    let export = || {
        let folder = files.path().to_str().unwrap();
        let export = person.run_in(here, &["bootstrap", "--export", folder], b"").assert(0).stderr.clone();
        let command = export.split("apply them in this order: kubectl ").nth(1).unwrap().lines().next().unwrap();
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        words
    };
    let apply = |words: &[String], more: &[&str]| {
        for file in ["10-definitions.yaml", "20-agent.yaml", "30-platform.yaml"] {
            let path = files.path().join(file).to_str().unwrap().to_owned();
            let words = words.iter().map(|word| if word == "FILE" { &path } else { word });
            let words: Vec<&str> = words.map(String::as_str).chain(more.iter().copied()).collect();
            let run = person.run_tool("kubectl", &words);
            assert!(run.status == Some(0), "{words:?}: {run:?}");
        }
    };
    let bootstrap = |more: &[&str]| person.run_in(here, &[&["bootstrap", "--output", "json"], more].concat(), b"");
    let results = |run: &Run| {
        let json: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
        let rows = json["objects"].as_array().unwrap().clone();
        rows.iter().filter(|row| row["result"] != "unchanged").map(|row| row["object"].clone()).collect::<Vec<_>>()
    };

    image("gitmoor:1");
    repository.commit_all("a fork").await;
    assert_eq!(bootstrap(&["--timeout", "1s"]).status, Some(1), "there is no agent yet");
    let words = export();
    // As somebody who leaves out the field manager, too.
    let plain: Vec<String> = words.iter().filter(|word| !word.starts_with("--field-manager")).cloned().collect();
    assert_eq!(plain.len() + 1, words.len());
    apply(&plain, &["--dry-run=server"]);
    // A newer one, by files and back by a bootstrap.
    image("gitmoor:2");
    apply(&export(), &[]);
    assert_eq!(results(&bootstrap(&["--timeout", "1s"])), Vec::<Value>::new());
    image("gitmoor:1");
    let name = json!(format!("Deployment.apps {namespace}/gitmoor-agent"));
    assert_eq!(results(&bootstrap(&["--timeout", "1s"])), [name]);

    // What the agent has put on its own objects comes back.
    let identity = control_plane.kubeconfig_for_user(&unique_name("agent"), Some("system:masters"));
    let agent = Agent::builder(&identity).arg(format!("--namespace={namespace}")).env("GITMOOR_POLL_INTERVAL", "0.3");
    let _agent = agent.start();
    bootstrap(&["--timeout", "2m"]).assert(0);
    let claimed = async || {
        let live = get(&client, "apps/v1/Deployment", Some(&namespace), "gitmoor-agent").await.unwrap();
        let claim = &live["metadata"]["annotations"]["gitmoor.dev/tracking-id"];
        if claim.is_string() { Ok(()) } else { Err(live["metadata"].to_string()) }
    };
    eventually("the agent keeps itself", PATIENCE, claimed).await;
    apply(&export(), &[]);
    eventually("the agent keeps itself still", PATIENCE, claimed).await;
    assert_eq!(results(bootstrap(&["--timeout", "2m"]).assert(0)), Vec::<Value>::new());
}

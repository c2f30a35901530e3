//! `gitmoor rehearse`: a tree with one fault of each kind, and one without any.

mod distribution;
mod watch;

use std::path::{Path, PathBuf};

use gitmoor_tests::harness::run::Run;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::{program, tools};
use serde_json::Value;

const URL: &str = "https://git.example.com/team/platform.git";

fn application(name: &str, path: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: {name}, namespace: gitmoor}}\nspec:\n  project: default\n  \
         source: {{repoURL: {URL}, targetRevision: main, path: {path}}}\n  destination: {{server: \
         https://kubernetes.default.svc, namespace: {name}}}\n  syncPolicy: {{automated: {{prune: true, selfHeal: true}}, syncOptions: [CreateNamespace=true], retry: {{limit: 2, backoff: {{duration: 1s}}}}}}\n"
    )
}

/// A work tree with a root Application and others of these names.
fn tree(files: &[(&str, &str)], applications: &[&str]) -> Scratch {
    let scratch = Scratch::new("rehearse");
    let root = application("root", "applications");
    scratch.write("distribution/platform.yaml", root);
    for name in applications {
        scratch.write(&format!("applications/{name}.yaml"), application(name, &format!("apps/{name}")));
    }
    for (path, text) in files {
        scratch.write(path, text);
    }
    let git = ["init", "--quiet", "--initial-branch=main", "."];
    Run::of(Path::new("/usr/bin/git"), scratch.path(), &[("HOME", "/nonexistent")], &git, b"").assert(0);
    scratch
}

fn environment() -> Vec<(&'static str, String)> {
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    vec![
        ("GITMOOR_KUSTOMIZE", text(tools::tool("kustomize"))),
        ("GITMOOR_HELM", text(tools::tool("helm"))),
        ("KUBEBUILDER_ASSETS", text(tools::folder())),
        ("GITMOOR_AGENT", text(program("gitmoor-agent"))),
        ("PATH", "/usr/bin:/bin".to_owned()),
        ("HOME", "/nonexistent".to_owned()),
        ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
    ]
}

fn rehearse(files: &[(&str, &str)], applications: &[&str]) -> Run {
    let scratch = tree(files, applications);
    let environment = environment();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let arguments = ["rehearse", "--output", "json", "--timeout", "120"];
    Run::of(&program("gitmoor"), scratch.path(), &environment, &arguments, b"")
}

fn found(run: &Run) -> Vec<String> {
    let document = run.json();
    let findings = document["findings"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings.map(|finding| ["category", "application", "message"].map(|key| text(&finding[key])).join(": ")).collect()
}

const SECRET: &str = "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: password}\nspec:\n  \
    secretStoreRef: {name: aws, kind: SecretStore}\n  target: {name: password}\n  data: [{secretKey: password, remoteRef: {key: team/db, property: password}}]\n";
const STORE: &str = "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: aws}\nspec: {provider: {aws: {service: SecretsManager, region: us-east-1}}}\n";

fn deployment(secret: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, annotations: {{argocd.argoproj.io/sync-wave: '1'}}}}\nspec:\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: web, image: web, envFrom: [{{secretRef: {{name: {secret}}}}}]}}]}}\n"
    )
}

#[test]
fn every_fault_is_named_and_stand_ins_let_the_rest_go_on() {
    let hook = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: checks}\nwebhooks:\n- name: checks.example.com\n  clientConfig: {service: {namespace: hooks, name: nobody, path: /}}\n  rules: [{apiGroups: ['*'], apiVersions: ['*'], operations: ['*'], resources: ['*/*']}]\n  failurePolicy: Fail\n  sideEffects: None\n  admissionReviewVersions: [v1]\n";
    let endpoints = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: old}\nsubsets: []\n";
    let after =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: after, annotations: {argocd.argoproj.io/sync-wave: '2'}}\n";
    let sealed = "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: login}\nspec: {encryptedData: {a: b}}\n";
    let sealing = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: sealedsecrets.bitnami.com}\nspec:\n  group: bitnami.com\n  scope: Namespaced\n  names: {kind: SealedSecret, plural: sealedsecrets}\n  versions:\n  - name: v1alpha1\n    served: true\n    storage: true\n    subresources: {status: {}}\n    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}\n";
    let web = deployment("password");
    let needy = deployment("absent");
    let files = [
        ("apps/definition/thing.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: thing}\n"),
        ("apps/schema/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: typo}\ndta: {a: b}\n"),
        ("apps/hooks/hook.yaml", hook),
        ("apps/needy/web.yaml", needy.as_str()),
        ("apps/old/endpoints.yaml", endpoints),
        ("apps/good/web.yaml", web.as_str()),
        ("apps/good/secret.yaml", SECRET),
        ("apps/good/store.yaml", STORE),
        ("apps/good/sealing.yaml", sealing),
        ("apps/good/sealed.yaml", sealed),
        ("apps/good/after.yaml", after),
    ];
    let run = rehearse(&files, &["definition", "schema", "hooks", "needy", "old", "good"]);
    run.assert(1);
    let found = found(&run);
    for (category, application, words) in [
        ("UnknownKind", "gitmoor/definition", "its CustomResourceDefinition is missing"),
        ("", "gitmoor/schema", "dta"),
        ("WebhookUnserved", "gitmoor/hooks", "there is no Service hooks/nobody"),
        ("SecretMissing", "gitmoor/needy", "nobody provides the Secret needy/absent"),
        ("Deprecated", "", "endpoints old/old: v1 is deprecated"),
    ] {
        let named = |line: &&String| {
            line.starts_with(category) && line.contains(&format!(": {application}: ")) && line.contains(words)
        };
        assert!(found.iter().any(|line| named(&line)), "{category} {application} {words}: {found:#?}\n{}", run.stderr);
    }
    let of_good: Vec<&String> = found.iter().filter(|line| line.contains("gitmoor/good")).collect();
    assert!(of_good.iter().all(|line| line.starts_with("Order")), "{of_good:#?}");
    assert_eq!(run.json()["applications"]["gitmoor/good"], serde_json::json!(["Synced", "Healthy"]), "{found:#?}");
}

#[test]
fn what_only_a_cluster_has_is_stood_in_for() {
    let api = "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: v1.metrics.example.com}\nspec: {group: metrics.example.com, version: v1, groupPriorityMinimum: 100, versionPriority: 10, insecureSkipTLSVerify: true, service: {name: web, namespace: all}}\n";
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 443}]}\n";
    let hook = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: hook, annotations: {argocd.argoproj.io/hook: PreSync}}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}}\n";
    let null = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: checks}\nwebhooks:\n- name: checks.example.com\n  namespaceSelector: null\n  clientConfig: {service: {namespace: all, name: web}}\n  sideEffects: None\n  admissionReviewVersions: [v1]\n";
    let key = |key: &str| format!("{{name: by-hand, namespace: gitmoor, key: {key}}}");
    let store = format!(
        "apiVersion: external-secrets.io/v1\nkind: ClusterSecretStore\nmetadata: {{name: aws}}\nspec: {{provider: {{aws: {{service: SecretsManager, region: us-east-1, prefix: here/, auth: {{secretRef: {{accessKeyIDSecretRef: {}, secretAccessKeySecretRef: {}}}}}}}}}}}\n",
        key("id"),
        key("key")
    );
    let everywhere = "apiVersion: external-secrets.io/v1\nkind: ClusterExternalSecret\nmetadata: {name: everywhere}\nspec:\n  namespaces: [all]\n  externalSecretSpec:\n    secretStoreRef: {name: aws, kind: ClusterSecretStore}\n    target: {name: everywhere, template: {data: {url: 'x://{{ .user }}'}}}\n    dataFrom: [{extract: {key: login}}]\n";
    let thing = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: thing}\n";
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Thing, plural: things}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n";
    let web = deployment("everywhere");
    let files = [
        ("apps/all/api.yaml", api),
        ("apps/all/service.yaml", service),
        ("apps/all/hook.yaml", hook),
        ("apps/all/null.yaml", null),
        ("apps/all/store.yaml", store.as_str()),
        ("apps/all/everywhere.yaml", everywhere),
        ("apps/all/web.yaml", web.as_str()),
        ("apps/all/thing.yaml", thing),
        ("apps/all/zz-definition.yaml", definition),
    ];
    let run = rehearse(&files, &["all"]);
    assert_eq!(found(&run), [] as [String; 0], "{}", run.stderr);
    run.assert(0);
    assert!(run.stderr.contains("Secret gitmoor/by-hand (id, key)"), "{}", run.stderr);
}

#[test]
fn an_agent_that_is_slow_is_waited_for() {
    let slow = Scratch::new("slow");
    let agent = program("gitmoor-agent");
    let script = slow.write("agent", format!("#!/bin/sh\nsleep 6\nexec {} \"$@\"\n", agent.display()));
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\n";
    let tree = tree(&[("apps/web/map.yaml", map)], &["web"]);
    let mut environment = environment();
    environment.retain(|(name, _)| *name != "GITMOOR_AGENT");
    environment.push(("GITMOOR_AGENT", script.to_str().unwrap().to_owned()));
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let arguments = ["rehearse", "--output", "json", "--timeout", "120", "--quiet-seconds", "1"];
    let run = Run::of(&program("gitmoor"), tree.path(), &environment, &arguments, b"");
    let unfinished: Vec<String> = found(&run).into_iter().filter(|line| line.starts_with("Unfinished")).collect();
    assert!(unfinished.is_empty(), "{unfinished:#?}\n{}", run.stderr);
    assert_eq!(run.json()["applications"]["gitmoor/web"], serde_json::json!(["Synced", "Healthy"]));
}

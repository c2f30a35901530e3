//! `gitmoor iam`, run as a user runs it: the real binary on a copy of the distribution.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::tools::{cfn_lint, tool, workspace};
use gitmoor_tests::harness::{Aws, http, program};
use serde_json::Value;

use crate::canary::Signs;
use gitmoor_tests::distribution::fork::files;

/// A fork whose setup.conf has the example's values; `init` has not been run.
struct Fork {
    scratch: Scratch,
}

struct Run {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

const PEOPLE: &str = "profiles:\n  - { username: ada.lovelace, email: ada@example.com, role: Developer }\n";
const GRACE: &str = "  - { username: grace.hopper, email: grace@example.com, role: User }\n";

/// A role that the agent assumes for a namespace.
const READER: &str = "assumedBy: gitmoor\nnamespace: mlflow\n\
                      role: arn:aws:iam::123456789012:role/platform_external_secret_mlflow\npolicy: reader.json\n";
const READER_POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:GetSecretValue",
    "Resource":"arn:aws:secretsmanager:eu-central-1:123456789012:secret:platform/mlflow*"}]}"#;
const KEYS: &str = "user: platform-keys\nsecret: platform/keys\npolicy: reader.json\n";
const STORE: &str = "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: aws, namespace: mlflow}\n\
    spec: {provider: {aws: {service: SecretsManager, region: eu-central-1, \
    role: \"arn:aws:iam::123456789012:role/platform_external_secret_mlflow\"}}}\n";

impl Fork {
    fn new() -> Self {
        let fork = Self { scratch: Scratch::new("iam") };
        for file in files(&workspace().join("distribution")) {
            let name = file.strip_prefix(workspace()).unwrap().to_str().unwrap();
            fork.write(name, fs::read(&file).unwrap());
        }
        fork.write("setup.conf", fs::read(workspace().join("setup.conf.example")).unwrap());
        fork
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        self.scratch.write(name, text)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.scratch.path().join(name)).unwrap()
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} holds no {from}");
        self.write(name, text.replace(from, to));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("gitmoor"));
        command.env_clear().env("GITMOOR_KUSTOMIZE", tool("kustomize")).current_dir(self.scratch.path());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let output = self.command(arguments).output().unwrap();
        Run {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The kinds of findings with their subjects.
    fn findings(&self) -> Vec<(String, String)> {
        let run = self.run(&["iam", "check", "--output", "json"]);
        let report = run.json();
        for skipped in report["notRendered"].as_array().unwrap() {
            assert!(skipped["reason"].as_str().unwrap().ends_with(" is not rendered here"), "{report}");
        }
        let findings = report["findings"].as_array().unwrap();
        run.assert(i32::from(!findings.is_empty()));
        let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
        findings.iter().map(|finding| (text(finding, "check"), text(finding, "subject"))).collect()
    }

    /// Content of every file.
    fn state(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(self.scratch.path()).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    fn with_store(&self) {
        self.write("distribution/iam/reader.yaml", READER);
        self.write("distribution/iam/reader.json", READER_POLICY);
        self.write("distribution/iam/keys.yaml", KEYS);
        self.write("distribution/components/mlflow/overlays/aws/store.yaml", STORE);
        let overlay = "distribution/components/mlflow/overlays/aws/kustomization.yaml";
        self.edit(overlay, "  - ../../base\n", "  - ../../base\n  - store.yaml\n");
    }
}

impl Run {
    fn assert(&self, status: i32) -> &Self {
        assert_eq!(self.status, Some(status), "{}\n{}", self.stdout, self.stderr);
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }
}

#[test]
fn each_role_is_listed_with_a_trust_that_fits_its_pods_alone() {
    let fork = Fork::new();
    let run = fork.run(&["iam"]);
    run.assert(0);
    for expected in
        ["role/platform_mlflow_mlflow", "system:serviceaccount:mlflow:mlflow-sa", "of ServiceAccount inference/"]
    {
        assert!(run.stdout.contains(expected), "{}", run.stdout);
    }
    let report = fork.run(&["iam", "--output", "json", "--oidc-provider", "https://oidc.example.com/id/X"]).json();
    // The others are assumed by the agent.
    let of_pods = report["declared"].as_array().unwrap().iter().filter(|one| !one["serviceAccount"].is_null());
    for declared in of_pods {
        let statement = &declared["trustPolicy"]["Statement"][0];
        let condition = statement["Condition"]["StringEquals"].as_object().unwrap();
        let subject = format!(
            "system:serviceaccount:{}:{}",
            declared["namespace"].as_str().unwrap(),
            declared["serviceAccount"].as_str().unwrap()
        );
        assert_eq!(condition["oidc.example.com/id/X:sub"], subject);
        assert_eq!(condition["oidc.example.com/id/X:aud"], "sts.amazonaws.com");
        assert!(!declared["policy"].is_null() || !declared["managedPolicies"].is_null(), "{declared}");
    }
    let left_out = |name: &str| {
        let mut all = report["leftOut"].as_array().unwrap().iter();
        all.find(|entry| entry["declaration"] == name).map(|entry| entry["reason"].as_str().unwrap())
    };
    assert_eq!(left_out("single-node"), Some("for the environment single-node, not aws"));
    // Declared for a component that this tree does not have.
    let unknown = "distribution/iam/unknown.yaml";
    fork.write(unknown, "application: unknown\nenvironment: aws\nuser: u\nsecret: s\npolicy: mlflow.json\n");
    let run = fork.run(&["iam", "check"]);
    assert!(run.assert(0).stderr.contains("left out: unknown (there is no Application unknown)"), "{}", run.stderr);
}

#[test]
fn after_init_it_needs_no_settings() {
    let fork = Fork::new();
    let before = fork.run(&["iam", "--output", "json"]).json();
    fork.run(&["init", "setup.conf"]).assert(0);
    fs::remove_file(fork.scratch.path().join("setup.conf")).unwrap();
    assert_eq!(fork.run(&["iam", "--output", "json"]).json(), before);
    assert_eq!(fork.findings(), []);
}

#[test]
fn the_distribution_has_no_findings_in_any_environment() {
    for environment in ["aws", "single-node"] {
        let fork = Fork::new();
        fork.edit("setup.conf", "<<__environment__>>=aws", &format!("<<__environment__>>={environment}"));
        fork.edit("distribution/kustomization.yaml", "# - applications/", "- applications/");
        fork.write("profiles.yaml", format!("{PEOPLE}{GRACE}"));
        fork.run(&["iam", "profiles"]).assert(0);
        assert_eq!(fork.findings(), [], "{environment}");
    }
}

#[test]
fn a_role_that_the_agent_assumes_is_no_finding() {
    let fork = Fork::new();
    fork.with_store();
    assert_eq!(fork.findings(), []);
}

type Fault = fn(&Fork, &str, &str, &str);

#[test]
fn what_would_go_wrong_is_found_before_it_does() {
    let mlflow = "distribution/iam/mlflow.yaml";
    let role = "distribution/components/mlflow/overlays/aws/role.yaml";
    let inference = "distribution/components/inference/overlays/aws/role.yaml";
    let faults: [(&str, &str, Fault); 11] = [
        ("may-not-assume", "reader.yaml", |fork, _, _, _| {
            fork.with_store();
            fork.edit("distribution/iam/gitmoor.json", "_external_secret*", "_secrets*");
        }),
        ("shared-role", "arn:aws:iam::123456789012:role/platform_mlflow_mlflow", |fork, _, _, inference| {
            fork.edit(inference, "<<__role_arn.inference__>>", "<<__role_arn.mlflow__>>");
        }),
        ("wrong-arn", "mlflow.yaml", |fork, _, _, _| {
            fork.edit("setup.conf", "iam::123456789012:role/platform_mlflow", "iam::999999999999:role/platform_mlflow");
        }),
        ("wrong-arn", "inference.json", |fork, _, _, _| {
            fork.edit("distribution/iam/inference.json", "arn:<<__aws_partition__>>:s3", "arn:aws-cn:s3");
        }),
        ("missing-policy", "mlflow.yaml", |fork, mlflow, _, _| {
            fork.edit(mlflow, "policy: mlflow.json", "policy: none.json");
        }),
        ("missing-policy", "inference.yaml", |fork, _, _, _| {
            fork.edit("distribution/iam/inference.yaml", "policy: inference.json\n", "");
        }),
        ("unused-policy", "lost.json", |fork, _, _, _| drop(fork.write("distribution/iam/lost.json", READER_POLICY))),
        ("unknown-namespace", "mlflow.yaml", |fork, mlflow, _, _| {
            fork.edit(mlflow, "namespace: mlflow", "namespace: mlfow");
        }),
        ("undeclared-role", "ServiceAccount mlflow/mlflow-sa", |fork, mlflow, _, _| {
            fs::remove_file(fork.scratch.path().join(mlflow)).unwrap();
        }),
        ("undeclared-role", "SecretStore mlflow/aws", |fork, _, _, _| {
            fork.with_store();
            fs::remove_file(fork.scratch.path().join("distribution/iam/reader.yaml")).unwrap();
        }),
        ("role-differs", "mlflow.yaml", |fork, _, role, _| {
            fork.edit(role, "<<__role_arn.mlflow__>>", "arn:aws:iam::123456789012:role/x");
        }),
    ];
    for (kind, subject, fault) in faults {
        let fork = Fork::new();
        fault(&fork, mlflow, role, inference);
        let findings = fork.findings();
        assert!(findings.contains(&(kind.to_owned(), subject.to_owned())), "{kind} {subject} not in {findings:?}");
    }
}

#[test]
fn what_is_not_rendered_is_named() {
    let fork = Fork::new();
    fork.edit(
        "distribution/applications/inference.yaml",
        "<<__git_repo.url__>>",
        "https://elsewhere.example.com/x.git",
    );
    let run = fork.run(&["iam", "check"]);
    run.assert(0);
    assert!(run.stderr.contains("inference: its source is another repository"), "{}", run.stderr);
    assert!(run.stderr.contains("0 findings"), "{}", run.stderr);
}

#[test]
fn a_component_that_is_off_needs_no_role() {
    let fork = Fork::new();
    fork.edit("distribution/kustomization.yaml", "  - applications/inference.yaml\n", "");
    fork.edit("setup.conf", "<<__role_arn.inference__>>=", "# ");
    let report = fork.run(&["iam", "--output", "json"]).json();
    let names: Vec<_> = report["declared"].as_array().unwrap().iter().map(|entry| &entry["declaration"]).collect();
    assert!(names.iter().any(|name| *name == "mlflow") && !names.iter().any(|name| *name == "inference"), "{names:?}");
    assert_eq!(fork.findings(), []);
    let run = fork.run(&["iam", "--all", "--environment", "aws"]);
    run.assert(3);
    assert!(
        run.stderr.contains("distribution/iam/inference.yaml: 6:7: <<__role_arn.inference__>> has no value"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_line_of_profiles_is_a_file() {
    let fork = Fork::new();
    assert_eq!(fork.run(&["iam", "profiles"]).assert(0).stdout, "");
    fork.write("profiles.yaml", PEOPLE);
    fork.run(&["iam", "profiles", "--check"]).assert(1);
    let run = fork.run(&["iam", "profiles"]);
    assert_eq!(run.assert(0).stdout, "wrote distribution/profiles/ada-lovelace.yaml\n");
    let first = fork.state();

    assert_eq!(fork.run(&["iam", "profiles"]).assert(0).stdout, "");
    assert_eq!(fork.state(), first);

    fork.write("profiles.yaml", format!("{PEOPLE}{GRACE}"));
    fork.run(&["iam", "profiles"]).assert(0);
    let changed: Vec<_> = fork.state().into_iter().filter(|(path, text)| first.get(path) != Some(text)).collect();
    let names: Vec<_> = changed.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["grace-hopper.yaml", "profiles.yaml"]);

    fork.write("profiles.yaml", PEOPLE);
    let run = fork.run(&["iam", "profiles"]);
    assert_eq!(run.assert(0).stdout, "removed distribution/profiles/grace-hopper.yaml\n");
    assert_eq!(fork.state(), first);

    fs::remove_file(fork.scratch.path().join("profiles.yaml")).unwrap();
    let lost = fork.run(&["iam", "profiles"]);
    assert!(lost.assert(4).stderr.contains("there is no profiles.yaml; nothing was removed"), "{}", lost.stderr);
    fork.read("distribution/profiles/ada-lovelace.yaml");
    fork.write("profiles.yaml", PEOPLE);

    fork.write("distribution/profiles/ada-lovelace.yaml", "# mine\n");
    fork.run(&["iam", "profiles"]).assert(5);
    assert_eq!(fork.read("distribution/profiles/ada-lovelace.yaml"), "# mine\n");
}

#[test]
fn mistakes_are_named_with_their_files_and_nothing_is_written() {
    let fork = Fork::new();
    fork.write("profiles.yaml", "profiles:\n  - { username: ada, email: x, role: Root }\n");
    fork.edit("distribution/iam/mlflow.json", "\"Allow\"", "\"Maybe\"");
    fork.edit("distribution/iam/inference.yaml", "serviceAccount", "serviceaccount");
    let before = fork.state();
    for arguments in [&["iam"][..], &["iam", "check"], &["iam", "profiles"]] {
        let run = fork.run(arguments);
        run.assert(3);
        for expected in ["distribution/iam/mlflow.json", "distribution/iam/inference.yaml", "profiles.yaml: "] {
            assert!(run.stderr.contains(expected), "{expected} not in {}", run.stderr);
        }
    }
    assert_eq!(fork.state(), before);
    fork.run(&["init", "setup.conf", "--output", "cloudformation"]).assert(2);
    fork.run(&["iam", "check", "--output", "cloudformation"]).assert(2);
    fork.run(&["iam", "--distribution", "none"]).assert(4);
}

#[tokio::test]
async fn the_template_deploys_as_it_is() {
    let fork = Fork::new();
    fork.with_store();
    fork.write("profiles.yaml", format!("{PEOPLE}{GRACE}"));
    let run = fork.run(&["iam", "--output", "cloudformation", "--all"]);
    run.assert(0);
    let template = fork.write("template.json", &run.stdout);
    let lint = Command::new(cfn_lint()).arg(&template).env("HOME", fork.scratch.path()).output().unwrap();
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));

    // The emulator does not know policies that AWS manages.
    assert!(run.stdout.contains("arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"), "{}", run.stdout);

    let aws = Aws::start().await;
    let body = form(&[
        ("Action", "CreateStack"),
        ("StackName", "iam"),
        ("TemplateBody", &run.stdout),
        ("Capabilities.member.1", "CAPABILITY_NAMED_IAM"),
    ]);
    call(&aws, "cloudformation", &body).await;
    let stack = call(&aws, "cloudformation", &form(&[("Action", "DescribeStacks"), ("StackName", "iam")])).await;
    assert!(stack.contains("CREATE_COMPLETE"), "{stack}");
    for (role, expected) in [
        ("platform_mlflow_mlflow", "system%3Aserviceaccount%3Amlflow%3Amlflow-sa"),
        ("platform_external_secret_mlflow", "role/platform_external_secrets"),
        ("platform_airflow", "system%3Aserviceaccount%3Aairflow%3Aairflow-sa"),
        ("platform_aws_load_balancer_controller", "aws-load-balancer-controller"),
        ("mlplatform-access-ada-lovelace", "s3.amazonaws.com"),
        ("mlplatform-access-grace-hopper", "user/grace.hopper"),
    ] {
        let answer = call(&aws, "iam", &form(&[("Action", "GetRole"), ("RoleName", role)])).await;
        assert!(answer.contains(expected), "{role}: {answer}");
        let attached = call(&aws, "iam", &form(&[("Action", "ListAttachedRolePolicies"), ("RoleName", role)])).await;
        assert!(attached.contains("<PolicyArn>"), "{role}: {attached}");
    }
    let sessions =
        call(&aws, "iam", &form(&[("Action", "GetRole"), ("RoleName", "mlplatform-access-ada-lovelace")])).await;
    assert!(sessions.contains("<MaxSessionDuration>28800<"), "{sessions}");
    for user in ["ada.lovelace", "grace.hopper", "platform-keys"] {
        let keys = call(&aws, "iam", &form(&[("Action", "ListAccessKeys"), ("UserName", user)])).await;
        assert!(keys.contains("<AccessKeyId>"), "{user}: {keys}");
    }
}

/// Of what the tree holds in Secrets, nothing is shown: neither when it renders, nor when it cannot be read.
#[test]
fn no_subcommand_shows_a_value_of_the_tree() {
    let canary = "canary-of-the-tree-81c4";
    let signs = Signs::new(&[canary], &[]);
    let overlay = "distribution/components/mlflow/overlays/aws";
    let secret = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: plain}}\nstringData: {{a: {canary}}}\n");
    let faults = [
        secret.clone(),
        secret
            .replace("stringData: {a: ", "stringData: [")
            .replace("}\n", "]\n")
            .replace("{name: plain]", "{name: plain}"),
        secret.replace(&format!("a: {canary}"), &format!("a: \"{canary}")),
        secret.replace("v1", "v1\n\t"),
        secret.replace(&format!("{{a: {canary}}}"), &format!("\n  a: &a {canary}\n  b: *{canary}")),
        secret.replace("stringData: {a", "data: {a"),
    ];
    for text in faults {
        let fork = Fork::new();
        let temporary = fork.scratch.folder("tmp");
        let file = fork.write(&format!("{overlay}/secret.yaml"), &text);
        fork.edit(&format!("{overlay}/kustomization.yaml"), "  - ../../base\n", "  - ../../base\n  - secret.yaml\n");
        fork.write("profiles.yaml", PEOPLE);
        let seen = signs.in_processes(&["cmdline", "environ"], || {
            for command in [&["iam"][..], &["iam", "check"], &["iam", "profiles"]] {
                for output in [&[][..], &["--output", "json"], &["--all"]] {
                    let arguments = [command, output].concat();
                    let mut command = fork.command(&arguments);
                    let output = command.env("TMPDIR", &temporary).env("RUST_BACKTRACE", "1").output().unwrap();
                    let said = [output.stdout, output.stderr].concat();
                    assert!(!signs.in_text(&said), "{arguments:?}: {}", String::from_utf8_lossy(&said));
                    assert_eq!(signs.in_files(fork.scratch.path()), [file.clone()].into(), "{arguments:?}");
                }
            }
        });
        assert_eq!(seen, BTreeSet::new());
    }
}

/// A request as AWS' query protocol has it; the emulator reads the service off the credential.
async fn call(aws: &Aws, service: &str, body: &str) -> String {
    let credential = format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    );
    let headers =
        [("Authorization", credential.as_str()), ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")];
    let answer = http::send("POST", &format!("{}/", aws.endpoint()), &headers, body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut text = String::from("Version=2010-05-08");
    for (name, value) in fields {
        text.push('&');
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text
}

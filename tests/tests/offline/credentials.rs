//! `gitmoor credentials`, run as a user runs it: the real binary, and the real kubeseal to open what it sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_tests::harness::program;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::tools::{tool, workspace};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::Value;

use crate::canary::{self, Signs};
use crate::init::terminal::on_terminal;
use gitmoor_tests::distribution::fork::files;

const DECLARED: &str = r"
values:
  email: { input: email, default: admin@example.com }
  username: { input: username, default: admin }
  password: { input: password, default: { random: alphanumeric, characters: 24 }, show: true }
  line: { htpasswd: { user: username, password: password } }
  hash: { bcrypt: password }
  client: { random: base64url, bytes: 32 }
  cookie: { random: hex, bytes: 16 }
  fernet: { random: fernet }
  pair: { keyPair: rsa2048 }
  tls: { certificate: { commonName: web, dnsNames: [web.web.svc] } }
  token: { environment: WEB_TOKEN, default: { random: hex, bytes: 20 } }
  dex: { templateFile: components/dex/config.yaml }
secrets:
  - { namespace: auth, name: dex, restart: [Deployment auth/dex], data: { config.yaml: dex } }
  - { namespace: auth, name: proxy, restart: [Deployment auth/oauth2-proxy], data: { client: client, cookie: cookie } }
  - namespace: web
    name: web
    application: web
    type: Opaque
    labels: { app: web }
    data: { fernet: fernet, line: line, key: pair.private, tls.crt: tls.certificate, token: token }
  - { namespace: other, name: other, application: other, data: { key: fernet } }
files:
  - { file: components/web/profile.yaml, object: { kind: ConfigMap, name: profile }, path: [data, email], value: email }
";
const DEX: &str = "issuer: https://<<__domain__>>/dex\nstaticClients:\n  - id: web\n    secret: {{ client | json }}\n\
                   staticPasswords:\n  - email: {{ email | json }}\n    hash: {{ hash | json }}\n";
const PROFILE: &str = "# the first\nkind: Other\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: profile}\n\
                       data:\n  email: \"\"   # who\n  other: 'kept'\n";
const APPLICATION: &str =
    "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: web, namespace: gitmoor}\n";

struct Fork {
    scratch: Scratch,
}

struct Run {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Fork {
    fn new() -> Self {
        let fork = Self { scratch: Scratch::new("credentials") };
        fork.write("setup.conf", "<<__domain__>>=example.org\n");
        fork.write("distribution/credentials.yaml", DECLARED);
        fork.write("distribution/components/dex/config.yaml", DEX);
        fork.write("distribution/components/web/profile.yaml", PROFILE);
        fork.write("distribution/kustomization.yaml", "resources: [web.yaml]\n");
        fork.write("distribution/web.yaml", APPLICATION);
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let certificate = CertificateParams::new([]).unwrap().self_signed(&pair).unwrap();
        fork.write("key.pem", pair.serialize_pem());
        fork.write("cert.pem", certificate.pem());
        fork.scratch.folder("tmp");
        fork
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        self.scratch.write(name, text)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.scratch.path().join(name)).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("gitmoor"));
        command.env_clear().env("HOME", self.scratch.path()).env("TMPDIR", self.scratch.path().join("tmp"));
        command.current_dir(self.scratch.path()).arg("credentials").args(arguments).stdin(Stdio::null());
        command
    }

    fn git(&self, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.env_clear().env("PATH", "/usr/bin:/bin").current_dir(self.scratch.path()).args(arguments);
        finish(&mut git).assert(0);
    }

    fn run(&self, arguments: &[&str]) -> Run {
        finish(&mut self.command(&[&["--cert", "cert.pem"], arguments].concat()))
    }

    /// A first run with a password of our own.
    fn first(&self) {
        self.write("password.txt", "correct horse\n");
        self.run(&["--password-file", "password.txt"]).assert(0);
    }

    /// Content and time of every file of the distribution.
    fn state(&self) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
        let read = |path: PathBuf| {
            let content = (fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap());
            (path, content)
        };
        files(&self.scratch.path().join("distribution")).into_iter().map(read).collect()
    }

    /// Values of a Secret as the real kubeseal opens them.
    fn open(&self, name: &str) -> BTreeMap<String, String> {
        let file = self.scratch.path().join(format!("distribution/credentials/{name}.yaml"));
        let mut command = Command::new(tool("kubeseal"));
        command.env_clear().env("HOME", self.scratch.path()).current_dir(self.scratch.path());
        command.args(["--recovery-unseal", "--recovery-private-key", "key.pem"]);
        let run = finish(command.stdin(fs::File::open(file).unwrap()));
        let secret: Value = serde_json::from_str(&run.assert(0).stdout).unwrap();
        let decoded = |value: &Value| String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap();
        secret["data"].as_object().unwrap().iter().map(|(key, value)| (key.clone(), decoded(value))).collect()
    }

    /// The ciphertexts of a sealed file.
    fn ciphertexts(&self, name: &str) -> BTreeMap<String, String> {
        let text = self.read(&format!("distribution/credentials/{name}.yaml"));
        let sealed: Value = serde_yaml::from_str(&text).unwrap();
        serde_json::from_value(sealed["spec"]["encryptedData"].clone()).unwrap()
    }
}

fn finish(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    fn assert(&self, status: i32) -> &Self {
        assert_eq!(self.status, Some(status), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

#[test]
fn what_is_generated_is_sealed_for_the_controller() {
    let fork = Fork::new();
    fork.first();
    let dex = &fork.open("auth.dex")["config.yaml"];
    let proxy = fork.open("auth.proxy");
    let web = fork.open("web.web");
    let dex: Value = serde_yaml::from_str(dex).unwrap();
    assert_eq!(dex["issuer"], "https://example.org/dex");
    assert_eq!(dex["staticClients"][0]["secret"], proxy["client"].as_str());
    assert_eq!(dex["staticPasswords"][0]["email"], "admin@example.com");
    assert!(dex["staticPasswords"][0]["hash"].as_str().unwrap().starts_with("$2y$12$"));
    assert_eq!((proxy["client"].len(), proxy["cookie"].len()), (43, 32));
    assert!(web["line"].starts_with("admin:$2y$12$"));
    assert_eq!((web["fernet"].len(), web["token"].len()), (44, 40));
    assert!(web["key"].starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(web["tls.crt"].starts_with("-----BEGIN CERTIFICATE-----"));
    let sealed = fork.read("distribution/credentials/web.web.yaml");
    assert!(sealed.contains("app: web"), "{sealed}");
    assert!(!fork.scratch.path().join("distribution/credentials/other.other.yaml").exists());
}

#[test]
fn defaults_that_were_sealed_are_named_with_what_gives_them_and_without_values() {
    let fork = Fork::new();
    fork.write("password.txt", "correct horse\n");
    let expected = "defaults, where nothing was given; to change one, give it with --rotate NAME\n  \
        email (--email): as declared, in auth/dex config.yaml\n  \
        token (the environment variable WEB_TOKEN): by chance, in web/web token\n  \
        username (--username): as declared, in web/web line\n";
    let check = fork.run(&["--password-file", "password.txt", "--check"]);
    assert!(check.assert(1).stdout.contains(expected), "{}", check.stdout);
    let first = fork.run(&["--password-file", "password.txt"]);
    assert!(first.assert(0).stdout.contains(expected), "{}", first.stdout);
    let token = fork.open("web.web")["token"].clone();
    for value in ["admin", token.as_str()] {
        assert!(!(first.stdout.clone() + &first.stderr).contains(value), "{value}: {}", first.stdout);
    }
    // What is as it was is not told again, and what is given is no default.
    assert!(!fork.run(&[]).assert(0).stdout.contains("defaults"));
    let own =
        fork.run(&["--rotate", "username", "--username", "ada", "--password-file", "password.txt", "--output", "json"]);
    let json: Value = serde_json::from_str(&own.assert(0).stdout).unwrap();
    assert_eq!(
        (&json["defaults"], json["sealed"].as_array().unwrap().len()),
        (&Value::Array(Vec::new()), 1),
        "{json:#}"
    );
    assert!(fork.open("web.web")["line"].starts_with("ada:"));
}

#[test]
fn a_second_run_changes_no_byte() {
    let fork = Fork::new();
    fork.first();
    let before = fork.state();
    for arguments in [&[][..], &["--password", "another"], &["--check"]] {
        let run = fork.run(arguments);
        run.assert(0);
        assert_eq!(run.stdout, "");
        assert_eq!(fork.state(), before);
    }
    // Also without any certificate: there is nothing to seal.
    finish(&mut fork.command(&[])).assert(0);
    assert_eq!(fork.state(), before);
}

#[test]
fn what_is_renewed_takes_along_what_depends_on_it() {
    let fork = Fork::new();
    fork.first();
    let before = fork.ciphertexts("auth.proxy");
    let run = fork.run(&["--rotate", "cookie"]);
    assert!(run.assert(0).stdout.contains("restart Deployment auth/oauth2-proxy"), "{}", run.stdout);
    let after = fork.ciphertexts("auth.proxy");
    assert_eq!(before["client"], after["client"]);
    assert_ne!(before["cookie"], after["cookie"]);

    let web = fork.ciphertexts("web.web");
    let run = fork.run(&["--rotate", "client", "--password-file", "password.txt"]);
    run.assert(0);
    let dex: Value = serde_yaml::from_str(&fork.open("auth.dex")["config.yaml"]).unwrap();
    assert_eq!(dex["staticClients"][0]["secret"], fork.open("auth.proxy")["client"].as_str());
    assert_eq!(fork.ciphertexts("web.web"), web);
    assert_eq!(fork.ciphertexts("auth.proxy")["cookie"], after["cookie"]);

    // Nobody can read the password out of the sealed file, so it is renewed too: wherever it stands.
    let run = fork.run(&["--rotate", "client", "--show-once-to", "shown.txt"]);
    assert!(run.assert(0).stderr.contains("renewed as well"), "{}", run.stderr);
    assert_ne!(fork.ciphertexts("web.web")["line"], web["line"]);
    assert_eq!(fork.ciphertexts("web.web")["fernet"], web["fernet"]);

    let run = fork.run(&["--all", "--password-file", "password.txt"]);
    assert_eq!(run.assert(0).stdout.matches("sealed anew").count(), 3, "{}", run.stdout);
    assert_eq!(run.stdout.matches("restart ").count(), 2, "{}", run.stdout);
    let run = fork.run(&["--rotate", "cooki"]);
    assert!(run.assert(2).stderr.contains("no value is called cooki; did you mean cookie?"), "{}", run.stderr);
}

#[test]
fn a_new_key_is_added_and_a_lost_file_is_no_silent_change() {
    let fork = Fork::new();
    fork.first();
    let before = fork.ciphertexts("auth.proxy");
    let declared = DECLARED
        .replace("cookie: { random: hex, bytes: 16 }", "cookie: { random: hex, bytes: 16 }\n  more: { random: fernet }")
        .replace("cookie: cookie }", "cookie: cookie, more: more }");
    fork.write("distribution/credentials.yaml", declared);
    fork.run(&[]).assert(0);
    let after = fork.ciphertexts("auth.proxy");
    assert_eq!(after.len(), 3);
    assert!(before.iter().all(|(key, value)| after[key] == *value));

    fs::remove_file(fork.scratch.path().join("distribution/credentials/auth.dex.yaml")).unwrap();
    let state = fork.state();
    let run = fork.run(&["--password-file", "password.txt"]);
    run.assert(5);
    let expected =
        "Secret auth/dex key config.yaml needs the value client, which is sealed in Secret auth/proxy key client";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    assert_eq!(fork.state(), state);
}

#[test]
fn generated_passwords_are_shown_once_to_one_person() {
    let fork = Fork::new();
    let before = fork.state();
    let run = fork.run(&[]);
    assert!(run.assert(2).stderr.contains("password would be generated"), "{}", run.stderr);
    assert_eq!(fork.state(), before);

    let run = fork.run(&["--show-once-to", "shown.txt", "--output", "json"]);
    run.assert(0);
    let shown = fork.read("shown.txt");
    let password = shown.strip_prefix("password: ").unwrap().trim_end();
    assert_eq!(password.len(), 24);
    assert!(!run.stdout.contains(password) && !run.stderr.contains(password));
    assert_eq!(fork.scratch.path().join("shown.txt").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!run.stderr.contains("lies in the repository"), "{}", run.stderr);
    fork.git(&["init", "--quiet"]);
    let run = fork.run(&["--rotate", "password", "--show-once-to", "more.txt"]);
    assert!(run.assert(0).stderr.contains("more.txt lies in the repository"), "{}", run.stderr);
    // The file is never written over.
    let state = fork.state();
    fork.run(&["--all", "--show-once-to", "shown.txt"]).assert(4);
    assert_eq!(fork.state(), state);
}

#[test]
fn plain_values_are_set_and_every_other_byte_stays() {
    let fork = Fork::new();
    fork.write("password.txt", "correct horse");
    fork.run(&["--password-file", "password.txt", "--email", "ada@example.org"]).assert(0);
    let set = PROFILE.replace("\"\"", "ada@example.org");
    assert_eq!(
        fork.read("distribution/components/web/profile.yaml").replace("\"ada@example.org\"", "ada@example.org"),
        set
    );
    // The default does not take the place of what somebody gave.
    fork.run(&[]).assert(0);
    assert!(fork.read("distribution/components/web/profile.yaml").contains("ada@example.org"));
    let run = fork.run(&["--email", "grace@example.org"]);
    assert!(run.assert(0).stdout.contains("set distribution/components/web/profile.yaml"), "{}", run.stdout);
}

#[test]
fn without_a_certificate_nothing_is_generated() {
    let fork = Fork::new();
    let before = fork.state();
    fork.write("password.txt", "correct horse");
    fork.write("broken.pem", "no certificate");
    for certificate in [&[][..], &["--cert", "none.pem"], &["--cert", "broken.pem"]] {
        let run = finish(&mut fork.command(&[certificate, &["--password-file", "password.txt"]].concat()));
        assert!(run.assert(1).stderr.contains("nothing was generated"), "{}", run.stderr);
        assert_eq!(fork.state(), before);
    }
}

#[test]
fn bad_declarations_are_named_with_file_and_path() {
    for (from, to, expected) in [
        ("random: fernet", "radnom: fernet", "distribution/credentials.yaml: values.fernet: unknown generator radnom"),
        (
            "bcrypt: password",
            "bcrypt: hash",
            "distribution/credentials.yaml: values.hash: it needs itself: hash -> hash",
        ),
        ("cookie: cookie }", "cookie: biscuit }", "secrets[1].data.cookie: no value is called biscuit"),
        ("dex/config.yaml", "dex/none.yaml", "values.dex: components/dex/none.yaml is not there"),
        ("value: email }", "value: cookie }", "files[0].value: cookie is secret"),
        (
            "environment: WEB_TOKEN, default: { random: hex, bytes: 20 }",
            "environment: WEB_TOKEN",
            "set the environment variable WEB_TOKEN",
        ),
    ] {
        let fork = Fork::new();
        assert!(DECLARED.contains(from), "{from}");
        fork.write("distribution/credentials.yaml", DECLARED.replace(from, to));
        fork.write("password.txt", "correct horse");
        let before = fork.state();
        let run = fork.run(&["--password-file", "password.txt"]);
        assert!(run.assert(1).stderr.contains(expected), "{expected} not in {}", run.stderr);
        assert_eq!(fork.state(), before);
    }
    let fork = Fork::new();
    fork.write("setup.conf", "");
    fork.write("password.txt", "correct horse");
    let run = fork.run(&["--password-file", "password.txt"]);
    assert!(run.assert(1).stderr.contains("<<__domain__>> has no value"), "{}", run.stderr);
    fork.write("distribution/credentials/auth.dex.yaml", "kind: Other\n");
    let run = fork.run(&["--password-file", "password.txt"]);
    assert!(run.assert(1).stderr.contains("distribution/credentials/auth.dex.yaml is wrong"), "{}", run.stderr);
}

#[test]
fn generated_passwords_are_shown_on_the_terminal_and_not_twice() {
    let fork = Fork::new();
    let (status, screen) = on_terminal(&mut fork.command(&["--cert", "cert.pem"]), "");
    assert_eq!(status, Some(0), "{screen}");
    let (_, shown) =
        screen.split_once("generated, and shown this once:\npassword: ").unwrap_or_else(|| panic!("{screen}"));
    let password = shown.trim_end();
    assert_eq!(password.len(), 24, "{screen}");
    assert!(fork.open("web.web")["line"].starts_with("admin:$2y$12$"));
    assert!(bcrypt_fits(password, fork.open("web.web")["line"].strip_prefix("admin:").unwrap()));
    let (status, screen) = on_terminal(&mut fork.command(&["--cert", "cert.pem"]), "");
    assert!(status == Some(0) && !screen.contains(password), "{screen}");

    // Only half of a terminal: what is shown would go into a file.
    let fork = Fork::new();
    let run = on_terminal(
        Command::new("sh")
            .current_dir(fork.scratch.path())
            .args(["-c", &format!("{} credentials --cert cert.pem > out.txt", program("gitmoor").display())]),
        "",
    );
    assert!(run.0 == Some(2) && run.1.contains("no terminal to show it on"), "{run:?}");
}

#[test]
fn no_subcommand_shows_a_value() {
    let (password, token, file) = ("canary-password-7f3a", "canary-token-91bc", "canary-in-file-55d2");
    let signs = Signs::new(&[password, token, file], &[]);
    let fork = Fork::new();
    let top = fork.scratch.path();
    let (given, shown) = (top.join("password.txt"), top.join("shown.txt"));
    fork.write("password.txt", file);
    let long = "x".repeat(80);
    let runs: Vec<(Vec<&str>, &str, i32)> = vec![
        (vec!["--check"], password, 1),
        (vec![], password, 0),
        (vec!["--output", "json"], password, 0),
        (vec!["--rotate", "password"], password, 0),
        (vec!["--rotate", "client", "--password-file", "password.txt"], password, 0),
        (vec!["--all", "--output", "json"], password, 0),
        (vec!["--all", "--show-once-to", "shown.txt"], "", 0),
        (vec!["--check", "--quiet"], password, 0),
        (vec!["--rotate", "nothing"], password, 2),
        (vec!["--rotate", "password", "--cert", "none.pem"], password, 1),
        (vec!["--rotate", "password", "--cert", "password.txt"], password, 1),
        (vec!["--password-file", "none.txt"], password, 4),
        // Too long for bcrypt, which says so.
        (vec!["--rotate", "password"], &long, 1),
        (vec!["--rotate", "client", "--email", "ada@example.org"], password, 0),
        (vec!["--distribution", "none"], password, 4),
    ];
    let seen = signs.in_processes(&["cmdline"], || {
        for (arguments, password, status) in runs {
            let certificate: &[&str] = if arguments.contains(&"--cert") { &[] } else { &["--cert", "cert.pem"] };
            let mut command = fork.command(&[certificate, &arguments].concat());
            command.env("GITMOOR_PASSWORD", password).env("WEB_TOKEN", token).env("RUST_BACKTRACE", "1");
            let run = finish(&mut command);
            run.assert(status);
            assert!(
                !signs.in_text(run.stdout.as_bytes()) && !run.stdout.contains(&long),
                "{arguments:?}: {}",
                run.stdout
            );
            assert!(
                !signs.in_text(run.stderr.as_bytes()) && !run.stderr.contains(&long),
                "{arguments:?}: {}",
                run.stderr
            );
            assert!(!run.stderr.contains("panicked"), "{arguments:?}: {}", run.stderr);
            assert_eq!(signs.in_files(top), [given.clone()].into(), "{arguments:?}");
            let left = canary::files(&top.join("tmp"));
            assert!(left.is_empty(), "{arguments:?}: {left:?}");
        }
    });
    assert_eq!(seen, BTreeSet::new());
    assert!(shown.is_file());
    assert_eq!(fork.open("web.web")["token"], token);
}

/// The distribution, with everything in it that could be selected.
fn distribution(applications: &[&str]) -> Fork {
    let fork = Fork::new();
    for file in files(&workspace().join("distribution")) {
        let name = file.strip_prefix(workspace()).unwrap().to_str().unwrap();
        fork.write(name, fs::read(&file).unwrap());
    }
    let named = applications.iter().map(|name| APPLICATION.replace("name: web", &format!("name: {name}")));
    fork.write("distribution/applications/more.yaml", named.collect::<Vec<_>>().join("---\n"));
    let selection = fork.read("distribution/kustomization.yaml") + "  - applications/more.yaml\n";
    fork.write("distribution/kustomization.yaml", selection);
    fork.write("setup.conf", fs::read(workspace().join("setup.conf.example")).unwrap());
    fork
}

#[test]
fn the_distribution_has_its_own() {
    let fork = distribution(&[]);
    let run = fork.run(&["--show-once-to", "shown.txt"]);
    assert!(run.assert(0).stderr.contains("monitoring/grafana-admin (grafana)"), "{}", run.stderr);
    let mlflow = fork.open("mlflow.mlflow-secret");
    assert_eq!(mlflow["RDS_USERNAME"], "mlflow_admin");
    let shown = fork.read("shown.txt");
    assert!(shown.contains(&format!("mlflow-db-password: {}\n", mlflow["RDS_PASSWORD"])), "another one is shown");
    let login = fork.open("mlflow.mlflow-login");
    let password = shown.lines().find_map(|line| line.strip_prefix("password: ")).unwrap();
    assert!(bcrypt_fits(password, login["users"].trim_end().strip_prefix("admin:").unwrap()));
    // oauth2-proxy takes 32 bytes in base64.
    assert_eq!(login["cookie-secret"].len(), 43);
    let sealed = canary::files(&fork.scratch.path().join("distribution/credentials"));
    assert_eq!(sealed.len(), 4, "more than README.md, gitmoor and mlflow's two: {sealed:?}");
    let run = finish(fork.command(&["--check"]).arg("--quiet"));
    assert_eq!(run.assert(0).stdout, "");
}

#[test]
fn every_component_gets_what_it_needs_once_it_is_selected() {
    let all = ["gitmoor", "grafana", "airflow", "jupyterhub", "oauth2-proxy", "dex", "keycloak"];
    let fork = distribution(&all);
    fork.write("password.txt", "correct horse");
    let given = ["--password-file", "password.txt", "--email", "ada@example.org", "--username", "ada"];
    let named = ["--firstname", "Ada", "--lastname", "Lovelace", "--show-once-to", "shown.txt"];
    let run = fork.run(&[&given[..], &named].concat());
    run.assert(0);
    let webhook = &fork.open("gitmoor.gitmoor-webhook")["secret"];
    assert!(fork.read("shown.txt").contains(&format!("webhook-secret: {webhook}\n")));
    let grafana = fork.open("monitoring.grafana-admin");
    assert_eq!((grafana["admin-user"].as_str(), grafana["admin-password"].as_str()), ("ada", "correct horse"));
    let airflow = fork.open("airflow.airflow-keys");
    let lengths: Vec<usize> = ["fernet-key", "api-secret-key", "jwt-secret"].map(|key| airflow[key].len()).into();
    assert_eq!(lengths, [44, 64, 64]);
    let hub = fork.open("jupyterhub.jupyterhub-secrets");
    assert_eq!(hub.values().map(String::len).collect::<Vec<_>>(), [64, 64, 64, 64]);

    let proxy = fork.open("auth.oauth2-proxy");
    // 32 bytes in base64 make a key for AES-256.
    assert_eq!(proxy["cookie-secret"].len(), 43);
    let dex: Value = serde_yaml::from_str(&fork.open("auth.dex-config")["config.yaml"]).unwrap();
    assert_eq!(dex["staticClients"][0]["secret"], proxy["client-secret"].as_str());
    assert_eq!(dex["staticClients"][0]["id"], proxy["client-id"].as_str());
    assert!(bcrypt_fits("correct horse", dex["staticPasswords"][0]["hash"].as_str().unwrap()));
    assert_eq!(dex["issuer"], "https://auth.platform.example.com/dex");
    let realm: Value = serde_json::from_str(&fork.open("auth.keycloak-realm")["realm.json"]).unwrap();
    assert_eq!(realm["clients"][0]["secret"], proxy["client-secret"].as_str());
    assert_eq!((&realm["users"][0]["username"], &realm["users"][0]["lastName"]), (&"ada".into(), &"Lovelace".into()));
    let keycloak = fork.open("auth.keycloak-secret");
    assert_eq!(keycloak["database-password"], fork.open("auth.keycloak-postgresql")["postgresql-password"]);
    assert_eq!(keycloak["admin-password"], "correct horse");

    let before = fork.state();
    fork.run(&[]).assert(0);
    assert_eq!(fork.state(), before);

    fork.write("distribution/kustomization.yaml", "resources: [applications/mlflow.yaml]\n");
    let run = fork.run(&["--rotate", "airflow-fernet-key"]);
    assert!(run.assert(0).stderr.contains("no Secret that is selected holds airflow-fernet-key"), "{}", run.stderr);
}

/// As the C library, and with it most programs that read such hashes, checks them.
fn bcrypt_fits(password: &str, hash: &str) -> bool {
    let output = Command::new("perl").args(["-e", "print crypt($ARGV[0], $ARGV[1])", password, hash]).output().unwrap();
    String::from_utf8_lossy(&output.stdout) == hash
}

//! `gitmoor seal`, run as a user runs it, and beside the real kubeseal.

mod bad_input;
mod canary;
mod certificates;
mod edit;
mod kubeseal;

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use gitmoor_tests::harness::program;
use gitmoor_tests::harness::run::Run;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::sealed_secrets::SealingPair;
use serde_json::Value;

/// Pairs are slow to make: two for all tests.
static PAIRS: LazyLock<[SealingPair; 2]> =
    LazyLock::new(|| [SealingPair::new((2020, 2050)), SealingPair::new((2021, 2051))]);

const SECRETS: &str = "# two of them\napiVersion: v1\nkind: Secret\nmetadata:\n  name: app\n  namespace: db\n  labels: {a: b}\n\
    type: Opaque\nstringData:\n  password: hunter2\n  mode: \"0644\"\n---\napiVersion: v1\nkind: Secret\n\
    metadata:\n  name: wide\n  namespace: db\n  annotations:\n    sealedsecrets.bitnami.com/cluster-wide: \"true\"\n\
    immutable: true\ndata:\n  binary: AP/+\n";

/// A repository with a sealing certificate, and the private key beside it.
struct Repository {
    scratch: Scratch,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { scratch: Scratch::new("seal") };
        repository.scratch.folder(".git");
        repository.scratch.write(".gitmoor/sealing-cert.pem", &PAIRS[0].certificate);
        for (index, pair) in PAIRS.iter().enumerate() {
            repository.scratch.write(&format!("{index}.crt"), &pair.certificate);
            repository.scratch.write(&format!("{index}.key"), &pair.key);
        }
        repository.scratch.write("secrets.yaml", SECRETS);
        repository
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        self.scratch.write(name, text);
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn seal(&self, arguments: &[&str]) -> Run {
        self.pipe(arguments, "")
    }

    fn pipe(&self, arguments: &[&str], stdin: impl AsRef<[u8]>) -> Run {
        let arguments = [&["seal"], arguments].concat();
        Run::of(&program("gitmoor"), self.scratch.path(), &[], &arguments, stdin.as_ref())
    }

    /// The Secrets in a sealed text, in clear.
    fn open(&self, sealed: &str) -> Vec<Value> {
        let run = self.pipe(&["--recovery-unseal", "--recovery-private-key=0.key,1.key"], sealed);
        objects(&run.assert(0).stdout)
    }
}

fn objects(text: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(text).into_iter().map(Result::unwrap).collect()
}

#[test]
fn many_documents_of_yaml_json_and_lists_are_sealed() {
    let repository = Repository::new();
    let expected = repository.open(&repository.pipe(&[], SECRETS).assert(0).stdout);
    assert_eq!(expected[0]["data"]["mode"], "MDY0NA==");
    assert_eq!(expected[1]["data"]["binary"], "AP/+");
    assert_eq!((&expected[1]["immutable"], &expected[0]["type"]), (&Value::Bool(true), &Value::from("Opaque")));
    assert_eq!(expected[0]["metadata"]["labels"]["a"], "b");

    let json: String = expected.iter().map(|object| format!("{object}\n")).collect();
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": expected }).to_string();
    for input in [json, list] {
        for flags in [&[][..], &["--format", "yaml"], &["-o", "JSON"], &["--scope", ""]] {
            let sealed = repository.pipe(flags, &input);
            assert!(!sealed.assert(0).stdout.contains("hunter2"));
            assert_eq!(repository.open(&sealed.stdout), expected, "{flags:?}");
        }
    }
    let one = repository.pipe(&["--output", "json"], SECRETS).assert(0).json();
    assert_eq!(one["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_file_is_written_once_all_is_sealed_and_stays_when_nothing_changed() {
    let repository = Repository::new();
    repository.seal(&["-f", "secrets.yaml", "-w", "sealed.yaml"]).assert(0);
    let first = repository.read("sealed.yaml");
    assert!(first.starts_with("---\napiVersion: bitnami.com/v1alpha1\n"));
    repository.seal(&["-f", "secrets.yaml", "-w", "sealed.yaml", "--recovery-private-key=0.key"]).assert(0);
    assert_eq!(repository.read("sealed.yaml"), first);

    repository.write("secrets.yaml", SECRETS.replace("hunter2", "hunter3"));
    repository.seal(&["-f", "secrets.yaml", "-w", "sealed.yaml", "--recovery-private-key=0.key"]).assert(0);
    let second = repository.read("sealed.yaml");
    let changed = |line: &&str| !first.lines().any(|old| old == *line);
    let lines: Vec<&str> = second.lines().filter(changed).map(|line| line.trim().split(':').next().unwrap()).collect();
    assert!(lines == ["password"] || lines == ["gitmoor.dev/sealed-at", "password"], "{lines:?}");

    repository.seal(&["-f", "secrets.yaml", "-w", "sealed.yaml"]).assert(0);
    assert_eq!(
        repository.read("sealed.yaml").lines().filter(changed).filter(|line| line.contains("binary: ")).count(),
        1
    );
    repository.write("secrets.yaml", format!("{SECRETS}---\nkind: ConfigMap\n"));
    let before = repository.read("sealed.yaml");
    repository.seal(&["-f", "secrets.yaml", "-w", "sealed.yaml"]).assert(1);
    assert_eq!(repository.read("sealed.yaml"), before);
}

#[test]
fn status_says_which_key_sealed_which_file() {
    let repository = Repository::new();
    repository.seal(&["-f", "secrets.yaml", "-w", "a/sealed.yaml"]).assert(4);
    repository.scratch.folder("a");
    repository.seal(&["-f", "secrets.yaml", "-w", "a/sealed.yaml"]).assert(0);
    let rows = |run: &Run| -> Vec<(String, String, String)> {
        let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
        let rows = run.json()["sealedSecrets"].as_array().unwrap().clone();
        rows.iter().map(|row| (text(row, "name"), text(row, "scope"), text(row, "state"))).collect()
    };
    let row = |name: &str, scope: &str, state: &str| (name.to_owned(), scope.to_owned(), state.to_owned());
    let run = repository.seal(&["status", "--output=json"]);
    assert_eq!(rows(run.assert(0)), [row("app", "strict", "current"), row("wide", "cluster-wide", "current")]);

    repository.seal(&["--pin-cert", "--cert=1.crt"]).assert(0);
    assert_eq!(repository.read(".gitmoor/sealing-cert.pem"), PAIRS[1].certificate.replace("\r\n", "\n"));
    let run = repository.seal(&["status", "a", "--output=json"]);
    assert_eq!(rows(run.assert(1)), [row("app", "strict", "other-key"), row("wide", "cluster-wide", "other-key")]);

    repository.seal(&["--re-encrypt", "-f", "a/sealed.yaml", "--recovery-private-key=0.key"]).assert(0);
    let run = repository.seal(&["status", "a/sealed.yaml", "--output=json"]);
    assert_eq!(rows(run.assert(0)), [row("app", "strict", "current"), row("wide", "cluster-wide", "current")]);
    let run = repository.seal(&["status"]);
    assert!(run.assert(0).stdout.contains("db/wide"), "{}", run.stdout);

    repository.write("a/bad.yaml", "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\n  metadata: {{ .Values }}\n");
    let run = repository.seal(&["status"]);
    assert!(run.assert(1).stderr.contains("a/bad.yaml"), "{}", run.stderr);
    fs::remove_file(repository.path("a/bad.yaml")).unwrap();
    fs::remove_dir_all(repository.path(".gitmoor")).unwrap();
    let run = repository.seal(&["status"]);
    assert!(run.assert(0).stdout.contains("no certificate is pinned"), "{}", run.stdout);
}

#[test]
fn unsealed_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let repository = Repository::new();
    repository.seal(&["-f", "secrets.yaml", "-w", "sealed.json"]).assert(0);
    let open = ["--recovery-unseal", "--recovery-private-key=0.key", "-f", "sealed.json", "-w", "clear.yaml"];
    repository.seal(&open).assert(0);
    let mode = |name: &str| fs::metadata(repository.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("clear.yaml"), mode("sealed.json")), (0o600, 0o644));
    repository.seal(&["-f", "clear.yaml", "-w", "again.yaml", "--recovery-private-key=0.key"]).assert(0);
}

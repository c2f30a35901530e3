//! Secrets appear where they were asked for, and nowhere else.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use gitmoor_tests::harness::program;

use super::{PAIRS, Repository};
use crate::canary::{Signs, files};

const CANARY: &str = "cAnArY-of-the-test-0123456789";

/// The value, and a part of the private key.
fn signs() -> Signs {
    Signs::new(&[CANARY], &[PAIRS[0].key.lines().nth(3).unwrap()])
}

/// Runs it with a temporary folder of its own, and gives what it wrote to standard output.
fn run(repository: &Repository, arguments: &[&str], stdin: &str) -> (Option<i32>, Vec<u8>) {
    let temporary = repository.scratch.folder("tmp");
    let mut child = Command::new(program("gitmoor"))
        .env_clear()
        .env("TMPDIR", &temporary)
        .env("RUST_BACKTRACE", "1")
        .current_dir(repository.scratch.path())
        .args([&["seal"], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that fails early does not read.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!signs().in_text(&output.stderr), "{arguments:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    assert_eq!(files(&temporary), [] as [PathBuf; 0], "{arguments:?}");
    (output.status.code(), output.stdout)
}

#[test]
fn no_subcommand_shows_a_value() {
    let repository = Repository::new();
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: app\n  namespace: db\n  annotations:\n    \
         kubectl.kubernetes.io/last-applied-configuration: '{{\"data\":\"{CANARY}\"}}'\nstringData: {{a: {CANARY}}}\n"
    );
    repository.write("value", CANARY);
    let signs = signs();
    let seen = signs.in_processes(&["cmdline", "environ"], || {
        for (arguments, stdin, status) in commands(&secret) {
            let before: BTreeSet<PathBuf> = files(repository.scratch.path()).into_iter().collect();
            let (ended, stdout) = run(&repository, &arguments, &stdin);
            assert_eq!(ended, Some(status), "{arguments:?}");
            let opens = arguments.contains(&"--recovery-unseal");
            assert!(opens == signs.in_text(&stdout), "{arguments:?}: {}", String::from_utf8_lossy(&stdout));
            for file in files(repository.scratch.path()).into_iter().filter(|file| !before.contains(file)) {
                assert!(!signs.in_text(&fs::read(&file).unwrap()), "{arguments:?}: {}", file.display());
            }
        }
    });
    assert_eq!(seen, BTreeSet::new());
}

/// Every subcommand, also with input that makes it fail, with what it reads and how it ends.
fn commands(secret: &str) -> Vec<(Vec<&'static str>, String, i32)> {
    let keys = "--recovery-private-key=0.key";
    let list = format!("kind: List\napiVersion: v1\nitems: [{CANARY}]\n");
    let broken = secret.replace(&format!("stringData: {{a: {CANARY}}}"), &format!("data: {{a: \"!{CANARY}\"}}"));
    let number = secret.replace(&format!("{{a: {CANARY}}}"), &format!("[{CANARY}]"));
    let unfinished = format!("{secret}  bad: [\"{CANARY}\n");
    vec![
        (vec!["-w", "sealed.yaml"], secret.to_owned(), 0),
        (vec![], secret.to_owned(), 0),
        (vec!["--format=yaml", "--output=text"], secret.to_owned(), 0),
        (vec!["--output=json"], secret.to_owned(), 0),
        (vec!["-w", "sealed.yaml", keys], secret.to_owned(), 0),
        (vec!["--raw", "--name=app", "--namespace=db"], CANARY.to_owned(), 0),
        (vec!["--raw", "--name=app", "--namespace=db", "--from-file=value"], String::new(), 0),
        (vec!["--raw"], CANARY.to_owned(), 1),
        (vec!["--merge-into=sealed.yaml"], secret.to_owned(), 0),
        (vec!["--merge-into=sealed.yaml", "-n", "other"], secret.to_owned(), 1),
        (vec!["edit", "sealed.yaml", "a"], CANARY.to_owned(), 0),
        (vec!["edit", "sealed.yaml", "a", keys], CANARY.to_owned(), 0),
        (vec!["edit", "sealed.yaml", "--from-file=b=value"], String::new(), 0),
        (vec!["edit", "sealed.yaml", "a b"], CANARY.to_owned(), 1),
        (vec!["--re-encrypt", "-f", "sealed.yaml", keys, "--cert=0.crt"], String::new(), 0),
        (vec!["--validate", "-f", "sealed.yaml", keys], String::new(), 0),
        (vec!["--validate", "-f", "sealed.yaml", "--recovery-private-key=1.key"], String::new(), 1),
        (vec!["--recovery-unseal", "-f", "sealed.yaml", keys], String::new(), 0),
        (vec!["status"], String::new(), 0),
        (vec!["status", "--output=json"], String::new(), 0),
        (vec!["--pin-cert", "--cert=0.crt"], String::new(), 0),
        (vec!["--pin-cert", "--cert=0.key"], String::new(), 1),
        (vec!["--fetch-cert", "--cert=1.crt"], String::new(), 0),
        (vec![], broken.clone(), 1),
        (vec!["--output=json"], broken, 1),
        (vec![], number, 1),
        (vec![], list, 1),
        (vec![], unfinished.clone(), 1),
        (vec!["--validate", keys], unfinished, 1),
        (vec!["--recovery-private-key=value"], secret.to_owned(), 1),
        (vec!["-n", "other"], secret.to_owned(), 1),
    ]
}

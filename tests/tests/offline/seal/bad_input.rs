//! What is wrong is named with file and path, and nothing is written.

use std::fs;

use gitmoor_tests::harness::program;
use gitmoor_tests::harness::run::Run;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::Repository;

fn secret(rest: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: app, namespace: db}}\n{rest}\n")
}

#[test]
fn secrets_that_are_none() {
    let repository = Repository::new();
    let no_namespace = "apiVersion: v1\nkind: Secret\nmetadata: {name: app}\nstringData: {a: canary}\n";
    for (input, expected) in [
        (String::new(), "no Secret in standard input"),
        (
            "kind: ConfigMap\napiVersion: v1\ndata: {a: canary}\n".to_owned(),
            "standard input:1: not a Secret: v1 ConfigMap",
        ),
        ("- canary\n".to_owned(), "standard input:1: not a Secret: no mapping"),
        ("canary: [\n".to_owned(), "standard input: document 1, line"),
        (secret("data: {a: \"canary!\"}"), "standard input:1: Secret db/app: data.a is not base64"),
        (secret("stringData: {a: 12345678}"), "Secret db/app: stringData.a is not a string; quote it"),
        (secret("stringData: {\"a b\": canary}"), "stringData.a b may have letters"),
        (secret("stringdata: {a: canary}"), "stringdata is no field of a Secret"),
        (secret(""), "Secret db/app: neither data nor stringData holds a value"),
        ("apiVersion: v1\nkind: Secret\nstringData: {a: canary}\n".to_owned(), "metadata.name is missing"),
        (no_namespace.to_owned(), "Secret app: metadata.namespace is missing, and the scope strict is bound to it"),
        (format!("{}---\n{}", secret("data: {a: '!'}"), secret("data: {b: '!'}")), "has 2 errors"),
    ] {
        let run = repository.pipe(&["-w", "out.yaml"], &input);
        assert!(run.assert(1).stderr.contains(expected), "{input}: {}", run.stderr);
        assert!(
            !format!("{}{}", run.stdout, run.stderr).contains("canary") || input.starts_with("canary"),
            "{}",
            run.stderr
        );
        assert!(!repository.path("out.yaml").exists());
    }
    let wide = repository.pipe(&["--scope=cluster-wide"], no_namespace);
    wide.assert(0);
    repository.pipe(&["--allow-empty-data"], secret("")).assert(0);
    repository.pipe(&["-n", "db"], no_namespace).assert(0);
    repository.pipe(&["-n", "db", "--name", "x"], "apiVersion: v1\nkind: Secret\nstringData: {a: x}\n").assert(0);

    let run = repository.pipe(&["-n", "other"], secret("stringData: {a: x}"));
    assert!(run.assert(1).stderr.contains("it is in namespace db, but other was asked for"), "{}", run.stderr);
    let run = repository.pipe(&[], b"\xff\xfe");
    assert!(run.assert(1).stderr.contains("standard input is not UTF-8"), "{}", run.stderr);
    let failure = repository.pipe(&["--output=json"], "").assert(1).json();
    assert_eq!(failure["error"]["kind"], "rejected");
}

#[test]
fn certificates_that_are_none() {
    let repository = Repository::new();
    let elliptic = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    repository.write("elliptic", CertificateParams::default().self_signed(&elliptic).unwrap().pem());
    repository.write("text", "hello");
    repository.write("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    repository.write("binary", b"\xff\xfe\x00");
    for (file, status, expected) in [
        ("elliptic", 1, "no certificate in it has an RSA key"),
        ("text", 1, "no certificate in it: PEM"),
        ("binary", 1, "no certificate in it: PEM"),
        ("0.key", 1, "no certificate in it: PEM"),
        ("broken", 1, "certificate 1 cannot be read"),
        ("missing", 1, "cannot read the certificate missing"),
        ("http://127.0.0.1:1/", 4, "cannot fetch http://127.0.0.1:1/"),
    ] {
        for flags in [&["--cert", file, "-f", "secrets.yaml", "-w", "out"][..], &["--cert", file, "--pin-cert"]] {
            let pinned = repository.read(".gitmoor/sealing-cert.pem");
            let run = repository.seal(flags);
            assert!(run.assert(status).stderr.contains(expected), "{}", run.stderr);
            assert!(!repository.path("out").exists());
            assert_eq!(repository.read(".gitmoor/sealing-cert.pem"), pinned);
        }
    }
    fs::remove_dir_all(repository.path(".gitmoor")).unwrap();
    let run = repository.seal(&["-f", "secrets.yaml"]);
    assert!(run.assert(4).stderr.contains("cannot reach the sealed-secrets controller"), "{}", run.stderr);
    assert!(run.stderr.contains("--pin-cert"), "{}", run.stderr);
}

#[test]
fn private_keys_that_are_none() {
    let repository = Repository::new();
    repository.seal(&["-f", "secrets.yaml", "-w", "sealed.yaml"]).assert(0);
    repository.write("text", "hello");
    repository.write("secret", "apiVersion: v1\nkind: Secret\nmetadata: {name: k}\ndata: {tls.crt: aGk=}\n");
    repository.write("map", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: k}\n");
    for (file, status, expected) in [
        ("text", 1, "no private key in text"),
        ("map", 1, "no private key in map"),
        ("secret", 1, "its data has no tls.key"),
        ("0.crt", 1, "no private key in it: PEM"),
        ("missing", 4, "cannot read missing"),
        ("1.key", 1, "SealedSecret db/app: spec.encryptedData.mode cannot be opened"),
    ] {
        let run = repository.seal(&["--recovery-unseal", "--recovery-private-key", file, "-f", "sealed.yaml"]);
        assert!(run.assert(status).stderr.contains(expected), "{file}: {}", run.stderr);
        assert!(run.stdout.is_empty());
    }
    let old =
        "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: a, namespace: b}\nspec: {data: AAAA}\n";
    let run = repository.pipe(&["--recovery-unseal", "--recovery-private-key=0.key"], old);
    assert!(run.assert(1).stderr.contains("the old form with one blob"), "{}", run.stderr);
}

#[test]
fn command_lines_that_make_no_sense() {
    let repository = Repository::new();
    for arguments in [
        &["--from-file=a=b"][..],
        &["--raw", "--validate"],
        &["--recovery-unseal"],
        &["--scope=everywhere"],
        &["--merge-into=a", "-w", "b"],
        &["edit", "file"],
        &["edit", "file", "a", "--from-file=b"],
        &["--raw", "status"],
        &["--format=toml"],
    ] {
        repository.seal(arguments).assert(2);
    }
    let help = Run::of(&program("gitmoor"), repository.scratch.path(), &[], &["seal", "--help"], b"");
    for flag in [
        "--cert",
        "--fetch-cert",
        "--controller-name",
        "--controller-namespace",
        "--scope",
        "--format",
        "--raw",
        "--from-file",
        "--name",
        "--namespace",
        "--merge-into",
        "--validate",
        "--re-encrypt",
        "--recovery-unseal",
        "--recovery-private-key",
        "--secret-file",
        "--sealed-secret-file",
        "--allow-empty-data",
        "--pin-cert",
        "--kubeconfig",
        "--context",
    ] {
        assert!(help.assert(0).stdout.contains(flag), "{flag}");
    }
}

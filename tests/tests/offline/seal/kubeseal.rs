//! Beside the real kubeseal: each opens what the other seals, and flags mean the same.

use gitmoor_tests::harness::run::Run;
use gitmoor_tests::harness::sealed_secrets::kubeseal;
use serde_json::Value;

use super::{Repository, SECRETS, objects};

impl Repository {
    fn kubeseal(&self, arguments: &[&str], stdin: &str) -> Run {
        // It looks for a home folder, and for a kubeconfig in it.
        let home = self.scratch.path().to_str().unwrap();
        Run::of(&kubeseal(), self.scratch.path(), &[("HOME", home)], arguments, stdin.as_bytes())
    }
}

const OPEN: [&str; 2] = ["--recovery-unseal", "--recovery-private-key=0.key"];

#[test]
fn each_opens_what_the_other_seals_in_every_scope() {
    let repository = Repository::new();
    for scope in ["strict", "namespace-wide", "cluster-wide"] {
        let flags = ["--cert=0.crt", "--scope", scope];
        let (first, _) = SECRETS.split_once("---\n").unwrap();
        let ours = repository.pipe(&flags, first).assert(0).stdout.clone();
        let theirs = repository.kubeseal(&flags, first).assert(0).stdout.clone();
        let opened = repository.kubeseal(&OPEN, &ours).assert(0).json();
        assert_eq!(opened["data"], repository.kubeseal(&OPEN, &theirs).assert(0).json()["data"], "{scope}");
        for sealed in [&ours, &theirs] {
            let again = repository.pipe(&OPEN, sealed).assert(0).json();
            for field in ["data", "type", "immutable"] {
                assert_eq!(again[field], opened[field], "{scope} {field}");
            }
            assert_eq!(again["metadata"]["labels"], opened["metadata"]["labels"]);
        }
    }
}

/// Everything but ciphertexts and our own annotations.
fn shape(mut sealed: Value) -> Value {
    if let Some(annotations) = sealed["metadata"]["annotations"].as_object_mut() {
        annotations.retain(|name, _| !name.starts_with("gitmoor.dev/"));
        if annotations.is_empty() {
            sealed["metadata"].as_object_mut().unwrap().remove("annotations");
        }
    }
    for path in ["/metadata", "/spec/template/metadata"] {
        let map = sealed.pointer_mut(path).and_then(Value::as_object_mut).unwrap();
        map.retain(|_, value| !value.is_null());
    }
    for value in sealed["spec"]["encryptedData"].as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
        *value = Value::from("sealed");
    }
    sealed
}

#[test]
fn the_form_is_kubeseals() {
    let repository = Repository::new();
    for flags in
        [&[][..], &["--scope=namespace-wide"], &["--scope=cluster-wide"], &["--name=other"], &["--namespace=db"]]
    {
        let flags = [&["--cert=0.crt"], flags].concat();
        let ours: Vec<Value> = objects(&repository.pipe(&flags, SECRETS).assert(0).stdout);
        let theirs: Vec<Value> = objects(&repository.kubeseal(&flags, SECRETS).assert(0).stdout);
        assert_eq!(ours.len(), 2);
        for (ours, theirs) in ours.into_iter().zip(theirs) {
            assert_eq!(shape(ours), shape(theirs), "{flags:?}");
        }
    }
}

#[test]
fn raw_values_fit_into_each_others_files() {
    let repository = Repository::new();
    repository.write("value", b"raw\0value");
    for (scope, flags) in [
        ("strict", &["--name=app", "--namespace=db"][..]),
        ("namespace-wide", &["--namespace=db"]),
        ("cluster-wide", &[]),
    ] {
        let seal = ["--cert=0.crt", "--scope", scope];
        let raw = [&seal, &["--raw", "--from-file=key=value"][..], flags].concat();
        let ours = repository.pipe(&raw, "").assert(0).stdout.clone();
        let theirs = repository.kubeseal(&raw, "").assert(0).stdout.clone();
        assert!(!ours.ends_with('\n') && ours.len() == theirs.len());
        let (first, _) = SECRETS.split_once("---\n").unwrap();
        let mut sealed = repository.kubeseal(&seal, first).assert(0).json();
        sealed["spec"]["encryptedData"]["ours"] = Value::from(ours);
        sealed["spec"]["encryptedData"]["theirs"] = Value::from(theirs);
        for opened in [repository.kubeseal(&OPEN, &sealed.to_string()), repository.pipe(&OPEN, sealed.to_string())] {
            let data = &opened.assert(0).json()["data"];
            assert_eq!((&data["ours"], &data["theirs"]), (&"cmF3AHZhbHVl".into(), &"cmF3AHZhbHVl".into()), "{scope}");
        }
    }
    for (flags, expected) in [
        (&["--raw"][..], "needs --namespace"),
        (&["--raw", "--namespace=db"], "needs --name"),
        (&["--raw", "--scope=namespace-wide"], "needs --namespace"),
    ] {
        let run = repository.pipe(flags, "value");
        assert!(run.assert(1).stderr.contains(expected), "{}", run.stderr);
    }
}

#[test]
fn kubeseal_merges_into_what_gitmoor_sealed_and_the_other_way_round() {
    let repository = Repository::new();
    let (first, _) = SECRETS.split_once("---\n").unwrap();
    let more = "apiVersion: v1\nkind: Secret\nmetadata: {name: app, namespace: db}\nstringData: {more: value}\n";
    repository.pipe(&["-w", "ours.json"], first).assert(0);
    repository.kubeseal(&["--cert=0.crt", "--merge-into=ours.json"], more).assert(0);
    repository.kubeseal(&["--cert=0.crt", "-w", "theirs.yaml"], first).assert(0);
    repository.pipe(&["--merge-into=theirs.yaml"], more).assert(0);
    for file in ["ours.json", "theirs.yaml"] {
        let opened = repository.open(&repository.read(file));
        assert_eq!(
            (&opened[0]["data"]["more"], &opened[0]["data"]["password"]),
            (&"dmFsdWU=".into(), &"aHVudGVyMg==".into())
        );
    }
}

#[test]
fn keys_come_from_secrets_of_the_controller_too() {
    let repository = Repository::new();
    let sealed = repository.pipe(&[], SECRETS).assert(0).stdout.clone();
    let pairs: Vec<Value> = super::PAIRS.iter().map(|pair| pair.secret("kube-system", "key")).collect();
    repository.write("one.json", pairs[0].to_string());
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": [pairs[1], pairs[0]] });
    repository.write("list.yaml", serde_yaml::to_string(&list).unwrap());
    for file in ["one.json", "list.yaml"] {
        let flag = format!("--recovery-private-key={file}");
        assert_eq!(objects(&repository.pipe(&["--recovery-unseal", &flag], &sealed).assert(0).stdout).len(), 2);
    }
}

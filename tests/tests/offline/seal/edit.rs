//! `gitmoor seal edit` and `--merge-into`: what is not asked for stays.

use super::Repository;

/// The lines of `after` that are not in `before`, by their first word.
fn changed(before: &str, after: &str) -> Vec<String> {
    let new = after.lines().filter(|line| !before.lines().any(|old| old == *line));
    new.map(|line| line.trim().split(':').next().unwrap().trim_matches('"').to_owned())
        .filter(|word| word != "gitmoor.dev/sealed-at")
        .collect()
}

#[test]
fn one_value_changes_and_the_rest_of_the_file_stays() {
    let repository = Repository::new();
    repository.seal(&["-f", "secrets.yaml", "-w", "sealed.yaml"]).assert(0);
    let before = repository.read("sealed.yaml").replace("  name: app\n", "  name: app # the application\n");
    repository.write("sealed.yaml", &before);
    repository.pipe(&["edit", "sealed.yaml", "--name=app", "password"], "new\0\u{ff}").assert(0);
    let after = repository.read("sealed.yaml");
    assert_eq!(changed(&before, &after), ["password"]);
    assert_eq!(after.lines().count(), before.lines().count());
    let opened = repository.open(&after);
    assert_eq!((&opened[0]["data"]["password"], &opened[1]["data"]["binary"]), (&"bmV3AMO/".into(), &"AP/+".into()));

    repository.write("value", "from a file");
    let empty = repository.pipe(&["edit", "sealed.yaml", "--name=app", "password"], "");
    assert!(empty.assert(1).stderr.contains("standard input has no value for password"), "{empty:?}");
    let run = repository.seal(&["edit", "sealed.yaml", "--name=wide", "--from-file=more=value", "binary=visible"]);
    assert!(run.assert(0).stderr.contains("shows in process lists"), "{}", run.stderr);
    let opened = repository.open(&repository.read("sealed.yaml"));
    assert_eq!(
        (&opened[1]["data"]["more"], &opened[1]["data"]["binary"]),
        (&"ZnJvbSBhIGZpbGU=".into(), &"dmlzaWJsZQ==".into())
    );
}

#[test]
fn an_unchanged_value_keeps_its_ciphertext_where_the_key_is_at_hand() {
    let repository = Repository::new();
    repository.seal(&["-f", "secrets.yaml", "-w", "sealed.yaml"]).assert(0);
    let before = repository.read("sealed.yaml");
    let run =
        repository.pipe(&["edit", "sealed.yaml", "--name=app", "password", "--recovery-private-key=0.key"], "hunter2");
    assert!(run.assert(0).stderr.contains("unchanged"), "{}", run.stderr);
    assert_eq!(repository.read("sealed.yaml"), before);
    repository.pipe(&["edit", "sealed.yaml", "--name=app", "password", "--cert=1.crt"], "hunter2").assert(0);
    let after = repository.read("sealed.yaml");
    assert_eq!(changed(&before, &after), ["gitmoor.dev/sealed-with", "password"]);
    assert!(after.contains("=SHA256:"), "values have keys of their own");
}

#[test]
fn json_stays_json_and_files_without_our_annotations_get_them() {
    let repository = Repository::new();
    repository.write("one.json", SINGLE_JSON);
    let sealed = repository.seal(&["-f", "one.json"]).assert(0).json();
    let mut plain = sealed.clone();
    plain["metadata"].as_object_mut().unwrap().remove("annotations");
    repository.write("sealed.json", format!("{plain:#}\n"));
    repository.pipe(&["edit", "sealed.json", "added"], "value").assert(0);
    let edited: serde_json::Value = serde_json::from_str(&repository.read("sealed.json")).unwrap();
    assert_eq!(edited["spec"]["encryptedData"]["a"], sealed["spec"]["encryptedData"]["a"]);
    let noted = edited["metadata"]["annotations"]["gitmoor.dev/sealed-with"].as_str().unwrap();
    assert!(noted.starts_with("added=SHA256:"), "{noted}");
    assert_eq!(repository.open(&edited.to_string())[0]["data"]["added"], "dmFsdWU=");
}

const SINGLE_JSON: &str =
    r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"app","namespace":"db"},"stringData":{"a":"b"}}"#;

#[test]
fn what_cannot_be_edited_is_refused() {
    let repository = Repository::new();
    repository.seal(&["-f", "secrets.yaml", "-w", "sealed.yaml"]).assert(0);
    let before = repository.read("sealed.yaml");
    for (arguments, status, expected) in [
        (&["edit", "sealed.yaml", "a=b"][..], 1, "holds several SealedSecrets: db/app, db/wide"),
        (&["edit", "sealed.yaml", "a=b", "--name=nobody"], 1, "no such SealedSecret in sealed.yaml"),
        (&["edit", "sealed.yaml", "a b=c", "--name=app"], 1, "a b may have letters"),
        (&["edit", "secrets.yaml", "a=b"], 1, "no such SealedSecret in secrets.yaml"),
        (&["edit", "missing", "a=b"], 4, "cannot read missing"),
        (&["edit", "sealed.yaml", "a", "b", "--name=app"], 2, "only one value can come from standard input"),
    ] {
        let run = repository.seal(arguments);
        assert!(run.assert(status).stderr.contains(expected), "{}", run.stderr);
        assert_eq!(repository.read("sealed.yaml"), before);
    }
}

#[test]
fn values_are_merged_under_the_name_and_scope_of_the_file() {
    let repository = Repository::new();
    let (first, second) = super::SECRETS.split_once("---\n").unwrap();
    repository.pipe(&["-w", "app.yaml"], first).assert(0);
    repository.pipe(&["-w", "wide.json"], second).assert(0);
    let more = "apiVersion: v1\nkind: Secret\nmetadata: {name: any, labels: {x: z}}\nstringData: {more: value}\n";
    for file in ["app.yaml", "wide.json"] {
        repository.pipe(&["--merge-into", file], more).assert(0);
        let merged = repository.read(file);
        let opened = repository.open(&merged);
        assert_eq!(
            (&opened[0]["data"]["more"], &opened[0]["metadata"]["labels"]["x"]),
            (&"dmFsdWU=".into(), &"z".into())
        );
        assert_eq!(merged.starts_with('{'), file == "wide.json");
    }
    let elsewhere = more.replace("name: any", "name: any, namespace: other");
    for (flags, input, expected) in [
        (&["--merge-into=app.yaml"][..], elsewhere.as_str(), "it is in namespace db, but other was asked for"),
        (
            &["--merge-into=app.yaml", "--scope=cluster-wide"],
            more,
            "app.yaml is strict, and cannot take values that are cluster-wide",
        ),
        (&["--merge-into=app.yaml"], super::SECRETS, "one Secret is expected in standard input, not 2"),
    ] {
        let before = repository.read("app.yaml");
        let run = repository.pipe(flags, input);
        assert!(run.assert(1).stderr.contains(expected), "{}", run.stderr);
        assert_eq!(repository.read("app.yaml"), before);
    }
}

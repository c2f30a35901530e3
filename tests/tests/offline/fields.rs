//! The page of fields: what the code makes of every field that Argo CD knows, so that the page cannot say anything else.

use std::fmt::Write as _;
use std::fs;

use gitmoor_core::application::ApplicationSpec;
use gitmoor_core::lock::Lock;
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::addresses::Addresses;
use gitmoor_engine::sources::followed;
use gitmoor_tests::harness::tools::workspace;
use serde_json::{Value, json};

const FIELDS: &str = include_str!("fields/argo-cd-application.txt");

const INTRODUCTION: &str = "# Fields of an Application

Every field of `spec` that Argo CD 3.6 has, and what the agent makes of it: written by a test that asks the code
(`GITMOOR_WRITE_DOCS=1 cargo test --workspace --test offline -- fields`). What is not supported is reported on the Application
(`UnsupportedField`), and nothing is applied; no field is ignored in silence. `spec.sources[]` has the fields of `spec.source`. What
they mean: [sources](sources.md), [applications](applications.md). Fields of ExternalSecrets: [external secrets](external-secrets.md).
";

struct Field {
    path: &'static str,
    kind: &'static str,
    values: Vec<&'static str>,
}

fn fields() -> Vec<Field> {
    let lines = FIELDS.lines().filter(|line| !line.starts_with('#'));
    let of = |line: &'static str| {
        let mut parts = line.split('\t');
        Field { path: parts.next().unwrap(), kind: parts.next().unwrap(), values: parts.collect() }
    };
    lines.map(of).collect()
}

/// Puts a value at a path such as `spec.source.helm.parameters[].name`.
fn put(at: &mut Value, path: &str, value: Value) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let (name, item) = first.strip_suffix("[]").map_or((first, false), |name| (name, true));
    if !at[name].is_object() && !at[name].is_array() {
        at[name] = if item { json!([null]) } else { Value::Null };
    }
    let place = if item { &mut at[name][0] } else { &mut at[name] };
    match rest {
        None => *place = value,
        Some(rest) => put(place, rest, value),
    }
}

fn sample(field: &Field, text: Option<&str>) -> Value {
    match (field.kind, text) {
        (_, Some(text)) => json!(text),
        ("boolean", None) => json!(true),
        ("integer", None) => json!(3),
        ("flags", None) => json!({"allowNameChange": true}),
        ("map" | "object", None) => json!({"key": "value"}),
        (_, None) => json!("value"),
    }
}

/// An Application that says nothing but where it comes from.
fn plain(field: &Field) -> Value {
    let mut object = json!({"spec": {
        "project": "", "source": {"repoURL": "https://git.example.com/platform.git", "path": "."}, "destination": {},
    }});
    if field.path.ends_with(".chart") {
        object["spec"]["source"].as_object_mut().unwrap().remove("path");
    }
    if field.path == TOGETHER.0 {
        put(&mut object, TOGETHER.1, json!(true));
    }
    object
}

/// What becomes of a value.
fn verdict(field: &Field, text: Option<&str>) -> Result<(), String> {
    let mut object = plain(field);
    put(&mut object, field.path, sample(field, text));
    let spec = ApplicationSpec::read(&object).map_err(|error| error.to_string())?;
    let key = ApplicationKey { namespace: "gitmoor".into(), name: "web".into() };
    followed(&key, &spec, &Addresses::default(), &Lock::default()).map_err(|error| error.to_string())?;
    let without = ApplicationSpec::read(&plain(field)).unwrap();
    let same = spec == without && object != plain(field);
    assert!(!same, "{} is ignored in silence", field.path);
    Ok(())
}

/// One that says nothing without the other.
const TOGETHER: (&str, &str) =
    ("spec.source.kustomize.labelIncludeTemplates", "spec.source.kustomize.labelWithoutSelector");

/// For people alone, in Argo CD too.
const FOR_PEOPLE: [&str; 3] = ["spec.info[].name", "spec.info[].value", "spec.source.name"];

#[test]
fn the_page_of_fields_is_what_the_code_says() {
    let mut page = format!("{INTRODUCTION}\n| field | supported | |\n| --- | --- | --- |\n");
    let (mut supported, mut not) = (0, 0);
    for field in fields() {
        let first = verdict(&field, field.values.first().copied());
        let other = field.values.get(1).map(|value| (value, verdict(&field, Some(value))));
        let (word, remark) = match (first, other) {
            (Ok(()), Some((value, Err(reason)))) => ("yes", format!("not `{value}`: {}", short(&reason))),
            (Ok(()), _) if FOR_PEOPLE.contains(&field.path) => ("yes", "for people; changes nothing".to_owned()),
            (Ok(()), _) if field.path == TOGETHER.0 => ("yes", format!("with `{}`", TOGETHER.1)),
            (Ok(()), _) => ("yes", String::new()),
            (Err(reason), _) => ("no", short(&reason)),
        };
        *(if word == "yes" { &mut supported } else { &mut not }) += 1;
        writeln!(page, "| `{}` | {word} | {remark} |", field.path).unwrap();
    }
    assert!(supported > 60 && not > 2, "{supported} {not}");
    let path = workspace().join("docs/fields.md");
    if std::env::var_os("GITMOOR_WRITE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/fields.md is not what the code says; see its first lines");
}

/// A reason as a cell of a table: without what the way out repeats.
fn short(reason: &str) -> String {
    let reason = reason.split("; remove them").next().unwrap_or(reason);
    reason.replace('|', "\\|").replace('\n', " ")
}

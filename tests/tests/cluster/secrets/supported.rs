//! The table of supported fields in docs/external-secrets.md, row by row: what a row says is tried here, or by the tests
//! that are named for it.

use std::collections::BTreeSet;

use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::throughout;
use serde_json::{Value, json};

use super::world::{LEGACY, World, datum, external_secret, store};

const DOCS: &str = include_str!("../../../../docs/external-secrets.md");
/// The files that rows may be proved in.
const TESTS: [&str; 6] = [
    include_str!("fields.rs"),
    include_str!("identities.rs"),
    include_str!("safety.rs"),
    include_str!("whole_cluster.rs"),
    include_str!("supported.rs"),
    include_str!("platform.rs"),
];

/// A row of the table is proved by cases here, by tests of these names, or by both.
struct Row {
    /// Its first cell.
    field: &'static str,
    cases: Vec<Case>,
    tests: &'static [&'static str],
}

/// An ExternalSecret, and what comes of it.
struct Case {
    name: &'static str,
    legacy: bool,
    spec: Value,
    expected: Expected,
}

enum Expected {
    /// A Secret with exactly this data.
    Data(&'static [(&'static str, &'static str)]),
    /// The same, and these values at these places of the Secret.
    Secret(&'static [(&'static str, &'static str)], Value),
    /// A failure with this in its message.
    Failure(&'static str),
    /// Nothing at all.
    Nothing,
}

use Expected::{Data, Failure, Nothing, Secret};

fn case(name: &'static str, spec: Value, expected: Expected) -> Case {
    Case { name, legacy: false, spec, expected }
}

fn legacy(name: &'static str, spec: Value, expected: Expected) -> Case {
    let mut all = json!({"region": "eu-central-1", "backendType": "secretsManager"});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Case { name, legacy: true, spec: all, expected }
}

/// One key `k` of a remote reference.
fn one(remote: Value) -> Value {
    json!({"data": [{"secretKey": "k", "remoteRef": remote}]})
}

fn parameter(remote: Value) -> Value {
    let mut spec = one(remote);
    spec["secretStoreRef"] = json!({"name": "params"});
    spec
}

fn from(entry: Value) -> Value {
    json!({"dataFrom": [entry]})
}

/// What AWS says of the secret with versions.
struct Seeded {
    arn: String,
    first_version: String,
}

async fn seed(world: &World) -> Seeded {
    let created = world.aws.secrets_manager("CreateSecret", &json!({"Name": "pinned", "SecretString": "first"})).await;
    world.put_secret("pinned", "second").await;
    for (name, value) in [
        ("plain", "text"),
        (
            "json",
            r#"{"user":"me","number":5432,"a.b":"whole","n":{"a.b":"dotted","list":[{"q":"one"},{"q":"two"}]},"sub":{"x":"1"}}"#,
        ),
        ("other-json", r#"{"user":"you","more":"1"}"#),
        ("odd-keys", r#"{"a/b":"1","c-d":"2"}"#),
        ("encoded", "aGk="),
        ("encoded-url", "P7-_"),
        ("nul", "a\u{0}b"),
        ("shop/pre", "prefixed"),
    ] {
        world.create_secret(name, value).await;
    }
    for (name, team) in [("team/a", "x"), ("team/b", "y")] {
        let tags = json!([{"Key": "team", "Value": team}]);
        let arguments = json!({"Name": name, "SecretString": format!("of {name}"), "Tags": tags});
        world.aws.secrets_manager("CreateSecret", &arguments).await;
    }
    let binary = json!({"Name": "binary", "SecretBinary": "AQL/"});
    world.aws.secrets_manager("CreateSecret", &binary).await;
    for (name, value) in
        [("/p/a", "one"), ("/p/a", "two"), ("/p/deep/b", "three"), ("/p/json", r#"{"user":"me"}"#), ("/q/bin", "aGk=")]
    {
        world.put_parameter(name, value).await;
    }
    let label = json!({"Name": "/p/a", "ParameterVersion": 1, "Labels": ["old"]});
    world.aws.ssm("LabelParameterVersion", &label).await;
    let tags = json!([{"Key": "team", "Value": "z"}]);
    let tagged = json!({"Name": "tagged", "Value": "v", "Type": "String", "Tags": tags});
    world.aws.ssm("PutParameter", &tagged).await;
    let text = |key: &str| created[key].as_str().unwrap().to_owned();
    Seeded { arn: text("ARN"), first_version: text("VersionId") }
}

fn rows(seeded: &Seeded) -> Vec<Row> {
    let mut rows = values(seeded);
    rows.extend(many());
    rows.extend(targets());
    rows.extend(stores());
    rows.extend(predecessor(seeded));
    rows
}

fn row(field: &'static str, cases: Vec<Case>, tests: &'static [&'static str]) -> Row {
    Row { field, cases, tests }
}

fn values(seeded: &Seeded) -> Vec<Row> {
    let params = json!({"storeRef": {"name": "params"}});
    let per_entry = json!({
        "data": [datum("a", "plain"), {"secretKey": "b", "sourceRef": params, "remoteRef": {"key": "/p/a"}}],
        "dataFrom": [{"sourceRef": params, "extract": {"key": "/p/json"}}],
    });
    let generator = json!({"generatorRef": {"kind": "Password", "name": "x"}});
    let property = |path: &str| one(json!({"key": "json", "property": path}));
    let decode = |key: &str, strategy: &str| one(json!({"key": key, "decodingStrategy": strategy}));
    let convert = |strategy: &str| from(json!({"extract": {"key": "odd-keys", "conversionStrategy": strategy}}));
    let mut windows = one(json!({"key": "plain"}));
    windows["syncWindows"] = json!({});
    vec![
        row(
            "`secretStoreRef`, `data[].sourceRef.storeRef`, `dataFrom[].sourceRef.storeRef`",
            vec![case("stores", per_entry, Data(&[("a", "text"), ("b", "two"), ("user", "me")]))],
            &[],
        ),
        row(
            "`sourceRef.generatorRef`",
            vec![case("generator", from(json!({"sourceRef": generator})), Failure("NotSupported: spec.dataFrom[0]"))],
            &[],
        ),
        row(
            "`refreshPolicy` Periodic, OnChange, CreatedOnce; `refreshInterval`; any changed annotation (`force-sync`)",
            vec![],
            &["refresh_policies_read_when_they_should"],
        ),
        row("`syncWindows`", vec![case("windows", windows, Failure("NotSupported: spec.syncWindows"))], &[]),
        row(
            "`remoteRef.key`",
            vec![
                case("key-name", one(json!({"key": "plain"})), Data(&[("k", "text")])),
                case("key-arn", one(json!({"key": seeded.arn})), Data(&[("k", "second")])),
                case("key-missing", one(json!({"key": "nowhere"})), Failure("SecretNotFound: spec.data[0] (nowhere)")),
            ],
            &[],
        ),
        row(
            "`remoteRef.version`",
            vec![
                case("stage", one(json!({"key": "pinned", "version": "AWSPREVIOUS"})), Data(&[("k", "first")])),
                case("current", one(json!({"key": "pinned", "version": "AWSCURRENT"})), Data(&[("k", "second")])),
                case(
                    "uuid",
                    one(json!({"key": "pinned", "version": format!("uuid/{}", seeded.first_version)})),
                    Data(&[("k", "first")]),
                ),
                case("number", parameter(json!({"key": "/p/a", "version": "1"})), Data(&[("k", "one")])),
                case("label", parameter(json!({"key": "/p/a", "version": "old"})), Data(&[("k", "one")])),
            ],
            &[],
        ),
        row(
            "`remoteRef.property`",
            vec![
                case("property-whole", property("a.b"), Data(&[("k", "whole")])),
                case("property-escaped", property("n.a\\.b"), Data(&[("k", "dotted")])),
                case("property-array", property("n.list.1.q"), Data(&[("k", "two")])),
                case("property-count", property("n.list.#"), Data(&[("k", "2")])),
                case("property-wildcard", property("us?r"), Data(&[("k", "me")])),
                case("property-query", property("n.list.#(q==one)"), Failure("NotSupported: ")),
                case("property-missing", property("none"), Failure("PropertyNotFound: ")),
            ],
            &[],
        ),
        row(
            "`remoteRef.decodingStrategy` None, Base64, Base64URL, Auto",
            vec![
                case("decoding-none", decode("encoded", "None"), Data(&[("k", "aGk=")])),
                case("decoding-base64", decode("encoded", "Base64"), Data(&[("k", "hi")])),
                case("decoding-url", decode("encoded-url", "Base64URL"), Data(&[("k", "?\u{fffd}\u{fffd}")])),
                case("decoding-auto", decode("encoded", "Auto"), Data(&[("k", "hi")])),
                case("decoding-auto-plain", decode("json", "Base64"), Failure("Conversion: ")),
            ],
            &[],
        ),
        row(
            "`remoteRef.conversionStrategy` Default, Unicode, None",
            vec![
                case("conversion-default", convert("Default"), Data(&[("a_b", "1"), ("c-d", "2")])),
                case("conversion-unicode", convert("Unicode"), Data(&[("a_U002f_b", "1"), ("c-d", "2")])),
                case("conversion-none", convert("None"), Failure("Conversion: ")),
            ],
            &[],
        ),
        row(
            "`remoteRef.metadataPolicy` Fetch",
            vec![
                case(
                    "tags",
                    one(json!({"key": "team/a", "metadataPolicy": "Fetch"})),
                    Data(&[("k", r#"{"team":"x"}"#)]),
                ),
                case(
                    "tag",
                    one(json!({"key": "team/a", "metadataPolicy": "Fetch", "property": "team"})),
                    Data(&[("k", "x")]),
                ),
                case(
                    "parameter-tag",
                    parameter(json!({"key": "tagged", "metadataPolicy": "Fetch", "property": "team"})),
                    Data(&[("k", "z")]),
                ),
            ],
            &[],
        ),
        row(
            "`remoteRef.nullBytePolicy`",
            vec![
                case("nul-kept", one(json!({"key": "nul", "nullBytePolicy": "Ignore"})), Data(&[("k", "a\u{0}b")])),
                case("nul-refused", one(json!({"key": "nul", "nullBytePolicy": "Fail"})), Failure("has NUL bytes")),
            ],
            &[],
        ),
    ]
}

fn many() -> Vec<Row> {
    let rewritten = |steps: Value| from(json!({"extract": {"key": "odd-keys"}, "rewrite": steps}));
    let transform = json!({"transform": {"template": "{{ .value | upper }}"}});
    let merged = |merge: Value| {
        let find = json!({"name": {"regexp": "^(json|other-json)$"}, "conversionStrategy": "None"});
        let steps = json!([{"merge": merge}]);
        from(json!({"find": find, "rewrite": steps}))
    };
    let find = |find: Value| from(json!({"find": find}));
    let mut parameters = find(json!({"path": "/p/deep"}));
    parameters["dataFrom"][0]["find"]["name"] = json!({"regexp": "b$"});
    parameters["secretStoreRef"] = json!({"name": "params"});
    vec![
        row(
            "`dataFrom[].extract`",
            vec![
                case(
                    "extract",
                    from(json!({"extract": {"key": "other-json"}})),
                    Data(&[("more", "1"), ("user", "you")]),
                ),
                case(
                    "extract-property",
                    from(json!({"extract": {"key": "json", "property": "sub"}})),
                    Data(&[("x", "1")]),
                ),
                case("extract-text", from(json!({"extract": {"key": "plain"}})), Failure("NotJson: ")),
            ],
            &[],
        ),
        row(
            "`dataFrom[].find` name, path, tags",
            vec![
                case(
                    "find-name",
                    find(json!({"name": {"regexp": "^team/"}})),
                    Data(&[("team_a", "of team/a"), ("team_b", "of team/b")]),
                ),
                case("find-tags", find(json!({"tags": {"team": "y"}})), Data(&[("team_b", "of team/b")])),
                case(
                    "find-path",
                    find(json!({"path": "shop/", "name": {"regexp": "."}})),
                    Data(&[("shop_pre", "prefixed")]),
                ),
                case("find-parameters", parameters, Data(&[("_p_deep_b", "three")])),
            ],
            &[],
        ),
        row(
            "`dataFrom[].rewrite` regexp, transform, merge",
            vec![
                case(
                    "rewrite-regexp",
                    rewritten(json!([{"regexp": {"source": "^(.)/(.)$", "target": "$2-$1"}}])),
                    Data(&[("b-a", "1"), ("c-d", "2")]),
                ),
                case(
                    "rewrite-both",
                    rewritten(json!([{"regexp": {"source": "/", "target": "_"}}, transform])),
                    Data(&[("A_B", "1"), ("C-D", "2")]),
                ),
                case(
                    "rewrite-merge",
                    merged(json!({"strategy": "Extract", "conflictPolicy": "Ignore", "priority": ["other-json"]})),
                    Data(&[
                        ("a.b", "whole"),
                        ("more", "1"),
                        ("n", r#"{"a.b":"dotted","list":[{"q":"one"},{"q":"two"}]}"#),
                        ("number", "5432"),
                        ("sub", r#"{"x":"1"}"#),
                        ("user", "you"),
                    ]),
                ),
                case("rewrite-conflict", merged(json!({"strategy": "Extract"})), Failure("user is there twice")),
            ],
            &[],
        ),
    ]
}

fn targets() -> Vec<Row> {
    let targeted = |target: Value| json!({"target": target, "data": [datum("k", "plain")]});
    let source = |name: &str, scope: &str, target: &str| {
        let items = json!([{"key": name, "templateAs": scope}]);
        json!({"target": target, "secret": {"name": "templates", "items": items}})
    };
    let template = json!({
        "mergePolicy": "Merge", "engineVersion": "v2", "type": "example.com/kind",
        "metadata": {"labels": {"value": "{{ .k }}"}},
        "data": {"made": "<{{ .k }}>"},
        "templateFrom": [
            source("file", "Values", "Data"), source("map", "KeysAndValues", "Data"),
            source("labels", "KeysAndValues", "Labels"), {"target": "Annotations", "literal": "said: '{{ .k }}'"},
        ],
    });
    let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    vec![
        row(
            "`target.name`, `immutable`, `template`",
            vec![case(
                "named",
                targeted(json!({"name": "another", "immutable": true})),
                Secret(&[("k", "text")], json!({"/immutable": true, "/metadata/name": "another"})),
            )],
            &["templates_make_the_secret", "an_immutable_secret_stays_as_it_was_made"],
        ),
        row(
            "`target.creationPolicy` Owner, Orphan, Merge, CreateOrMerge, None",
            vec![],
            &["creation_policies_keep_their_promises"],
        ),
        row(
            "`target.deletionPolicy` Retain, Delete, Merge",
            vec![],
            &[
                "a_value_that_goes_bad_leaves_the_last_good_one",
                "a_secret_goes_only_by_policy_and_when_all_is_definitely_gone",
                "keys_go_one_by_one_with_the_policy_merge",
            ],
        ),
        row(
            "`target.manifest`",
            vec![case(
                "manifest",
                targeted(json!({"manifest": manifest})),
                Failure("NotSupported: spec.target.manifest"),
            )],
            &[],
        ),
        row(
            "`template.data`, `type`, `metadata`, `mergePolicy`, `templateFrom` (configMap, secret, literal; target Data, Labels, Annotations)",
            vec![case(
                "templated",
                targeted(json!({"template": template})),
                Secret(
                    &[("file", "file of text"), ("k", "text"), ("made", "<text>"), ("mapped", "text!")],
                    json!({
                        "/type": "example.com/kind", "/metadata/labels/value": "text",
                        "/metadata/labels/from": "text", "/metadata/annotations/said": "text",
                    }),
                ),
            )],
            &["templates_make_the_secret"],
        ),
    ]
}

fn stores() -> Vec<Row> {
    let read = |store: &str, key: &str| {
        let mut spec = one(json!({"key": key}));
        spec["secretStoreRef"] = json!({"name": store});
        spec
    };
    vec![
        row(
            "provider `aws`: `service`, `region`, `role`, `additionalRoles`, `externalID`, `sessionTags`, `transitiveTagKeys`, `prefix`, `auth.jwt`, `auth.secretRef`",
            vec![case("prefixed", read("prefixed", "pre"), Data(&[("k", "prefixed")]))],
            &[
                "a_role_is_assumed_only_where_that_is_allowed",
                "identities_do_not_share_their_reads",
                "roles_are_assumed_one_on_top_of_the_other",
            ],
        ),
        row(
            "`service: CertificateManager`, `sessionTagsPolicy`, other providers",
            vec![
                case("certificates", read("certificates", "x"), Failure("service CertificateManager is not supported")),
                case("policy", read("policy", "x"), Failure("sessionTagsPolicy is not supported")),
                case("vault", read("vault", "x"), Failure("provider vault is not supported")),
            ],
            &[],
        ),
        row(
            "`controller`, `conditions` of a store",
            vec![
                case("ours", read("ours", "plain"), Data(&[("k", "text")])),
                case("theirs", read("theirs", "plain"), Nothing),
            ],
            &["the_agents_own_role_is_not_for_every_namespace"],
        ),
        row(
            "ClusterExternalSecret: `externalSecretSpec`, `externalSecretName`, `externalSecretMetadata`, `namespaceSelector`, `namespaceSelectors`, `namespaces`",
            vec![],
            &["definitions_that_come_late_and_objects_for_all_of_a_cluster"],
        ),
        row("PushSecret, ClusterPushSecret", vec![], &["unsupported_kinds_say_so"]),
    ]
}

fn predecessor(seeded: &Seeded) -> Vec<Row> {
    let data = |entry: Value| json!({"data": [entry]});
    let path =
        |recursive: bool| json!({"backendType": "systemManager", "data": [{"path": "/p", "recursive": recursive}]});
    let metadata = json!({"labels": {"l": "1"}, "annotations": {"a": "2"}});
    let template = json!({"type": "example.com/old", "metadata": metadata});
    let entry = || json!({"key": "plain", "name": "k"});
    vec![
        row(
            "legacy: `backendType` secretsManager, systemManager; `roleArn`, `region`, `type`, `controllerId`",
            vec![
                legacy(
                    "old-type",
                    json!({"type": "example.com/old", "data": [entry()]}),
                    Secret(&[("k", "text")], json!({"/type": "example.com/old"})),
                ),
                legacy("old-controller", json!({"controllerId": "gitmoor", "data": [entry()]}), Data(&[("k", "text")])),
                legacy("old-theirs", json!({"controllerId": "another", "data": [entry()]}), Nothing),
                legacy("old-vault", json!({"backendType": "vault", "data": [entry()]}), Failure("backendType vault")),
                legacy(
                    "old-role",
                    json!({"roleArn": "arn:aws:iam::123456789012:role/x", "data": [entry()]}),
                    Failure("RoleNotPermitted: "),
                ),
            ],
            &["the_platforms_objects_work_in_both_backends"],
        ),
        row(
            "legacy: `data[]` key, name, property, isBinary, versionStage, versionId, path, recursive; `dataFrom`; `dataFromWithOptions`",
            vec![
                legacy(
                    "old-property",
                    data(json!({"key": "json", "name": "k", "property": "sub.x"})),
                    Data(&[("k", "1")]),
                ),
                legacy(
                    "old-binary",
                    data(json!({"key": "encoded", "name": "k", "isBinary": true})),
                    Data(&[("k", "hi")]),
                ),
                legacy(
                    "old-stage",
                    data(json!({"key": "pinned", "name": "k", "versionStage": "AWSPREVIOUS"})),
                    Data(&[("k", "first")]),
                ),
                legacy(
                    "old-version",
                    data(json!({"key": "pinned", "name": "k", "versionId": seeded.first_version})),
                    Data(&[("k", "first")]),
                ),
                legacy("old-path", path(false), Data(&[("a", "two"), ("json", r#"{"user":"me"}"#)])),
                legacy(
                    "old-recursive",
                    path(true),
                    Data(&[("a", "two"), ("b", "three"), ("json", r#"{"user":"me"}"#)]),
                ),
                legacy("old-from", json!({"dataFrom": ["other-json"]}), Data(&[("more", "1"), ("user", "you")])),
                legacy(
                    "old-options",
                    json!({"dataFromWithOptions": [{"key": "other-json", "versionStage": "AWSCURRENT"}]}),
                    Data(&[("more", "1"), ("user", "you")]),
                ),
            ],
            &["objects_of_the_predecessor_work_in_both_backends"],
        ),
        row(
            "legacy: `template`",
            vec![
                legacy(
                    "old-template",
                    json!({"template": template, "data": [entry()]}),
                    Secret(
                        &[("k", "text")],
                        json!({"/type": "example.com/old", "/metadata/labels/l": "1", "/metadata/annotations/a": "2"}),
                    ),
                ),
                legacy(
                    "old-lodash",
                    json!({"template": {"metadata": {"labels": {"l": "<%= data.k %>"}}}, "data": [entry()]}),
                    Failure("lodash"),
                ),
            ],
            &[],
        ),
        row(
            "namespace annotation `externalsecrets.kubernetes-client.io/permitted-key-name`",
            vec![],
            &["a_namespace_reads_only_the_keys_that_it_is_permitted"],
        ),
    ]
}

#[test]
fn the_rows_of_the_documented_table_are_those_that_are_tried() {
    let (_, section) = DOCS.split_once("## Supported fields").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows_of_table = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let documented: BTreeSet<&str> = rows_of_table
        .filter(|line| !line.starts_with("| ---"))
        .map(|line| line.split(" | ").next().unwrap()[2..].trim())
        .collect();
    let seeded = Seeded { arn: String::new(), first_version: String::new() };
    let rows = rows(&seeded);
    let tried: BTreeSet<&str> = rows.iter().map(|row| row.field).collect();
    assert_eq!(documented, tried);
    for row in rows {
        assert!(!(row.cases.is_empty() && row.tests.is_empty()), "{}: nothing tries it", row.field);
        for test in row.tests {
            let defined = format!("async fn {test}(");
            assert!(TESTS.iter().any(|file| file.contains(&defined)), "{}: no test {test}", row.field);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_table_of_supported_fields_is_true() {
    let world = World::start("supported").await;
    let seeded = seed(&world).await;
    make_stores(&world).await;
    let templates = json!({
        "file": "file of {{ .k }}", "map": "mapped: '{{ .k }}!'", "labels": "from: '{{ .k }}'",
    });
    world
        .apply(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "templates"}, "stringData": templates}),
        )
        .await;
    let cases: Vec<Case> = rows(&seeded).into_iter().flat_map(|row| row.cases).collect();
    for case in &cases {
        world.apply(object(case)).await;
    }
    for case in &cases {
        check(&world, case).await;
    }
    let log = world.agent.log();
    assert!(!log.contains("panicked"), "{log}");
}

async fn make_stores(world: &World) {
    world.store("store", "SecretsManager").await;
    world.store("params", "ParameterStore").await;
    world.store("certificates", "CertificateManager").await;
    let mut prefixed = store("prefixed", "SecretsManager");
    prefixed["spec"]["provider"]["aws"]["prefix"] = "shop/".into();
    world.apply(prefixed).await;
    for (name, controller) in [("ours", "gitmoor"), ("theirs", "another")] {
        let mut store = store(name, "SecretsManager");
        store["spec"]["controller"] = controller.into();
        world.apply(store).await;
    }
    let mut policy = store("policy", "SecretsManager");
    policy["spec"]["provider"]["aws"]["sessionTagsPolicy"] = "Simple".into();
    world.apply(policy).await;
    let mut vault = store("vault", "SecretsManager");
    vault["spec"]["provider"] = json!({"vault": {"server": "https://vault.example.com"}});
    world.apply(vault).await;
    for name in ["certificates", "policy", "vault"] {
        let check = async || match world.ready("external-secrets.io/v1/SecretStore", name).await {
            Some((status, ..)) if status == "False" => Ok(()),
            other => Err(format!("{other:?}")),
        };
        world.scene().eventually(&format!("SecretStore {name} is not Ready"), PATIENCE, check).await;
    }
}

fn object(case: &Case) -> Value {
    if case.legacy {
        return json!({
            "apiVersion": "kubernetes-client.io/v1", "kind": "ExternalSecret", "metadata": {"name": case.name},
            "spec": case.spec,
        });
    }
    let mut object = external_secret(case.name, &case.spec);
    object["spec"]["refreshInterval"] = "1h".into();
    object
}

async fn check(world: &World, case: &Case) {
    let target = case.spec.pointer("/target/name").and_then(Value::as_str).unwrap_or(case.name);
    match &case.expected {
        Data(data) => world.await_data(target, data).await,
        Secret(data, places) => {
            world.await_data(target, data).await;
            let secret = world.get("v1/Secret", target).await.unwrap();
            for (place, value) in places.as_object().unwrap() {
                assert_eq!(secret.pointer(place), Some(value), "{}: {place}", case.name);
            }
        }
        Failure(part) if case.legacy => {
            let check = async || {
                let object = world.get(LEGACY, case.name).await.unwrap();
                let status = object["status"]["status"].as_str().unwrap_or_default().to_owned();
                if status.starts_with("ERROR") && status.contains(part) { Ok(()) } else { Err(status) }
            };
            world.scene().eventually(&format!("{} fails with {part}", case.name), PATIENCE, check).await;
            assert!(world.data(target).await.is_none(), "{}: there is a Secret", case.name);
        }
        Failure(part) => {
            world.await_failure(case.name, part).await;
            assert!(world.data(target).await.is_none(), "{}: there is a Secret", case.name);
        }
        Nothing => {
            let kind = if case.legacy { LEGACY } else { super::world::EXTERNAL };
            throughout("it is left alone", std::time::Duration::from_secs(1), async || {
                let object = world.get(kind, case.name).await.unwrap();
                let untouched = object.get("status").is_none() && world.data(target).await.is_none();
                if untouched { Ok(()) } else { Err(object.to_string()) }
            })
            .await;
        }
    }
}

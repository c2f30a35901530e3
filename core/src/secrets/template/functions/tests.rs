//! What templates print with the functions.

use std::sync::Arc;

use super::super::*;

use crate::secrets::request::{Decoding, TemplateFrom};

fn values() -> SecretData {
    let pairs: [(&str, &[u8]); 5] = [
        ("user", b"me"),
        ("password", b"p\"w"),
        ("json", br#"{"a": [1, 2.5, "x"], "b": {"c": "<d>"}, "n": null}"#),
        ("binary", &[0, 0xff, b'x']),
        ("list", b"b,a,b"),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), Sensitive::new(value.to_vec()))).collect()
}

fn engine() -> Engine {
    Engine { variables: variables(&values()), salt: Arc::new(|seed| [u8::try_from(seed.len()).unwrap(); 16]) }
}

fn run(template: &str) -> Result<Vec<u8>, Failure> {
    engine().run(template, true).map(|made| made.expose().clone())
}

#[test]
fn functions_print_what_those_of_sprig_print() {
    for (template, expected) in [
        ("{{ .user | upper | quote }}", "\"ME\""),
        ("{{ .password | quote }} {{ squote .user }}", "\"p\\\"w\" 'me'"),
        ("{{ .user | b64enc }}{{ \"bWU=\" | b64dec }}", "bWU=me"),
        ("{{ .binary | b64enc }}", "AP94"),
        ("{{ (.json | fromJson).a | toJson }}", "[1,2.5,\"x\"]"),
        ("{{ (.json | fromJson).b | toJson }}", "{\"c\":\"\\u003cd\\u003e\"}"),
        ("{{ (.json | fromJson).b | toRawJson }}", "{\"c\":\"<d>\"}"),
        ("{{ .json | fromJson | toYaml | nindent 2 }}", "\n  a:\n  - 1\n  - 2.5\n  - x\n  b:\n    c: <d>\n  n: null"),
        ("{{ (\"a: {b: 1}\" | fromYaml).a.b }}", "1"),
        ("{{ .list | splitList \",\" | uniq | sortAlpha | join \"-\" }}", "a-b"),
        ("{{ (split \",\" .list)._1 }}", "a"),
        ("{{ default \"d\" \"\" }}{{ default \"d\" .user }}", "dme"),
        ("{{ ternary \"yes\" \"no\" true }}{{ coalesce \"\" .user }}", "yesme"),
        (
            "{{ trimSuffix \"e\" .user }}{{ trimPrefix \"m\" .user }}{{ trim \" x \" }}{{ trimAll \"$\" \"$5$\" }}",
            "mex5",
        ),
        ("{{ replace \"m\" \"w\" .user }}{{ repeat 2 \"x\" }}{{ trunc 1 .user }}{{ trunc -1 .user }}", "wexxme"),
        ("{{ regexReplaceAll \"(m)e\" .user \"${1}y\" }}{{ regexMatch \"^m\" .user }}", "mytrue"),
        ("{{ add 1 2 3 }}{{ sub 5 3 }}{{ div 7 2 }}{{ mod 7 4 }}{{ mul 2 3 }}{{ add1 1 }}{{ max 1 3 2 }}", "6233623"),
        ("{{ $d := dict \"k\" \"v\" }}{{ get $d \"k\" }}{{ hasKey $d \"x\" }}{{ keys $d }}", "vfalse[k]"),
        ("{{ first (list 1 2) }}{{ last (list 1 2) }}{{ has 1 (list 1) }}{{ rest (list 1 2) }}", "12true[2]"),
        ("{{ indent 2 \"a\\nb\" }}", "  a\n  b"),
        ("{{ \"x\" | sha256sum | trunc 8 }}", "2d711642"),
        ("{{ dig \"b\" \"c\" \"none\" (.json | fromJson) }}", "<d>"),
        ("{{ if hasPrefix \"m\" .user }}{{ printf \"%s:%d\" .user 5 }}{{ end }}", "me:5"),
        ("{{ range $k, $v := dict \"a\" 1 }}{{ $k }}={{ $v }}{{ end }}", "a=1"),
        ("{{- /* comment */ -}} {{ with .user }}{{ . }}{{ end }}", "me"),
        ("{{ index . \"user\" }}{{ len .user }}", "me2"),
        (
            "{{ base \"/a/b.c\" }} {{ dir \"/a/b.c\" }} {{ ext \"/a/b.c\" }} {{ clean \"a//b/../c/.\" }} {{ isAbs \"/\" }}",
            "b.c /a .c a/c true",
        ),
        (
            "{{ base \"\" }} {{ base \"//\" }} {{ dir \"a\" }} {{ clean \"/../a\" }} {{ clean \"../../a\" }}",
            ". / . /a ../../a",
        ),
        ("{{ until 3 }}{{ until -2 }}{{ untilStep 1 6 2 }}", "[0 1 2][0 -1][1 3 5]"),
        ("{{ ceil 1.2 }}{{ floor 1.8 }}{{ round 3.14159 2 }}{{ biggest 1 2 }}", "213.142"),
        ("{{ slice (list 1 2 3 4) 1 3 }}{{ slice (list 1 2) }}{{ chunk 2 (list 1 2 3) }}", "[2 3][1 2][[1 2] [3]]"),
        (
            "{{ merge (dict \"a\" (dict \"x\" 1)) (dict \"a\" (dict \"x\" 2 \"y\" 3)) | toJson }}",
            "{\"a\":{\"x\":1,\"y\":3}}",
        ),
        (
            "{{ mergeOverwrite (dict \"a\" 1) (dict \"a\" 2) | toJson }}{{ pluck \"a\" (dict \"a\" 1) (dict \"b\" 2) }}",
            "{\"a\":2}[1]",
        ),
        (
            "{{ regexFindAll \"[a-z]\" \"a1b2c\" 2 }}{{ regexQuoteMeta \"1.5-2\" }}{{ mustRegexMatch \"^a\" \"ab\" }}",
            "[a b]1\\.5-2true",
        ),
        (
            "{{ initials \"First Try\" }}{{ swapcase \"aB\" }}{{ trimall \"$\" \"$5$\" }}{{ kindIs \"string\" .user }}",
            "FTAb5true",
        ),
        ("{{ mustFirst (list 1) }}{{ deepEqual (list 1) (list 1) }}{{ sha1sum \"x\" | trunc 8 }}", "1true11f6ad8e"),
        (
            "{{ filterPEM \"B\" \"-----BEGIN A-----\\nx\\n-----END A-----\\n-----BEGIN B-----\\ny\\n-----END B-----\\n\" }}",
            "-----BEGIN B-----\ny\n-----END B-----\n",
        ),
    ] {
        assert_eq!(run(template).map(|made| String::from_utf8(made).unwrap()), Ok(expected.to_owned()), "{template}");
    }
    assert_eq!(run("{{ .binary }}"), Ok(vec![0, 0xff, b'x']), "any bytes pass");
}

#[test]
fn a_password_hash_fits_and_stays_the_same() {
    let line = String::from_utf8(run("{{ htpasswd .user .password }}").unwrap()).unwrap();
    let hash = line.strip_prefix("me:").unwrap();
    assert!(bcrypt::verify("p\"w", hash).unwrap());
    assert_eq!(run("{{ htpasswd .user .password }}").unwrap(), line.as_bytes());
}

#[test]
fn errors_name_the_cause_and_quote_no_value() {
    for (template, expected) in [
        ("{{ uuidv4 }}", "the function uuidv4, which is not supported"),
        ("{{ .missing }}", "missing, which is not among the values"),
        ("{{ if }}", "cannot be parsed: line 1"),
        ("{{ .user | fromJson }}", "not JSON"),
        ("{{ .password | b64dec }}", "not base64"),
        ("{{ fail .password }}", "with fail"),
        ("{{ div 1 0 }}", "division by zero"),
        ("{{ first .password }}", "list is needed"),
        ("{{ template \"x\" }}", "withheld"),
        ("{{ index (list 1) 5 }}", "the template"),
    ] {
        let failure = run(template).unwrap_err();
        assert!(failure.message.contains(expected), "{template}: {failure}");
        assert!(!failure.message.contains("p\"w") && !failure.message.contains("\"me\""), "{failure}");
    }
    let hidden = engine().run("{{ hunter2 }}", false).unwrap_err();
    assert!(!hidden.message.contains("hunter2"), "{hidden}");
}

#[test]
fn content_is_made_of_templates_values_and_sources() {
    let mut template = Template { keep_values: false, ..Template::default() };
    template.data.insert("conn".into(), "{{ .user }}@db".into());
    template.labels.insert("l".into(), "{{ .user }}".into());
    template.from.push(TemplateFrom {
        origin: TemplateOrigin::Literal("lit: {{ .user | quote }}\nconn: overridden".into()),
        into: TemplateTarget::Data,
        decoding: Decoding::None,
    });
    template.from.push(TemplateFrom {
        origin: TemplateOrigin::Object {
            secret: false,
            name: "map".into(),
            items: vec![TemplateItem { key: "file".into(), keys_and_values: false }],
        },
        into: TemplateTarget::Data,
        decoding: Decoding::None,
    });
    let file = BTreeMap::from([("file".to_owned(), Sensitive::new(b"[{{ .list }}]".to_vec()))]);
    let salt: Salt = Arc::new(|_| [0; 16]);
    let mut target = Target { template: Some(template), ..Target::default() };
    let sources = vec![BTreeMap::new(), file];
    let made = content(&target, values(), &sources, &salt).unwrap();
    let shown: BTreeMap<&str, &[u8]> = made.data.iter().map(|(k, v)| (k.as_str(), v.expose().as_slice())).collect();
    assert_eq!(shown, BTreeMap::from([("conn", &b"me@db"[..]), ("file", b"[b,a,b]"), ("lit", b"me")]));
    assert_eq!(made.labels["l"], "me");
    target.template.as_mut().unwrap().keep_values = true;
    assert_eq!(content(&target, values(), &sources, &salt).unwrap().data.len(), 8);
    let missing = content(&target, values(), &vec![], &salt).unwrap_err();
    assert!(missing.message.contains("templateFrom[1]: map: file: "), "{missing}");
}

#[test]
fn the_documented_functions_are_those_that_there_are() {
    const DOCS: &str = include_str!("../../../../../docs/external-secrets.md");
    let table =
        DOCS.split_once("## Functions of templates").unwrap().1.split_once("`htpasswd` and `bcrypt`").unwrap().0;
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let mut documented: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    documented.sort_unstable();
    assert_eq!(documented, names());
}

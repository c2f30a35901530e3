use serde_json::json;

use super::*;

/// What kubectl makes of 926 streams, one a line: `documents`, or `error`. Made with Go 1.26 by reading each `input`
/// with `NewYAMLOrJSONDecoder` of `k8s.io/apimachinery` 0.37.2 (`sigs.k8s.io/yaml` 1.6.0, `go.yaml.in/yaml/v2` 2.4.4)
/// into raw JSON until its end or first error, leaving out null documents.
const KUBECTL: &str = include_str!("fixtures/kubectl.jsonl");

fn read(text: &str) -> Result<Vec<Document>, Vec<YamlError>> {
    read_documents(text, &Limits::default())
}

fn values(text: &str) -> Vec<Value> {
    let documents = read(text).unwrap_or_else(|errors| panic!("{text:?}: {}", errors[0]));
    documents.into_iter().map(|document| document.value).collect()
}

fn errors(text: &str) -> Vec<String> {
    read(text).expect_err(text).iter().map(ToString::to_string).collect()
}

fn reason(text: &str, limits: Limits) -> Reason {
    let Err(mut errors) = read_documents(text, &limits) else { panic!("stays within the limits") };
    errors.remove(0).reason
}

#[test]
fn reads_what_kubectl_reads() {
    let mut rows = 0;
    for line in KUBECTL.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let input = row["input"].as_str().unwrap();
        match row["documents"].as_array() {
            Some(documents) => assert_eq!(&values(input), documents, "{input:?}"),
            None => assert!(read(input).is_err(), "{input:?}"),
        }
        rows += 1;
    }
    assert_eq!(rows, 926);
}

#[test]
fn accepts_more_than_kubectl() {
    let table = [
        ("directives", "%YAML 1.2\n%TAG !y! tag:yaml.org,2002:\n---\nv: !y!int '12'", json!({"v": 12})),
        ("directives behind `...`", "null\n...\n---\n%YAML 1.1\n---\nv: on", json!({"v": true})),
        ("a comment behind JSON", "{\"a\": 1} # c", json!({"a": 1})),
        ("an escaped slash", r#"a: "\/""#, json!({"a": "/"})),
        ("a tab in front of the outermost keys", "\ta: b", json!({"a": "b"})),
        ("a tab behind a dash", "-\ta", json!(["a"])),
    ];
    for (what, input, expected) in table {
        assert_eq!(values(input), [expected], "{what}");
    }
}

#[test]
fn reads_differently_from_kubectl() {
    // kubectl: `a:` is the key; `[{"a": null}]`; floats, until it makes an object of them.
    let table = [
        ("{a:}", json!({"a": null})),
        ("[?a]", json!(["?a"])),
        ("{\"a\": 1e3, \"b\": 1.0}", json!({"a": 1000, "b": 1})),
    ];
    for (input, expected) in table {
        assert_eq!(values(input), [expected], "{input}");
    }
}

#[test]
fn refuses_more_than_kubectl() {
    let table = [
        ("a: 1\nb: 2\na: 3\n", "document 1, line 3, column 1: duplicate key `a`, first on line 1; remove one of them"),
        (
            "x: 1\n---\n\nm:\n  1: a\n  '1': b\n",
            "document 2, line 6, column 3: duplicate key `1`, first on line 5; remove one of them",
        ),
        (
            "{\"a\": 1,\n\"b\": {\"c\": 1,\n \"c\": 2}}",
            "document 1, line 3, column 2: duplicate key `c`, first on line 2; remove one of them",
        ),
        (
            "{\"\\ud83d\\ude00\": 1,\n \"a\": 2, \"a\": 3}",
            "document 1, line 2, column 12: duplicate key `a`; remove one of them",
        ),
        (
            "x:\n  <<: {a: 1}\n  a: 2\n  a: 3\n",
            "document 1, line 4, column 3: duplicate key `a`, first on line 3; remove one of them",
        ),
        ("a: 1\n...\nb: 2\n", "document 1, line 3, column 1: a second document without `---` in front of it"),
        ("{a: b}\nc: d", "document 1, line 2, column 1: did not find expected <document start>"),
        (
            "a: x\u{85}y",
            "document 1, line 1, column 5: character U+0085 is not allowed here; write it escaped in double quotes",
        ),
        (
            "a: |\n  x\u{2028}y",
            "document 1, line 2, column 4: character U+2028 is not allowed here; write it escaped in double quotes",
        ),
        ("a: |\n  \u{feff}x", "document 1, line 2, column 3: a byte order mark must not appear inside a document"),
        ("a: 'x'#c", "document 1, line 1, column 7: comments must be separated from other tokens by whitespace"),
        ("a: [a, -]", "document 1, line 1, column 8: plain scalar cannot start with '-' followed by ,[]{}"),
    ];
    for (input, expected) in table {
        assert_eq!(errors(input), [expected], "{input:?}");
    }
}

#[test]
fn errors_say_where_and_hold_no_values() {
    let table = [
        ("password: !!int hunter2", "document 1, line 1, column 11: value is not a `!!int`"),
        (
            "a:\n  b: .inf",
            "document 1, line 2, column 6: infinity and not-a-number cannot be written as JSON; quote the value if text is meant",
        ),
        ("a: 1\n~: b", "document 1, line 2, column 1: null cannot be a key; quote it if text is meant"),
        ("? [a]\n: b", "document 1, line 1, column 3: a list cannot be a key; quote it if text is meant"),
        ("a: !!binary '*'", "document 1, line 1, column 4: `!!binary` value is not base64"),
        ("a: &x [*x]", "document 1, line 1, column 8: alias stands inside the value of its own anchor"),
        ("x:\n  <<: hunter2", "document 1, line 2, column 7: `<<` takes a mapping or a list of mappings"),
        (
            "a: 1\n--- hunter2\nb: 1",
            "document 2, line 2, column 1: text after the document separator `---`; put it on the next line",
        ),
        (
            "a: \"\x07\"",
            "document 1, line 1, column 5: character U+0007 is not allowed here; write it escaped in double quotes",
        ),
        ("{\n \"a\" 1}", "document 1, line 2, column 6: not JSON: expected `:`"),
        ("a: {{ .Values.x }}", "document 1, line 1, column 5: a mapping cannot be a key; quote it if text is meant"),
    ];
    for (input, expected) in table {
        assert_eq!(errors(input), [expected], "{input:?}");
    }
}

#[test]
fn every_bad_document_is_reported() {
    let text = "a: [\n---\nb: 1\n---\nc: |\n x\n---\nd: {\n---\ne: 1\ne: 2\n";
    let found: Vec<_> = read(text).unwrap_err().iter().map(|error| (error.document, error.line)).collect();
    assert_eq!(found, [(1, 2), (4, 9), (5, 11)]);
}

#[test]
fn documents_know_their_place() {
    let table: [(&str, &[(usize, usize)]); 8] = [
        ("a: 1", &[(1, 1)]),
        ("# c\n---\n# c\n\na: 1\n---\nb: 1", &[(1, 5), (2, 7)]),
        ("---\n# Source: empty\n---\n# Source: b\nb: 1\n---\nnull\n---\n- d", &[(2, 5), (4, 9)]),
        ("a: 1\r\n---\r\n\r\nb: 1\r\n", &[(1, 1), (2, 4)]),
        ("\u{feff}a: 1\n---\n\u{feff}b: 1", &[(1, 1), (2, 3)]),
        ("%YAML 1.1\n---\na: 1\n---\nb: 1", &[(1, 3), (2, 5)]),
        ("\n{\"a\": 1}\n{\"b\":\n1}\n\n{\"c\": 1}\n---\nd: 1", &[(1, 2), (2, 3), (3, 6), (4, 8)]),
        ("a: |\n  x\n---\nb: 1", &[(1, 1), (2, 4)]),
    ];
    for (input, expected) in table {
        let places: Vec<_> = read(input).unwrap().iter().map(|document| (document.index, document.line)).collect();
        assert_eq!(places, expected, "{input:?}");
    }
}

#[test]
fn repaired_layout_keeps_the_columns_of_errors() {
    let table = [
        ("a: [\n1,\n2\n]\nb: !!int x\n", "document 1, line 5, column 4: value is not a `!!int`"),
        ("a: [\n!!int x\n]\n", "document 1, line 2, column 1: value is not a `!!int`"),
        ("a: [\n]]\n", "document 1, line 2, column 2: misplaced bracket"),
        (
            "a: \"x\n...\n\"",
            "document 1, line 1, column 4: while scanning a quoted scalar, found unexpected document indicator",
        ),
    ];
    for (input, expected) in table {
        assert_eq!(errors(input), [expected], "{input:?}");
    }
}

#[test]
fn limits_hold() {
    let small = Limits { bytes: 1000, nodes: 50, depth: 5 };
    assert_eq!(reason(&" ".repeat(1001), small), Reason::TooLarge { bytes: 1001, limit: 1000 });
    for list in ["- 1\n".repeat(50), format!("{{\"a\": [{}1]}}", "1,".repeat(48))] {
        assert_eq!(reason(&list, small), Reason::TooManyNodes { limit: 50 });
    }
    for nested in ["[".repeat(6), "{\"a\":".repeat(6) + "1" + &"}".repeat(6), "a: &x [[[1]]]\nb: [[*x]]\n".to_owned()] {
        assert_eq!(reason(&nested, small), Reason::TooDeep { limit: 5 }, "{nested}");
    }
    let fits = format!("{}1{}", "[".repeat(5), "]".repeat(5));
    assert!(read_documents(&fits, &small).is_ok());
}

#[test]
fn alias_bomb_is_refused() {
    let bomb =
        |next: fn(usize) -> String| (1..40).fold("a0: &a0 {k: v}\n".to_owned(), |text, level| text + &next(level));
    let nested = bomb(|level| format!("a{level}: &a{level} [{}]\n", format!("*a{},", level - 1).repeat(10)));
    let merged = bomb(|level| format!("a{level}: &a{level} {{<<: [*a{0}, *a{0}], b: *a{0}, c: *a{0}}}\n", level - 1));
    for text in [nested, merged] {
        let small = Limits { nodes: 50_000, ..Limits::default() };
        assert_eq!(reason(&text, small), Reason::TooManyNodes { limit: 50_000 });
    }
    let repeated = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a,".repeat(40));
    assert_eq!(reason(&repeated, Limits::default()), Reason::TooManyRepeatedBytes { limit: 32 << 20 });
}

#[test]
fn nothing_is_read_after_the_nodes_are_spent() {
    let small = Limits { nodes: 3, ..Limits::default() };
    let errors = read_documents("[1, 2, 3]\n---\n[\n---\n[", &small).unwrap_err();
    assert_eq!(errors.len(), 1);
}

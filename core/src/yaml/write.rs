//! Writes YAML that every reader takes for the same: strings that some version of YAML could take for something else
//! are quoted.

use std::fmt::Write as _;

use saphyr_parser::ScalarStyle;
use serde_json::Value;

use super::scalar::{Scalar, resolve};

/// Writes a value as one YAML document, without `---`; [`read_documents`](super::read_documents) gives the value
/// back. Lists stand as far to the left as their key, as kubectl writes them.
pub fn write_document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => entries(&mut text, map, 0, false),
        Value::Array(items) if !items.is_empty() => list(&mut text, items, 0),
        _ => {
            inline(&mut text, value, 0);
            text.push('\n');
        }
    }
    text
}

fn entries(text: &mut String, map: &serde_json::Map<String, Value>, depth: usize, behind_dash: bool) {
    for (position, (name, value)) in map.iter().enumerate() {
        if position > 0 || !behind_dash {
            indent(text, depth);
        }
        text.push_str(&scalar(name));
        text.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                text.push('\n');
                entries(text, map, depth + 1, false);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                list(text, items, depth);
            }
            _ => {
                text.push(' ');
                inline(text, value, depth + 1);
                text.push('\n');
            }
        }
    }
}

fn list(text: &mut String, items: &[Value], depth: usize) {
    for item in items {
        indent(text, depth);
        text.push('-');
        match item {
            Value::Object(map) if !map.is_empty() => {
                text.push(' ');
                entries(text, map, depth + 1, true);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                list(text, items, depth + 1);
            }
            _ => {
                text.push(' ');
                inline(text, item, depth + 1);
                text.push('\n');
            }
        }
    }
}

fn inline(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::String(string) => match block_header(string) {
            Some(header) => block(text, string, header, depth),
            None => text.push_str(&scalar(string)),
        },
        // Empty collections, numbers, booleans and null are written as JSON.
        other => text.push_str(&other.to_string()),
    }
}

/// A string on one line: plain where nobody can misread it, else in double quotes.
pub(super) fn scalar(string: &str) -> String {
    if is_plain(string) { string.to_owned() } else { quoted(string) }
}

fn is_plain(string: &str) -> bool {
    let starts_well = string.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '/' | '_'));
    let goes_on_well =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'+' | b'=');
    starts_well
        && string.bytes().all(goes_on_well)
        && matches!(resolve(string.into(), ScalarStyle::Plain, None), Ok(Scalar::Text(_)))
}

/// A string in double quotes, with JSON's escapes, which are YAML's as well.
pub(super) fn quoted(string: &str) -> String {
    let mut text = String::with_capacity(string.len() + 2);
    text.push('"');
    for char in string.chars() {
        match char {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            _ if needs_escape(char) => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(char));
            }
            _ => text.push(char),
        }
    }
    text.push('"');
    text
}

/// Control characters, and what breaks lines in one version of YAML only. All of them have four hex digits.
fn needs_escape(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// `|` with its chomping, for a string of several lines that can stand as it is.
fn block_header(string: &str) -> Option<&'static str> {
    let body = string.trim_end_matches('\n');
    let several = body.contains('\n') || (!body.is_empty() && string.ends_with('\n'));
    let stands = !body.starts_with([' ', '\t', '\n'])
        && !string.chars().any(|char| needs_escape(char) && char != '\n')
        && body.lines().all(|line| line.is_empty() || !line.trim().is_empty());
    (several && stands).then(|| match string.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    })
}

fn block(text: &mut String, string: &str, header: &str, depth: usize) {
    text.push_str(header);
    for line in string.strip_suffix('\n').unwrap_or(string).split('\n') {
        text.push('\n');
        if !line.is_empty() {
            indent(text, depth);
            text.push_str(line);
        }
    }
}

fn indent(text: &mut String, depth: usize) {
    (0..depth).for_each(|_| text.push_str("  "));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Limits, read_documents};
    use super::*;

    fn assert_comes_back(value: &Value) {
        let text = write_document(value);
        let documents = read_documents(&text, &Limits::default()).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
        assert_eq!(documents.len(), 1, "{text}");
        assert_eq!(&documents[0].value, value, "{text}");
    }

    #[test]
    fn every_value_comes_back() {
        for string in [
            "",
            " ",
            "a",
            "yes",
            "No",
            "on",
            "null",
            "~",
            "0644",
            "1_000",
            "1e3",
            ".inf",
            "0x1f",
            "2026-01-01",
            "12:30",
            "a: b",
            "a #b",
            "- a",
            "---",
            "...",
            "{a}",
            "[a]",
            "*a",
            "&a",
            "!a",
            "|",
            ">",
            "'",
            "\"",
            "\\",
            "=",
            "<<",
            "a=",
            "%a",
            "@a",
            "`a",
            "?",
            "a\n",
            "a\nb",
            "a\nb\n",
            "a\n\n",
            "\na",
            " a\nb",
            "a\n  b\n",
            "a\n \nb",
            "a\t\nb",
            "\ta\nb",
            "a\r\nb",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "é",
            "🚢",
            "\u{0}",
            "---\nb\n",
            "# a\nb",
            "AgB/+a==",
        ] {
            assert_comes_back(
                &json!({ string: string, "in": { "list": [string, [string], { "a": string, "b": {} }] } }),
            );
        }
        for value in [json!({}), json!([[], {}, [[1]], { "a": null }, true, 1.5, -3]), json!({ "a": [], "b": [{}] })] {
            assert_comes_back(&json!({ "value": value }));
        }
    }

    #[test]
    fn what_kubectl_reads_comes_back() {
        for line in include_str!("fixtures/kubectl.jsonl").lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            for value in row["documents"].as_array().into_iter().flatten() {
                assert_comes_back(value);
            }
        }
    }

    #[test]
    fn looks_as_a_person_writes_it() {
        let value =
            json!({ "kind": "Secret", "list": [{ "a": "b", "c": 1 }, "on"], "text": "one\ntwo\n", "type": "Opaque" });
        let text = "kind: Secret\nlist:\n- a: b\n  c: 1\n- \"on\"\ntext: |\n  one\n  two\ntype: Opaque\n";
        assert_eq!(write_document(&value), text);
    }
}

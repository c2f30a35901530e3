//! Paths inside JSON values, on the text itself, so that what is cut out keeps its form.
//!
//! [`gjson`] reads paths as `github.com/tidwall/gjson` does, as far as keys, `\` in front of special characters, wildcards
//! `*` and `?`, array positions and `#` go; its queries and modifiers are not supported. [`lodash`] reads them as
//! lodash's `get` does.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A JSON text.
    Found(String),
    /// Nothing.
    Missing,
    /// The path uses what is not supported.
    Unsupported,
}

/// The members of a JSON object as texts, in their order; `None` when it is not an object.
pub fn members(json: &str) -> Option<Vec<(String, String)>> {
    let object: Members<'_> = serde_json::from_str(json).ok()?;
    Some(object.0.into_iter().map(|(key, value)| (key.into_owned(), value.get().to_owned())).collect())
}

/// Whether a text is JSON.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// What a path means to gjson.
pub fn gjson(json: &str, path: &str) -> Lookup {
    if path.contains('.') && !path.contains('\\') {
        // The operator first takes the whole path as one key.
        if let Some(value) = parse(json).and_then(|value| member(value, &Part::literal(path))) {
            return Lookup::Found(value.get().to_owned());
        }
    }
    match (parse(json), split(path)) {
        (_, None) => Lookup::Unsupported,
        (None, _) => Lookup::Missing,
        (Some(value), Some(parts)) => follow(value, &parts).map_or(Lookup::Missing, Lookup::Found),
    }
}

/// What a path means to lodash.
pub fn lodash(json: &str, path: &str) -> Lookup {
    let Some(value) = parse(json) else { return Lookup::Missing };
    if let Some(value) = member(value, &Part::literal(path)) {
        return Lookup::Found(value.get().to_owned());
    }
    let parts = path.replace('[', ".").replace(']', "");
    let mut parts = parts.split('.').map(|part| Part::literal(part.trim_matches(['"', '\''])));
    let found = parts.try_fold(value, |at, part| member(at, &part));
    found.map_or(Lookup::Missing, |value| Lookup::Found(value.get().to_owned()))
}

/// A JSON text as a plain one, as gjson's `String` gives it: strings unquoted, null empty, all else as it stands.
pub fn plain(json: &str) -> String {
    match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str(json).unwrap_or_default(),
        Some(b'n') => String::new(),
        Some(b'-' | b'0'..=b'9') if json.contains(['.', 'e', 'E']) => {
            json.parse::<f64>().map_or_else(|_| json.to_owned(), |number| number.to_string())
        }
        _ => json.to_owned(),
    }
}

/// JSON without the white space between its parts.
pub fn compact(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    json.chars()
        .filter(|c| {
            let keep = quoted || !c.is_ascii_whitespace();
            match c {
                '"' if !escaped => quoted = !quoted,
                _ => {}
            }
            escaped = quoted && *c == '\\' && !escaped;
            keep
        })
        .collect()
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Collect<'a> {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((Cow::Owned(key), value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect(std::marker::PhantomData))
    }
}

fn parse(json: &str) -> Option<&RawValue> {
    serde_json::from_str(json).ok()
}

/// One part of a path.
#[derive(Debug)]
struct Part {
    /// Characters, and whether each is a wildcard.
    text: Vec<(char, bool)>,
}

impl Part {
    fn literal(text: &str) -> Self {
        Self { text: text.chars().map(|c| (c, false)).collect() }
    }

    fn index(&self) -> Option<usize> {
        self.text.iter().map(|(c, _)| *c).collect::<String>().parse().ok()
    }

    fn is_count(&self) -> bool {
        self.text == [('#', true)]
    }

    fn fits(&self, key: &str) -> bool {
        fits(&self.text, &key.chars().collect::<Vec<_>>())
    }
}

fn fits(pattern: &[(char, bool)], key: &[char]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((('*', true), rest)), _) => (0..=key.len()).any(|skipped| fits(rest, &key[skipped..])),
        (Some((('?', true), rest)), Some((_, others))) => fits(rest, others),
        (Some(((c, _), rest)), Some((other, others))) => c == other && fits(rest, others),
        (Some(_), None) => false,
    }
}

/// The parts of a gjson path; `None` when it has queries, modifiers or pipes.
fn split(path: &str) -> Option<Vec<Part>> {
    let mut parts = vec![Part { text: Vec::new() }];
    let mut characters = path.chars();
    while let Some(c) = characters.next() {
        let at_start = parts.last().is_some_and(|part| part.text.is_empty());
        let character = match c {
            '.' => {
                parts.push(Part { text: Vec::new() });
                continue;
            }
            '\\' => (characters.next().unwrap_or('\\'), false),
            '*' | '?' => (c, true),
            '#' if at_start => (c, true),
            '|' => return None,
            '@' | '!' | '{' | '[' if at_start => return None,
            '(' if parts.last().is_some_and(Part::is_count) => return None,
            _ => (c, false),
        };
        parts.last_mut()?.text.push(character);
    }
    Some(parts)
}

fn follow(value: &RawValue, parts: &[Part]) -> Option<String> {
    let Some((first, rest)) = parts.split_first() else { return Some(value.get().to_owned()) };
    if first.is_count() {
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        if rest.is_empty() {
            return Some(items.len().to_string());
        }
        let found: Vec<String> = items.into_iter().filter_map(|item| follow(item, rest)).collect();
        return Some(format!("[{}]", found.join(",")));
    }
    follow(member(value, first)?, rest)
}

fn member<'a>(value: &'a RawValue, part: &Part) -> Option<&'a RawValue> {
    match value.get().as_bytes().first()? {
        b'{' => {
            let members: Members<'a> = serde_json::from_str(value.get()).ok()?;
            members.0.into_iter().find(|(key, _)| part.fits(key)).map(|(_, value)| value)
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
            items.get(part.index()?).copied()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"user": "me", "tls.crt": "dotted", "nested": {"a.b": 1, "list": [ {"n": "x"}, {"n": "y"} ]},
        "port": 5432, "ratio": 1.50, "big": 12345678901234567890, "on": true, "none": null, "empty": ""}"#;

    #[test]
    fn gjson_paths_lead_where_the_operator_goes() {
        for (path, expected) in [
            ("user", Some("me")),
            ("tls.crt", Some("dotted")),
            (r"tls\.crt", Some("dotted")),
            (r"nested.a\.b", Some("1")),
            ("nested.list.1.n", Some("y")),
            ("nested.list.#", Some("2")),
            ("nested.list.#.n", Some(r#"["x","y"]"#)),
            ("nested.list.0", Some(r#"{"n": "x"}"#)),
            ("us?r", Some("me")),
            ("po*", Some("5432")),
            ("port", Some("5432")),
            ("ratio", Some("1.5")),
            ("big", Some("12345678901234567890")),
            ("on", Some("true")),
            ("none", Some("")),
            ("empty", Some("")),
            ("user.x", None),
            ("nested.list.2", None),
            ("missing", None),
        ] {
            let found = match gjson(JSON, path) {
                Lookup::Found(json) => Some(plain(&json)),
                Lookup::Missing => None,
                Lookup::Unsupported => panic!("{path} is not supported"),
            };
            assert_eq!(found.as_deref(), expected, "{path}");
        }
        for path in ["@this", "nested.list.#(n==\"x\")", "user|@json"] {
            assert_eq!(gjson(JSON, path), Lookup::Unsupported, "{path}");
        }
        assert_eq!(gjson("not json", "user"), Lookup::Missing);
    }

    #[test]
    fn lodash_paths_lead_where_the_predecessor_goes() {
        for (path, expected) in
            [("user", "\"me\""), ("tls.crt", "\"dotted\""), ("nested.list[1].n", "\"y\""), ("nested[\"a.b\"]", "")]
        {
            let found = lodash(JSON, path);
            let expected = if expected.is_empty() { Lookup::Missing } else { Lookup::Found(expected.to_owned()) };
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn compact_keeps_what_is_quoted() {
        assert_eq!(compact("{ \"a b\" : \"x \\\" y\" ,\n \"c\": [1, 2] }"), "{\"a b\":\"x \\\" y\",\"c\":[1,2]}");
    }
}

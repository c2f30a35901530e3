//! Sets one string in a text and leaves every other byte of it alone.

use std::borrow::Cow;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::split::{Chunk, split};
use super::write::{quoted, scalar};
use super::{Limits, read_documents};
use serde_json::Value;

/// Sets the string at a path of keys in the document that starts on `line`; missing mappings are made. Comments, order
/// and style of everything else stay. `None` when the text is written so that this cannot be done, with aliases for
/// instance: the caller then writes the document anew.
pub fn set_string(text: &str, line: usize, path: &[&str], value: &str) -> Option<String> {
    let chunks = split(text);
    let chunk = chunks.iter().rfind(|chunk| chunk.first_line <= line)?;
    let start = offset_in(text, chunk)?;
    let edit = edit(chunk.text, path, value)?;
    let mut edited = String::with_capacity(text.len() + edit.text.len());
    edited.push_str(&text[..start + edit.start]);
    edited.push_str(&edit.text);
    edited.push_str(&text[start + edit.end..]);
    is_just_that(text, &edited, line, path, value).then_some(edited)
}

/// Where a chunk starts in the text that it was cut from.
fn offset_in(text: &str, chunk: &Chunk<'_>) -> Option<usize> {
    (chunk.text.as_ptr() as usize).checked_sub(text.as_ptr() as usize).filter(|start| *start <= text.len())
}

/// Reads both texts: they must differ in the one value and in nothing else.
fn is_just_that(before: &str, after: &str, line: usize, path: &[&str], value: &str) -> bool {
    let read = |text| read_documents(text, &Limits::default());
    let (Ok(mut before), Ok(after)) = (read(before), read(after)) else { return false };
    if let Some(document) = before.iter_mut().find(|document| document.line == line) {
        let mut at = &mut document.value;
        for key in path {
            if !at.is_object() && !at.is_null() {
                return false;
            }
            at = &mut at[*key];
        }
        *at = Value::from(value);
    }
    before.iter().map(|document| &document.value).eq(after.iter().map(|document| &document.value))
}

/// Bytes of a chunk and what takes their place.
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

fn edit(text: &str, path: &[&str], value: &str) -> Option<Edit> {
    let places = Places::of(text);
    let mut events = Parser::new_from_str(text);
    let mut at = document(&mut events)?;
    for (depth, key) in path.iter().enumerate() {
        let Node::Mapping { start, entries } = at else { return None };
        let is_flow = text[places.byte(start)..].starts_with('{');
        let Some(found) = entries.iter().position(|entry| entry.key == *key) else {
            return insert(text, &places, start, &entries, is_flow, &path[depth..], value);
        };
        at = entries.into_iter().nth(found)?.node;
    }
    let Node::Scalar { span, style } = at else { return None };
    let (start, end) = (places.byte(span.start), places.byte(span.end));
    // Behind quotes the parser's span goes on over blanks and a comment.
    let end = quotes_end(&text[start..end]).map_or(end, |length| start + length);
    let new = match style {
        ScalarStyle::Plain => scalar(value),
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => quoted(value),
        ScalarStyle::Literal | ScalarStyle::Folded => return None,
    };
    (!text[start..end].contains('\n')).then_some(Edit { start, end, text: new })
}

/// The length of the quoted text that `text` starts with; `None` when it starts with no quote.
fn quotes_end(text: &str) -> Option<usize> {
    let quote = text.bytes().next().filter(|byte| matches!(byte, b'"' | b'\''))?;
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\\' && quote == b'"' {
            bytes.next();
        } else if byte == quote {
            // Two single quotes are one of the text.
            if quote == b'\'' && text.as_bytes().get(at + 1) == Some(&quote) {
                bytes.next();
                continue;
            }
            return Some(at + 1);
        }
    }
    None
}

/// A new entry: in a block behind the last one where that is a scalar, else in front of the first.
fn insert(
    text: &str,
    places: &Places,
    start: Marker,
    entries: &[Entry<'_>],
    is_flow: bool,
    path: &[&str],
    value: &str,
) -> Option<Edit> {
    if is_flow {
        let brace = places.byte(start) + 1;
        let mut new = path.iter().rev().fold(quoted(value), |inner, key| format!("{{{}: {inner}}}", quoted(key)));
        // The braces around the first key are there already.
        new = new[1..new.len() - 1].to_owned();
        let first = entries.first().map(|entry| &text[brace..places.byte(entry.at)]);
        let new = first.map_or_else(|| new.clone(), |blank| format!("{blank}{new},"));
        return Some(Edit { start: brace, end: brace, text: new });
    }
    let first = places.byte(entries.first()?.at);
    let line_start = text[..first].rfind('\n').map_or(0, |line_break| line_break + 1);
    let blank = &text[line_start..first];
    if !blank.bytes().all(|byte| byte == b' ') {
        return None;
    }
    let at = match entries.last().map(|entry| &entry.node) {
        Some(Node::Scalar {
            span,
            style: ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted,
        }) => {
            let end = places.byte(span.end);
            text[end..].find('\n').map_or(line_start, |line_break| end + line_break + 1)
        }
        _ => line_start,
    };
    let mut new = String::new();
    for (depth, key) in path.iter().enumerate() {
        let end = if depth + 1 == path.len() { format!(" {}\n", scalar(value)) } else { "\n".to_owned() };
        new.extend([blank, &"  ".repeat(depth), &scalar(key), ":", &end]);
    }
    Some(Edit { start: at, end: at, text: new })
}

/// Turns the parser's positions, which count characters, into bytes.
struct Places(Option<Vec<usize>>, usize);

impl Places {
    fn of(text: &str) -> Self {
        Self((!text.is_ascii()).then(|| text.char_indices().map(|(byte, _)| byte).collect()), text.len())
    }

    fn byte(&self, marker: Marker) -> usize {
        let index = marker.index();
        self.0.as_ref().map_or(index, |bytes| bytes.get(index).copied().unwrap_or(self.1)).min(self.1)
    }
}

/// What stands where.
enum Node<'t> {
    Scalar { span: Span, style: ScalarStyle },
    Mapping { start: Marker, entries: Vec<Entry<'t>> },
    Other,
}

struct Entry<'t> {
    key: Cow<'t, str>,
    at: Marker,
    node: Node<'t>,
}

type Step<'t> = Result<(Event<'t>, Span), ScanError>;

/// The root of the first document.
fn document<'t>(events: &mut impl Iterator<Item = Step<'t>>) -> Option<Node<'t>> {
    loop {
        let (event, span) = events.next()?.ok()?;
        if !matches!(event, Event::StreamStart | Event::DocumentStart(_) | Event::Nothing) {
            return node(event, span, events);
        }
    }
}

fn node<'t>(event: Event<'t>, span: Span, events: &mut impl Iterator<Item = Step<'t>>) -> Option<Node<'t>> {
    match event {
        Event::Scalar(_, style, 0, None) => Some(Node::Scalar { span, style }),
        Event::Scalar(..) | Event::Alias(_) => Some(Node::Other),
        Event::SequenceStart(..) => loop {
            let (event, span) = events.next()?.ok()?;
            if matches!(event, Event::SequenceEnd) {
                return Some(Node::Other);
            }
            node(event, span, events)?;
        },
        Event::MappingStart(..) => mapping(span.start, events),
        _ => None,
    }
}

fn mapping<'t>(start: Marker, events: &mut impl Iterator<Item = Step<'t>>) -> Option<Node<'t>> {
    let mut entries = Vec::new();
    loop {
        let (event, key_span) = events.next()?.ok()?;
        let key = match event {
            Event::MappingEnd => return Some(Node::Mapping { start, entries }),
            Event::Scalar(key, ..) => key,
            _ => return None,
        };
        let (event, span) = events.next()?.ok()?;
        entries.push(Entry { key, at: key_span.start, node: node(event, span, events)? });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# é first\na: b\n---\n# top\nkind: K # comment\nspec:\n    values:\n        old: xx   # why\n        last: 'q'\n\
        metadata:\n  name: n\n---\nc: d\n";

    #[test]
    fn everything_else_stays() {
        for (path, value, old, new) in [
            (&["spec", "values", "old"][..], "new", "old: xx   # why", "old: new   # why"),
            (&["spec", "values", "last"], "yes", "last: 'q'", "last: \"yes\""),
            (&["spec", "values", "more"], "v", "last: 'q'\n", "last: 'q'\n        more: v\n"),
            (&["metadata", "annotations", "x/y"], "a b", "name: n\n", "name: n\n  annotations:\n"),
        ] {
            let edited = set_string(FILE, 5, path, value).unwrap_or_else(|| panic!("{path:?}"));
            if path.len() == 3 && path[0] == "metadata" {
                assert_eq!(edited, FILE.replace(old, "name: n\n  annotations:\n    x/y: \"a b\"\n"));
            } else {
                assert_eq!(edited, FILE.replace(old, new));
            }
        }
    }

    #[test]
    fn a_comment_behind_quotes_stays() {
        for old in ["\"\"", "''", "\"a \\\" b\"", "'it''s'", "\"#\"", "plain", "''  "] {
            let text = format!("a: {old}   # why\nb: c\n");
            let edited = set_string(&text, 1, &["a"], "x").unwrap();
            let expected = format!("a: x{}   # why\nb: c\n", &old[old.trim_end().len()..]);
            assert_eq!(edited.replace("\"x\"", "x"), expected, "{text}");
        }
    }

    #[test]
    fn json_stays_json() {
        let json = "{\n  \"spec\": {\n    \"values\": {\n      \"a\": \"x\"\n    }\n  }\n}\n";
        let edited = set_string(json, 1, &["spec", "values", "a"], "y").unwrap();
        assert_eq!(edited, json.replace("\"x\"", "\"y\""));
        let edited = set_string(json, 1, &["spec", "values", "b"], "y").unwrap();
        assert_eq!(edited, json.replace("\"a\"", "\"b\": \"y\",\n      \"a\""));
        let edited = set_string("{}", 1, &["a", "b"], "y").unwrap();
        assert_eq!(edited, r#"{"a": {"b": "y"}}"#);
    }

    #[test]
    fn what_cannot_be_done_is_not_done() {
        for text in ["a: &x b\nc: *x\n", "a: |\n  b\n", "a: [b]\n", "a: {b: c}\n", "- a\n", "a:\n"] {
            assert_eq!(set_string(text, 1, &["a"], "new").filter(|_| text != "a:\n"), None, "{text}");
        }
    }
}

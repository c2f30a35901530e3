//! Builds a value from the events of one document.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Value};

use super::error::{Reason, YamlError};
use super::repair::Layout;
use super::scalar::{Scalar, is_merge, resolve};
use super::{Limits, Located, Spent};

/// How many times the allowed bytes may be read in one chunk, with its layout repaired in between.
const REREAD: usize = 4;

/// Why the events of a text gave no value.
enum Failure {
    /// The parser stopped.
    Scan(ScanError),
    Other(YamlError),
}

/// Reads the one document of a chunk. Gives null for an empty one. Lines count from 1 within the chunk.
pub(super) fn read_events(text: &str, limits: &Limits, spent: &mut Spent) -> Result<Located, YamlError> {
    refuse_control_characters(text)?;
    let before = *spent;
    let mut layout = Layout::of(text);
    let mut bytes = 0;
    loop {
        let error = match read_once(layout.text(), limits, spent) {
            Ok(value) => return Ok(value),
            Err(Failure::Other(error)) => return Err(layout.located(error)),
            Err(Failure::Scan(error)) => error,
        };
        let located = layout.located(syntax_error(&error));
        bytes += layout.text().len();
        if bytes > limits.bytes.saturating_mul(REREAD) || !layout.repair(&error) {
            return Err(located);
        }
        *spent = before;
    }
}

fn read_once(text: &str, limits: &Limits, spent: &mut Spent) -> Result<Located, Failure> {
    let mut builder = Builder { limits, spent, open: Vec::new(), anchors: HashMap::new(), root: None };
    let mut first_line = None;
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(Failure::Scan)?;
        let at = span.start;
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(Failure::Other(error_at(at, Reason::SecondDocument)));
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            node => {
                first_line.get_or_insert(at.line());
                builder.event(node, at).map_err(Failure::Other)?;
            }
        }
    }
    Ok((first_line.unwrap_or(1), builder.root.unwrap_or_default()))
}

fn error_at(at: Marker, reason: Reason) -> YamlError {
    YamlError::at(at.line(), at.col() + 1, reason)
}

fn syntax_error(error: &ScanError) -> YamlError {
    error_at(*error.marker(), Reason::Syntax(error.info().to_owned()))
}

/// Control characters are allowed only escaped (spec 5.1), and Go's reader insists. U+0085, U+2028 and U+2029 break
/// lines in YAML 1.1 and not in 1.2: refused rather than read differently from kubectl.
fn refuse_control_characters(text: &str) -> Result<(), YamlError> {
    let suspect = |byte: u8| (byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')) || byte >= 0x7f;
    if !text.bytes().fold(false, |found, byte| found | suspect(byte)) {
        return Ok(());
    }
    let forbidden = |char: char| {
        matches!(char, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
            || (char < ' ' && !matches!(char, '\t' | '\n' | '\r'))
    };
    let Some((at, char)) = text.char_indices().find(|(_, char)| forbidden(*char)) else {
        return Ok(());
    };
    let line_start = text[..at].rfind('\n').map_or(0, |line_break| line_break + 1);
    let line = text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = text[line_start..at].chars().count() + 1;
    Err(YamlError::at(line, column, Reason::ControlCharacter(char.into())))
}

/// A node that is complete.
enum Node<'t> {
    Scalar(Scalar<'t>),
    Collection(Value),
}

/// What an anchor stands for, and what it costs to repeat.
struct Anchored<'t> {
    node: Node<'t>,
    size: Size,
}

#[derive(Default, Clone, Copy)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Size {
    /// Adds a value that stands inside of `outside` collections.
    fn add(&mut self, value: &Value, outside: usize) {
        self.nodes += 1;
        match value {
            Value::Array(items) => {
                self.depth = self.depth.max(outside + 1);
                for item in items {
                    self.add(item, outside + 1);
                }
            }
            Value::Object(map) => {
                self.depth = self.depth.max(outside + 1);
                for (name, value) in map {
                    self.bytes += name.len();
                    self.add(value, outside + 1);
                }
            }
            Value::String(text) => self.bytes += text.len(),
            _ => {}
        }
    }
}

/// A collection that is not complete.
struct Open {
    at: Marker,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Value>),
    Mapping { entries: Vec<Entry>, key: Option<Key> },
}

enum Key {
    Name { name: String, at: Marker },
    Merge,
}

struct Entry {
    name: String,
    value: Value,
    /// Where the key stands; `None` when it was merged in and may be overridden.
    written: Option<Marker>,
}

struct Builder<'t, 'l> {
    limits: &'l Limits,
    spent: &'l mut Spent,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored<'t>>,
    root: Option<Value>,
}

impl<'t> Builder<'t, '_> {
    fn event(&mut self, event: Event<'t>, at: Marker) -> Result<(), YamlError> {
        let result = match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(text, style, anchor, tag.as_deref(), at),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::SequenceStart(anchor, _) => self.start(at, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.start(at, anchor, Content::Mapping { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => return self.end(),
            _ => Ok(()),
        };
        result.map_err(|reason| error_at(at, reason))
    }

    fn start(&mut self, at: Marker, anchor: usize, content: Content) -> Result<(), Reason> {
        if self.open.len() >= self.limits.depth {
            return Err(Reason::TooDeep { limit: self.limits.depth });
        }
        self.open.push(Open { at, anchor, content });
        Ok(())
    }

    fn end(&mut self) -> Result<(), YamlError> {
        let Some(Open { at, anchor, content }) = self.open.pop() else { return Ok(()) };
        let value = match content {
            Content::List(items) => Value::Array(items),
            Content::Mapping { entries, .. } => Value::Object(into_map(entries)?),
        };
        self.remember(anchor, &value)
            .and_then(|()| self.place(Node::Collection(value), false, at))
            .map_err(|reason| error_at(at, reason))
    }

    fn remember(&mut self, anchor: usize, value: &Value) -> Result<(), Reason> {
        if anchor != 0 {
            let mut size = Size::default();
            size.add(value, 0);
            self.spent.repeat(size.nodes, size.bytes, self.limits)?;
            self.anchors.insert(anchor, Anchored { node: Node::Collection(value.clone()), size });
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: Marker,
    ) -> Result<(), Reason> {
        let merges = is_merge(&text, style, tag);
        let scalar = resolve(text, style, tag)?;
        if anchor != 0 {
            let size = Size { nodes: 1, bytes: scalar.text_bytes(), depth: 0 };
            self.spent.repeat(0, size.bytes, self.limits)?;
            self.anchors.insert(anchor, Anchored { node: Node::Scalar(scalar.clone()), size });
        }
        if merges && let Some(key @ None) = self.expected_key() {
            *key = Some(Key::Merge);
            return Ok(());
        }
        self.place(Node::Scalar(scalar), false, at)
    }

    fn alias(&mut self, anchor: usize, at: Marker) -> Result<(), Reason> {
        let Some(Anchored { node, size }) = self.anchors.get(&anchor) else {
            return Err(Reason::AliasInItself);
        };
        if self.open.len() + size.depth > self.limits.depth {
            return Err(Reason::TooDeep { limit: self.limits.depth });
        }
        // The node itself is counted where it is placed.
        self.spent.repeat(size.nodes - 1, size.bytes, self.limits)?;
        let node = match node {
            Node::Scalar(scalar) => Node::Scalar(scalar.clone()),
            Node::Collection(value) => Node::Collection(value.clone()),
        };
        self.place(node, true, at)
    }

    /// The key of the innermost open mapping, when one is open; `None` inside is the place for the next key.
    fn expected_key(&mut self) -> Option<&mut Option<Key>> {
        match &mut self.open.last_mut()?.content {
            Content::Mapping { key, .. } => Some(key),
            Content::List(_) => None,
        }
    }

    /// Puts a complete node where it belongs: a list, a mapping as key or value, or the document.
    fn place(&mut self, node: Node<'t>, aliased: bool, at: Marker) -> Result<(), Reason> {
        if let Some(key @ None) = self.expected_key() {
            *key = Some(Key::Name { name: name_of(node)?, at });
            return Ok(());
        }
        self.spent.node(self.limits)?;
        let value = match node {
            Node::Scalar(scalar) => scalar.into_value()?,
            Node::Collection(value) => value,
        };
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(value),
            Some(Content::List(items)) => items.push(value),
            Some(Content::Mapping { entries, key }) => match key.take() {
                Some(Key::Name { name, at }) => entries.push(Entry { name, value, written: Some(at) }),
                _ => merge(entries, value, aliased)?,
            },
        }
        Ok(())
    }
}

fn name_of(node: Node<'_>) -> Result<String, Reason> {
    match node {
        Node::Scalar(scalar) => scalar.into_key(),
        Node::Collection(Value::Array(_)) => Err(Reason::Key("a list")),
        Node::Collection(_) => Err(Reason::Key("a mapping")),
    }
}

/// Adds what `<<` gives. Of a list the earlier mappings win. A list has to stand there itself, as Go wants it.
fn merge(entries: &mut Vec<Entry>, value: Value, aliased: bool) -> Result<(), Reason> {
    match value {
        Value::Object(map) => {
            entries.extend(map.into_iter().map(|(name, value)| Entry { name, value, written: None }));
        }
        Value::Array(items) if !aliased => {
            for item in items.into_iter().rev() {
                let Value::Object(_) = item else { return Err(Reason::Merge) };
                merge(entries, item, aliased)?;
            }
        }
        _ => return Err(Reason::Merge),
    }
    Ok(())
}

/// Of entries with one name the last wins, as in Go: also a merge over a key that stands above it. Two keys that are
/// both written in the mapping are an error.
fn into_map(mut entries: Vec<Entry>) -> Result<Map<String, Value>, YamlError> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for same in entries.chunk_by(|a, b| a.name == b.name) {
        let mut written = same.iter().filter_map(|entry| entry.written);
        if let (Some(first), Some(second)) = (written.next(), written.next()) {
            let key = same[0].name.clone();
            return Err(error_at(second, Reason::DuplicateKey { key, first_line: Some(first.line()) }));
        }
    }
    Ok(entries.into_iter().map(|Entry { name, value, written: _ }| (name, value)).collect())
}

//! YAML documents with the line of every node, for looking up paths.
//!
//! Every scalar is text: no path depends on what `yes` or `0644` mean. Duplicate keys are kept, since kustomize's own
//! reader takes them. Aliases share their node, so a document costs its own size, however often it repeats itself.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScanError, Span};

/// Deepest nesting that is read.
const DEEPEST: usize = 128;

/// A node and the line it starts on.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    /// Position in the text, in characters.
    pub(super) start: usize,
    pub(super) value: Value,
}

/// What stands at a node.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
}

/// A text that is no YAML.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) line: Option<usize>,
    pub(super) reason: String,
}

/// Reads every document of a text; `first_only` stops after the first, as kustomize does for its own file.
pub(super) fn read(text: &str, first_only: bool) -> Result<Vec<Rc<Node>>, Unreadable> {
    let mut events = Events { parser: Parser::new_from_str(text), anchors: HashMap::new() };
    let mut documents = Vec::new();
    loop {
        match events.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(_), _) => {
                let first = events.next()?;
                documents.push(events.node(first, 0)?);
                if first_only {
                    return Ok(documents);
                }
            }
            _ => {}
        }
    }
}

struct Events<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, Rc<Node>>,
}

impl<'t> Events<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Unreadable> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(unreadable(&error)),
            None => Err(Unreadable { line: None, reason: "it ends within a document".into() }),
        }
    }

    fn node(&mut self, (event, span): (Event<'t>, Span), depth: usize) -> Result<Rc<Node>, Unreadable> {
        let (line, start) = (span.start.line(), span.start.index());
        if depth > DEEPEST {
            return Err(Unreadable { line: Some(line), reason: "it is nested too deeply".into() });
        }
        let (anchor, value) = match event {
            Event::Alias(id) => return self.aliased(id, line),
            Event::Scalar(text, _, anchor, _) => (anchor, Value::Text(text.into_owned())),
            Event::SequenceStart(anchor, _) => (anchor, self.sequence(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.mapping(depth)?),
            _ => return Err(Unreadable { line: Some(line), reason: "a value is missing".into() }),
        };
        let node = Rc::new(Node { line, start, value });
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn aliased(&self, id: usize, line: usize) -> Result<Rc<Node>, Unreadable> {
        let unknown = || Unreadable { line: Some(line), reason: "an alias names no finished anchor".into() };
        self.anchors.get(&id).cloned().ok_or_else(unknown)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Sequence(items)),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut pairs = Vec::new();
        loop {
            match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Mapping(pairs)),
                event => {
                    let key = self.node(event, depth + 1)?;
                    let value = self.next()?;
                    pairs.push((key, self.node(value, depth + 1)?));
                }
            }
        }
    }
}

fn unreadable(error: &ScanError) -> Unreadable {
    Unreadable { line: Some(error.marker().line()), reason: error.info().to_owned() }
}

impl Node {
    /// The text of a scalar; `None` for anything else and for an empty one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The values under a key. Names are compared as Go's JSON reader does, without case; keys that are given twice
    /// count twice; merged mappings (`<<`) count where the key is not given itself.
    pub(super) fn fields(&self, name: &str) -> Vec<&Rc<Node>> {
        self.fields_within(name, 0)
    }

    fn fields_within(&self, name: &str, depth: usize) -> Vec<&Rc<Node>> {
        let Value::Mapping(pairs) = &self.value else { return Vec::new() };
        let under = |name: &str| {
            let fits = |key: &Node| key.text().is_some_and(|text| text.eq_ignore_ascii_case(name));
            pairs.iter().filter(|(key, _)| fits(key)).map(|(_, value)| value).collect::<Vec<_>>()
        };
        let own = under(name);
        if !own.is_empty() || depth >= 4 {
            return own;
        }
        let merged = under("<<").into_iter().flat_map(|node| match &node.value {
            Value::Sequence(items) => items.iter().take(16).collect(),
            _ => vec![node],
        });
        merged.flat_map(|node| node.fields_within(name, depth + 1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Rc<Node> {
        read(text, true).unwrap().remove(0)
    }

    #[test]
    fn nodes_know_their_line() {
        let node = first("# comment\nresources:\n- a.yaml\n- &b b.yaml\ncrds: [*b]\n");
        let Value::Sequence(items) = &node.fields("Resources")[0].value else { panic!("no sequence") };
        assert_eq!(
            items.iter().map(|item| (item.text(), item.line)).collect::<Vec<_>>(),
            [(Some("a.yaml"), 3), (Some("b.yaml"), 4)]
        );
    }

    #[test]
    fn duplicate_and_merged_keys_count() {
        let node = first("base: &b {resources: [c], crds: [d]}\n<<: *b\nresources: [a]\nresources: [b]\n");
        assert_eq!(node.fields("resources").len(), 2);
        assert_eq!(node.fields("crds").len(), 1);
    }

    #[test]
    fn what_is_no_yaml_names_its_line() {
        assert_eq!(read("a: b\nc: [d\n", true).unwrap_err().line, Some(3));
        assert!(read(&"[".repeat(100_000), true).is_err());
        assert!(read("&a [*a]", true).is_err());
    }

    #[test]
    fn documents_are_split() {
        assert_eq!(read("a: 1\n---\nb: 2\n", false).unwrap().len(), 2);
        assert_eq!(read("a: 1\n---\n{", true).unwrap().len(), 1);
        assert_eq!(read("", false).unwrap().len(), 0);
    }
}

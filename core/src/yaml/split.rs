//! Cuts a stream at its `---` lines, so that an error in one document hides no later one.
//!
//! A line that starts with `---` ends a document wherever it stands, also inside a block scalar or quotes: so it is
//! in YAML (spec 9.1.2), and so do `YAMLReader` of `k8s.io/apimachinery/pkg/util/yaml` and kustomize.

const SEPARATOR: &str = "---";

/// The text between two separators.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    /// The text, without a byte order mark, and without the separator unless that is bad.
    pub(super) text: &'a str,
    /// Line of the stream on which `text` starts, from 1.
    pub(super) first_line: usize,
    /// Whether the separator in front was more than `---` and a comment.
    pub(super) bad_separator: bool,
}

/// Cuts the stream. Blank and comment lines in front of the first `---` are no document; directives stay in front
/// of the document that they are about.
pub(super) fn split(stream: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut line) = (0, 1);
    let (mut opened, mut behind_directives, mut bad_separator) = (false, false, false);
    for at in separators(stream) {
        let text = &stream[start..at];
        let opening = first_content_line(text);
        if !behind_directives && opening.is_some_and(|content| content.starts_with('%')) {
            behind_directives = true;
            continue;
        }
        if opening.is_some() || opened {
            chunks.push(chunk(text, line, bad_separator));
        }
        let end = stream[at..].find('\n').map_or(stream.len(), |length| at + length + 1);
        (opened, behind_directives) = (true, false);
        let behind = stream[at + SEPARATOR.len()..end].trim();
        bad_separator = !behind.is_empty() && !behind.starts_with('#');
        // A bad separator is kept, so that the error has its line.
        let next = if bad_separator { at } else { end };
        line += line_breaks(&stream[start..next]);
        start = next;
    }
    chunks.push(chunk(&stream[start..], line, bad_separator));
    chunks
}

fn chunk(text: &str, first_line: usize, bad_separator: bool) -> Chunk<'_> {
    Chunk { text: text.strip_prefix('\u{feff}').unwrap_or(text), first_line, bad_separator }
}

fn separators(stream: &str) -> impl Iterator<Item = usize> {
    let first = stream.starts_with(SEPARATOR).then_some(0);
    first.into_iter().chain(stream.match_indices("\n---").map(|(at, _)| at + 1))
}

fn first_content_line(text: &str) -> Option<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().find(|line| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with('#')
    })
}

fn line_breaks(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

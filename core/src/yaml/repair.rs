//! Layouts that Go's parser takes and the events' parser does not.
//!
//! `saphyr-parser` holds to YAML 1.2, where the lines of a flow collection or a quoted scalar are indented deeper than
//! the key above. Go's parser, like libyaml, does not look at the indentation there, and manifests are full of
//!
//! ```yaml
//! command: [
//!   sh
//! ]
//! ```
//!
//! An error says where the parser stopped. If that is such a place, white space that means nothing is added to the
//! line or exchanged, and the chunk is read again.

use std::borrow::Cow;

use saphyr_parser::{Marker, ScanError};

use super::error::YamlError;

/// How far a line is moved to the right; when it is not enough, the line is moved again.
const STEP: &str = "                                                                ";

/// The text of a chunk in a layout that the parser takes, and what to know to report errors about the original.
pub(super) struct Layout<'a> {
    text: Cow<'a, str>,
    /// The lines that were moved by one step each; a line may be there several times.
    moved: Vec<usize>,
}

impl<'a> Layout<'a> {
    /// Ends the last line, as kubectl's `LineReader` does.
    pub(super) fn of(text: &'a str) -> Self {
        let ended = text.is_empty() || text.ends_with('\n');
        let text = if ended { Cow::Borrowed(text) } else { Cow::Owned(format!("{text}\n")) };
        Self { text, moved: Vec::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Works on the place at which the parser stopped. Gives whether there was something to do.
    pub(super) fn repair(&mut self, error: &ScanError) -> bool {
        let Some(at) = offset(&self.text, *error.marker()) else { return false };
        match error.info() {
            "invalid indentation" | "invalid indentation in flow construct" | "tab cannot be used as indentation" => {
                self.move_lines(&[line_start(&self.text, at)])
            }
            "tabs disallowed within this context (block indentation)" if continues_flow(&self.text, at) => {
                self.move_lines(&[line_start(&self.text, at)])
            }
            "invalid indentation in quoted scalar" => match quoted_lines(&self.text, at) {
                Some(starts) => self.move_lines(&starts),
                None => false,
            },
            "':' must be followed by a valid YAML whitespace" => self.replace_tabs_before(at),
            _ => false,
        }
    }

    /// Turns a column of the repaired text into one of the original.
    pub(super) fn located(&self, mut error: YamlError) -> YamlError {
        let steps = self.moved.iter().filter(|line| **line == error.line).count();
        error.column = error.column.saturating_sub(steps * STEP.len()).max(1);
        error
    }

    fn move_lines(&mut self, starts: &[usize]) -> bool {
        for start in starts.iter().rev() {
            self.moved.push(self.text[..*start].bytes().filter(|byte| *byte == b'\n').count() + 1);
            self.text.to_mut().insert_str(*start, STEP);
        }
        !starts.is_empty()
    }

    fn replace_tabs_before(&mut self, at: usize) -> bool {
        let start = self.text[..at].trim_end_matches(['\t', ' ']).len();
        let had_tabs = self.text[start..at].contains('\t');
        self.text.to_mut().replace_range(start..at, &" ".repeat(at - start));
        had_tabs
    }
}

/// The byte at which a marker stands; `None` when its line is not what `\n` ends, as after a lone `\r`.
fn offset(text: &str, marker: Marker) -> Option<usize> {
    let at = text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(marker.index())?;
    let line = &text[line_start(text, at)..at];
    (line.chars().count() == marker.col() && !line.contains('\r')).then_some(at)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |line_break| line_break + 1)
}

/// Whether the line stands in a flow collection, as far as one can tell from the line before and its first character.
fn continues_flow(text: &str, at: usize) -> bool {
    text[..line_start(text, at)].trim_end().ends_with(['{', '[', ',']) || text[at..].starts_with(['}', ']'])
}

/// Where the second and later lines start of the quoted scalar that starts at `at`.
/// `None` when it does not end, or has a document end marker in it.
fn quoted_lines(text: &str, at: usize) -> Option<Vec<usize>> {
    let quote = *text.as_bytes().get(at)?;
    let mut starts = Vec::new();
    let mut bytes = text.bytes().enumerate().skip(at + 1).peekable();
    while let Some((at, byte)) = bytes.next() {
        let next_is = |wanted: u8| text.as_bytes().get(at + 1) == Some(&wanted);
        match byte {
            b'\\' if quote == b'"' && !next_is(b'\n') && !next_is(b'\r') => {
                bytes.next();
            }
            b'\'' if quote == b'\'' && next_is(b'\'') => {
                bytes.next();
            }
            b'\n' if text[at + 1..].starts_with("...") => return None,
            b'\n' => starts.push(at + 1),
            byte if byte == quote => return Some(starts),
            _ => {}
        }
    }
    None
}

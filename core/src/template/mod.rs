//! Placeholders in a file, and their substitution: literally, all at once, in one pass over the bytes.
//!
//! Guarantees: what is no placeholder comes through byte for byte, whatever its encoding and line
//! endings; inserted text is never looked at again; where tokens overlap, the leftmost wins, and of
//! those that start at the same place the longest.

pub mod changes;
mod leftover;
mod placeholder;
pub mod recover;

use std::{borrow::Cow, collections::BTreeSet, ops::Range};

use aho_corasick::{AhoCorasick, MatchKind};

pub use leftover::placeholders_in;
pub use placeholder::{CLOSE, OPEN, did_you_mean, is_conventional, name, token};

/// As much of a file as decides whether it is binary.
pub const BINARY_PROBE: usize = 8 * 1024;

/// Whether the file that starts with `text` is binary: a NUL byte in its first 8 KiB, as Git has it.
pub fn is_binary(text: &[u8]) -> bool {
    text[..text.len().min(BINARY_PROBE)].contains(&0)
}

/// Why a set of tokens cannot be searched for.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// An empty token stands everywhere.
    #[error("a placeholder is empty")]
    Empty,
    /// The automaton has a limit, far beyond any real file.
    #[error("the placeholders cannot be searched for")]
    Automaton(#[source] aho_corasick::BuildError),
}

/// The tokens to look for.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    known: AhoCorasick,
    open: AhoCorasick,
}

/// A place in a text, as byte range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// The token with this index stands here.
    Known(usize, Range<usize>),
    /// Something of a placeholder's form that is no known token.
    LeftOver(Range<usize>),
}

impl Tokens {
    /// Takes the tokens to look for; their order gives their indices.
    pub(crate) fn new<'t>(tokens: impl IntoIterator<Item = &'t str>) -> Result<Self, TokensError> {
        let tokens: Vec<&str> = tokens.into_iter().collect();
        if tokens.iter().any(|token| token.is_empty()) {
            return Err(TokensError::Empty);
        }
        let build = |patterns: &[&str]| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(patterns)
                .map_err(TokensError::Automaton)
        };
        Ok(Self { known: build(&tokens)?, open: build(&[OPEN])? })
    }

    /// Everything found in the text, in its order.
    pub(crate) fn find(&self, text: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        let mut end = 0;
        for hit in self.known.find_iter(text) {
            self.find_left_over(text, end..hit.start(), &mut found);
            found.push(Found::Known(hit.pattern().as_usize(), hit.range()));
            end = hit.end();
        }
        self.find_left_over(text, end..text.len(), &mut found);
        found
    }

    fn find_left_over(&self, text: &[u8], gap: Range<usize>, found: &mut Vec<Found>) {
        let between = &text[gap.clone()];
        for hit in self.open.find_iter(between) {
            if let Some(length) = placeholder::length(&between[hit.start()..]) {
                let start = gap.start + hit.start();
                found.push(Found::LeftOver(start..start + length));
            }
        }
    }
}

/// Tokens with the text that replaces each.
#[derive(Clone)]
pub struct Matcher {
    tokens: Tokens,
    pairs: Vec<(String, String)>,
}

impl Matcher {
    /// Takes pairs of a token, which is taken literally, and the text that replaces it.
    pub fn new<'t>(pairs: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<Self, TokensError> {
        let pairs: Vec<(String, String)> =
            pairs.into_iter().map(|(token, value)| (token.to_owned(), value.to_owned())).collect();
        let tokens = Tokens::new(pairs.iter().map(|(token, _)| token.as_str()))?;
        Ok(Self { tokens, pairs })
    }

    /// The text that replaces the token.
    pub fn value(&self, token: &str) -> Option<&str> {
        // The longest match at the start: a token that is known is found as a whole.
        let hit = self.tokens.known.find(token)?;
        (hit.range() == (0..token.len())).then(|| self.pairs[hit.pattern().as_usize()].1.as_str())
    }

    /// The tokens that stand in the text, each once, in the order in which they were given.
    pub fn tokens_in(&self, text: &[u8]) -> Vec<&str> {
        let indices: BTreeSet<_> = self.tokens.known.find_iter(text).map(|hit| hit.pattern().as_usize()).collect();
        indices.into_iter().map(|index| self.pairs[index].0.as_str()).collect()
    }
}

/// A line and a column, both counted from 1; columns are characters, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// Where a text starts.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The place that is at `further` in a text that starts here.
    pub(crate) fn plus(self, further: Self) -> Self {
        let column = if further.line == 1 { self.column + further.column - 1 } else { further.column };
        Self { line: self.line + further.line - 1, column }
    }

    /// The position behind `text`, when `text` starts here.
    #[allow(clippy::naive_bytecount)] // only runs up to the last placeholder of a file
    pub(crate) fn after(self, text: &[u8]) -> Self {
        // Every character has exactly one byte that is no continuation byte.
        let characters = |bytes: &[u8]| bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        match text.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => Self {
                line: self.line + text[..=last].iter().filter(|byte| **byte == b'\n').count(),
                column: 1 + characters(&text[last + 1..]),
            },
            None => Self { line: self.line, column: self.column + characters(text) },
        }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One placeholder that stands, or stood, in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// The whole token, such as `<<__aws_region__>>`.
    pub token: String,
    /// Where it stands in the text as it was given.
    pub before: Position,
    /// Where it, or what replaced it, stands in the new text.
    pub after: Position,
}

/// What [`substitute`] made of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substitution<'t> {
    /// The new text; borrowed when nothing was replaced.
    pub text: Cow<'t, [u8]>,
    /// What was replaced, in the order of the text.
    pub replaced: Vec<Occurrence>,
    /// What has the form of a placeholder and no value, in the order of the text.
    pub left_over: Vec<Occurrence>,
}

/// Replaces every known token in `text` by its value.
pub fn substitute<'t>(text: &'t [u8], matcher: &Matcher) -> Substitution<'t> {
    let mut new_text = Vec::new();
    let (mut replaced, mut left_over) = (Vec::new(), Vec::new());
    let (mut before, mut after) = (Position::START, Position::START);
    let (mut copied, mut counted) = (0, 0);
    for found in matcher.tokens.find(text) {
        let range = match &found {
            Found::Known(_, range) | Found::LeftOver(range) => range.clone(),
        };
        let between = &text[counted..range.start];
        (before, after) = (before.after(between), after.after(between));
        counted = range.start;
        let occurrence = |token: &str| Occurrence { token: token.to_owned(), before, after };
        match found {
            Found::Known(index, range) => {
                let (token, value) = &matcher.pairs[index];
                replaced.push(occurrence(token));
                new_text.extend_from_slice(&text[copied..range.start]);
                new_text.extend_from_slice(value.as_bytes());
                (before, after) = (before.after(token.as_bytes()), after.after(value.as_bytes()));
                (copied, counted) = (range.end, range.end);
            }
            Found::LeftOver(range) => left_over.push(occurrence(&String::from_utf8_lossy(&text[range]))),
        }
    }
    if replaced.is_empty() {
        return Substitution { text: Cow::Borrowed(text), replaced, left_over };
    }
    new_text.extend_from_slice(&text[copied..]);
    Substitution { text: Cow::Owned(new_text), replaced, left_over }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(pairs: &[(&str, &str)]) -> Matcher {
        Matcher::new(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn values_are_literal() {
        let pairs = [
            ("<<__amp__>>", "a&b"),
            ("<<__path__>>", r"C:\1\n/x/"),
            ("<<__star__>>", "*.example.com"),
            ("<<__end__>>", "key=="),
            ("<<__space__>>", " two  words "),
            ("<<__utf8__>>", "Zürich 🚢"),
            ("<<__token__>>", "<<__amp__>>"),
            ("<<__a.b__>>", "dot"),
            ("<<__a.b__>>c", "longer"),
            ("<<__empty__>>", ""),
        ];
        for (text, expected) in [
            ("<<__amp__>>", "a&b"),
            ("x: <<__path__>>\r\n", "x: C:\\1\\n/x/\r\n"),
            ("<<__star__>><<__end__>>", "*.example.comkey=="),
            ("[<<__space__>>]", "[ two  words ]"),
            ("ü<<__utf8__>>ü", "üZürich 🚢ü"),
            ("<<__token__>>", "<<__amp__>>"),
            ("<<__a.b__>> <<__a.b__>>c <<__aXb__>>", "dot longer <<__aXb__>>"),
            ("a<<__empty__>>b", "ab"),
            ("<<<__amp__>>>", "<a&b>"),
            ("no placeholder, no newline", "no placeholder, no newline"),
            ("", ""),
        ] {
            let result = substitute(text.as_bytes(), &matcher(&pairs));
            assert_eq!(String::from_utf8_lossy(&result.text), expected, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_come_through() {
        let mut text = vec![0xFF, 0xFE, b'\r', b'\n'];
        text.extend_from_slice(b"<<__a__>>\xC3");
        let result = substitute(&text, &matcher(&[("<<__a__>>", "1")]));
        assert_eq!(&*result.text, b"\xFF\xFE\r\n1\xC3");
    }

    #[test]
    fn text_without_a_known_token_is_borrowed() {
        let result = substitute(b"plain <<__b__>>", &matcher(&[("<<__a__>>", "1")]));
        assert!(matches!(result.text, Cow::Borrowed(_)));
        assert_eq!(result.replaced, []);
    }

    #[test]
    fn positions_before_and_after() {
        let text = "ü <<__a__>> <<__x__>>\n\r\n  <<__y__>> <<__lines__>> <<__z__>>";
        let result = substitute(text.as_bytes(), &matcher(&[("<<__a__>>", "1"), ("<<__lines__>>", "p\nqq")]));
        let places = |found: &[Occurrence]| {
            found.iter().map(|o| format!("{} {} {}", o.token, o.before, o.after)).collect::<Vec<_>>()
        };
        assert_eq!(places(&result.replaced), ["<<__a__>> 1:3 1:3", "<<__lines__>> 3:13 3:13"]);
        assert_eq!(places(&result.left_over), ["<<__x__>> 1:13 1:5", "<<__y__>> 3:3 3:3", "<<__z__>> 3:27 4:4"]);
    }

    #[test]
    fn identity_changes_nothing() {
        let text = b"a <<__a__>> <<__b__>>\n<<__a__>>";
        let result = substitute(text, &matcher(&[("<<__a__>>", "<<__a__>>"), ("<<__b__>>", "<<__b__>>")]));
        assert_eq!(&*result.text, text);
    }

    #[test]
    fn an_unknown_placeholder_does_not_hide_a_known_one() {
        let result = substitute(b"<<__x<<__a__>>__>> <<__<<__a__>>", &matcher(&[("<<__a__>>", "1")]));
        assert_eq!(&*result.text, b"<<__x1__>> <<__1");
    }

    #[test]
    fn tokens_of_any_form() {
        let result = substitute(b"<< MINE <<__a__>>", &matcher(&[("<<", "1"), ("MINE", "2")]));
        assert_eq!(&*result.text, b"1 2 1__a__>>");
        assert!(matches!(Matcher::new([("", "x")]), Err(TokensError::Empty)));
    }

    #[test]
    fn a_nul_byte_makes_a_file_binary() {
        assert!(is_binary(b"\x7fELF\0"));
        assert!(!is_binary("text ü".as_bytes()));
        assert!(!is_binary(&[vec![b'a'; BINARY_PROBE], vec![0]].concat()));
    }
}

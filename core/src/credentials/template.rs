//! Text with other values in it: `{{ name }}`, `{{ name.part | filter }}`.
//!
//! Only that: no conditions and no loops. `{{ '{{' }}` stands for two braces, should the text need them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroize as _;

use super::generator::Reference;
use crate::sensitive::Sensitive;

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// How a value is written into the text around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// As it is.
    Plain,
    /// Quoted as JSON, which is YAML too.
    Json,
    /// In base64.
    Base64,
    /// Percent-encoded, for URLs.
    Url,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Reference, Filter),
}

/// A text with places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Braces that are not closed.
    #[error("`{{{{` on line {0} is not closed")]
    Open(usize),
    /// Something else than a name between the braces.
    #[error("`{{{{ {1} }}}}` on line {0} is no name of a value; write {{{{ '{{{{' }}}} for braces")]
    Name(usize, String),
    /// A filter that there is none of.
    #[error("filter {1:?} on line {0} is unknown; there are json, base64 and url")]
    Filter(usize, String),
}

impl Template {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(OPEN) {
            let line = 1 + text[..text.len() - rest.len() + open].matches('\n').count();
            pieces.push(Piece::Text(rest[..open].to_owned()));
            let inner = &rest[open + OPEN.len()..];
            if let Some(behind) = inner.trim_start().strip_prefix("'{{'") {
                let close = behind.trim_start().strip_prefix(CLOSE).ok_or(TemplateError::Open(line))?;
                pieces.push(Piece::Text(OPEN.to_owned()));
                rest = close;
                continue;
            }
            let close = inner.find(CLOSE).ok_or(TemplateError::Open(line))?;
            pieces.push(value(inner[..close].trim(), line)?);
            rest = &inner[close + CLOSE.len()..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        Ok(Self(pieces))
    }

    /// The values that it needs.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value(reference, _) => Some(reference),
            Piece::Text(_) => None,
        })
    }

    /// Puts values in.
    pub(super) fn fill<E>(
        &self,
        mut value: impl FnMut(&Reference) -> Result<Sensitive<String>, E>,
    ) -> Result<Sensitive<String>, E> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => append(&mut text, plain),
                Piece::Value(reference, filter) => append(&mut text, filter.apply(value(reference)?.expose()).expose()),
            }
        }
        Ok(Sensitive::new(text))
    }
}

/// Grows by hand: a string that grows on its own leaves its old content behind in memory.
fn append(text: &mut String, more: &str) {
    if text.capacity() - text.len() < more.len() {
        let mut larger = String::with_capacity((text.len() + more.len()) * 2);
        larger.push_str(text);
        std::mem::swap(text, &mut larger);
        larger.zeroize();
    }
    text.push_str(more);
}

fn value(text: &str, line: usize) -> Result<Piece, TemplateError> {
    let (name, filter) = text.split_once('|').map_or((text, None), |(name, filter)| (name.trim(), Some(filter.trim())));
    let reference = Reference::parse(name).ok_or_else(|| TemplateError::Name(line, text.to_owned()))?;
    let filter = match filter {
        None => Filter::Plain,
        Some("json") => Filter::Json,
        Some("base64") => Filter::Base64,
        Some("url") => Filter::Url,
        Some(other) => return Err(TemplateError::Filter(line, other.to_owned())),
    };
    Ok(Piece::Value(reference, filter))
}

impl Filter {
    fn apply(self, text: &str) -> Sensitive<String> {
        Sensitive::new(match self {
            Self::Plain => text.to_owned(),
            Self::Json => serde_json::to_string(text).unwrap_or_default(),
            Self::Base64 => STANDARD.encode(text),
            Self::Url => percent_encoded(text),
        })
    }
}

/// RFC 3986, section 2.3: what is not unreserved is encoded.
fn percent_encoded(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> String {
        let value = |reference: &Reference| Ok::<_, ()>(Sensitive::new(format!("<{reference}\"é>")));
        Template::parse(text).unwrap().fill(value).unwrap().expose().clone()
    }

    #[test]
    fn values_stand_where_their_names_stood() {
        for (text, expected) in [
            ("", ""),
            ("plain { } text }}", "plain { } text }}"),
            ("a: {{ x }}{{y}}\n", "a: <x\"é><y\"é>\n"),
            ("{{ x.private | json }}", "\"<x.private\\\"é>\""),
            ("{{ x | base64 }}", "PHgiw6k+"),
            ("{{ x|url }}", "%3Cx%22%C3%A9%3E"),
            ("{{ '{{' }} .Env }}", "{{ .Env }}"),
        ] {
            assert_eq!(fill(text), expected);
        }
    }

    #[test]
    fn what_is_no_name_is_an_error_with_its_line() {
        for (text, expected) in [
            ("\n{{ x", "line 2 is not closed"),
            ("{{ .Env }}", "`{{ .Env }}` on line 1 is no name"),
            ("{{ x | rot13 }}", "\"rot13\" on line 1 is unknown"),
            ("{{ x.y.z }}", "is no name"),
        ] {
            assert!(Template::parse(text).unwrap_err().to_string().contains(expected), "{text}");
        }
    }
}

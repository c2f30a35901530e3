//! Documents that are JSON, which YAML's grammar does not quite contain: tabs, `\ud83d\ude00`, one after the other.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Value};

use super::error::{Reason, YamlError};
use super::number::value_of_float;
use super::{Limits, Located, Spent};

/// Whether a chunk is first tried as JSON: kubectl goes by the first character.
pub(super) fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Whether a chunk that starts with `{` goes on as JSON does and a YAML flow mapping seldom would.
pub(super) fn looks_strict(text: &str) -> bool {
    text.trim_start().strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'))
}

/// Reads JSON values that follow each other, each with its line, from 1.
pub(super) fn read_json(text: &str, limits: &Limits, spent: &mut Spent) -> Result<Vec<Located>, YamlError> {
    let mut values = Vec::new();
    let (mut start, mut line) = (0, 1);
    let mut stream = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    while let Some(result) = stream.next() {
        result.map_err(|error| syntax_error(&error, 0))?;
        let blank = text[start..].len() - text[start..].trim_start().len();
        line += line_breaks(&text[start..start + blank]);
        let value = &text[start + blank..stream.byte_offset()];
        values.push((line, read_value(value, line - 1, limits, spent)?));
        line += line_breaks(value);
        start = stream.byte_offset();
    }
    Ok(values)
}

fn read_value(text: &str, lines_above: usize, limits: &Limits, spent: &mut Spent) -> Result<Value, YamlError> {
    let mut failure = None;
    let seed = Checked { limits, spent, failure: &mut failure, depth: 0 };
    seed.deserialize(&mut Deserializer::from_str(text)).map_err(|error| match failure {
        Some(reason) => YamlError::at(error.line() + lines_above, error.column().max(1), reason),
        None => syntax_error(&error, lines_above),
    })
}

fn line_breaks(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

fn syntax_error(error: &serde_json::Error, lines_above: usize) -> YamlError {
    let message = error.to_string();
    let message = message.split_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let reason = Reason::Syntax(format!("not JSON: {message}"));
    YamlError::at(error.line() + lines_above, error.column().max(1), reason)
}

/// Builds a value, and refuses duplicate keys and what goes beyond the limits.
struct Checked<'a> {
    limits: &'a Limits,
    spent: &'a mut Spent,
    /// The reason behind an error of serde's, which holds text only.
    failure: &'a mut Option<Reason>,
    depth: usize,
}

impl Checked<'_> {
    fn inner(&mut self) -> Checked<'_> {
        Checked { limits: self.limits, spent: self.spent, failure: self.failure, depth: self.depth + 1 }
    }

    fn fail<E: serde::de::Error>(&mut self, reason: Reason) -> E {
        let error = E::custom(&reason);
        *self.failure = Some(reason);
        error
    }

    fn open<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.depth < self.limits.depth {
            return Ok(());
        }
        Err(self.fail(Reason::TooDeep { limit: self.limits.depth }))
    }
}

impl<'de> DeserializeSeed<'de> for Checked<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        if let Err(reason) = self.spent.node(self.limits) {
            return Err(self.fail(reason));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        value_of_float(value).ok_or_else(|| E::custom(Reason::NotFinite))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Value, A::Error> {
        self.open()?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self.inner())? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        self.open()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(self.fail(Reason::DuplicateKey { key, first_line: None }));
            }
            let value = entries.next_value_seed(self.inner())?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

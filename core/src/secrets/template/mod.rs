//! Templates of ExternalSecrets: Go's syntax, by `gotmpl`, with functions of sprig and of the operator.
//!
//! Errors name line and function, and never what a template was run on.

mod bytes;
mod functions;

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{MissingKey, TemplateError, Value};

pub use functions::{Salt, names};

use self::bytes::{from_text, to_text};
use super::convert::decode;
use super::manifest::Content;
use super::request::{Target, Template, TemplateItem, TemplateOrigin, TemplateTarget};
use super::{Category, Failure, SecretData};
use crate::sensitive::Sensitive;

/// A `range` may go round so often in one run.
const LONGEST_RANGE: u64 = 100_000;

/// Objects that templates stand in: for each `templateFrom`, its keys; empty for a literal one.
pub type Sources = Vec<BTreeMap<String, Sensitive<Vec<u8>>>>;

/// What the Secret holds: the values, or what the template makes of them.
///
/// # Errors
/// With the key whose template fails.
pub fn content(target: &Target, values: SecretData, sources: &Sources, salt: &Salt) -> Result<Content, Failure> {
    let Some(template) = &target.template else {
        return Ok(Content { data: values, labels: target.labels.clone(), annotations: target.annotations.clone() });
    };
    let no_template = template.data.is_empty() && template.from.is_empty();
    let engine = Engine { variables: variables(&values), salt: Arc::clone(salt) };
    let mut content = Content::default();
    if template.keep_values || no_template {
        content.data = values;
    }
    run_sources(&engine, template, sources, &mut content)?;
    for (key, text) in &template.data {
        content.data.insert(key.clone(), engine.run(text, true).map_err(|failure| failure.at(key))?);
    }
    for (texts, into) in
        [(&template.labels, TemplateTarget::Labels), (&template.annotations, TemplateTarget::Annotations)]
    {
        for (key, text) in texts {
            put(&mut content, into, key, engine.run(text, true).map_err(|failure| failure.at(key))?)?;
        }
    }
    Ok(content)
}

/// The key that `rewrite.transform` makes of a key.
///
/// # Errors
/// When the template cannot be parsed or run.
pub fn render_key(template: &str, key: &str) -> Result<String, Failure> {
    let variables = Value::Map(Arc::new([("value".into(), Value::String(key.into()))].into()));
    let salt: Salt = Arc::new(|_| [0; 16]);
    let made = Engine { variables, salt }.run(template, true)?;
    String::from_utf8(made.expose().clone()).map_err(|_| failed("makes a key that is no text"))
}

fn run_sources(engine: &Engine, template: &Template, sources: &Sources, content: &mut Content) -> Result<(), Failure> {
    for (index, from) in template.from.iter().enumerate() {
        let place = format!("templateFrom[{index}]");
        let at = |failure: Failure| failure.at(&place);
        let pairs = match &from.origin {
            TemplateOrigin::Literal(text) => keys_and_values(&engine.run(text, true).map_err(at)?).map_err(at)?,
            TemplateOrigin::Object { secret, name, items } => {
                let empty = BTreeMap::new();
                let texts = sources.get(index).unwrap_or(&empty);
                let made = items.iter().map(|item| run_item(engine, item, texts, *secret));
                let made: Vec<SecretData> =
                    made.collect::<Result<_, _>>().map_err(|failure| failure.at(name)).map_err(at)?;
                made.into_iter().flatten().collect()
            }
        };
        for (key, value) in pairs {
            let value = decode(&value, from.decoding).map_err(|failure| failure.at(&key)).map_err(at)?;
            put(content, from.into, &key, value).map_err(at)?;
        }
    }
    Ok(())
}

fn run_item(
    engine: &Engine,
    item: &TemplateItem,
    texts: &BTreeMap<String, Sensitive<Vec<u8>>>,
    secret: bool,
) -> Result<SecretData, Failure> {
    let at = |failure: Failure| failure.at(&item.key);
    let text = texts.get(&item.key).ok_or_else(|| at(failed("does not exist")))?;
    let text = std::str::from_utf8(text.expose()).map_err(|_| at(failed("is no text")))?;
    let made = engine.run(text, !secret).map_err(at)?;
    if item.keys_and_values {
        return keys_and_values(&made).map_err(at);
    }
    Ok(SecretData::from([(item.key.clone(), made)]))
}

/// YAML of keys and values.
fn keys_and_values(text: &Sensitive<Vec<u8>>) -> Result<SecretData, Failure> {
    let text = std::str::from_utf8(text.expose()).map_err(|_| failed("makes what is no text"))?;
    let documents = crate::yaml::read_documents(text, &crate::yaml::Limits::default())
        .map_err(|_| failed("makes what is no YAML"))?;
    let mut pairs = SecretData::new();
    for document in documents {
        let map = document.value.as_object().ok_or_else(|| failed("makes no keys and values"))?;
        for (key, value) in map {
            let value = value.as_str().ok_or_else(|| failed(&format!("makes {key} of another type than text")))?;
            pairs.insert(key.clone(), Sensitive::new(value.as_bytes().to_vec()));
        }
    }
    Ok(pairs)
}

fn put(content: &mut Content, into: TemplateTarget, key: &str, value: Sensitive<Vec<u8>>) -> Result<(), Failure> {
    let text = |value: &Sensitive<Vec<u8>>| {
        String::from_utf8(value.expose().clone()).map_err(|_| failed("makes a label or annotation that is no text"))
    };
    match into {
        TemplateTarget::Data => drop(content.data.insert(key.to_owned(), value)),
        TemplateTarget::Labels => drop(content.labels.insert(key.to_owned(), text(&value)?)),
        TemplateTarget::Annotations => drop(content.annotations.insert(key.to_owned(), text(&value)?)),
    }
    Ok(())
}

fn failed(what: &str) -> Failure {
    Failure::new(Category::Template, format!("the template {what}"))
}

fn variables(values: &SecretData) -> Value {
    let map = values.iter().map(|(key, value)| (key.as_str().into(), Value::String(to_text(value.expose()).into())));
    Value::Map(Arc::new(map.collect()))
}

struct Engine {
    variables: Value,
    salt: Salt,
}

impl Engine {
    /// Runs a template. `public` says that its text stands in the object itself, so that messages may quote it.
    fn run(&self, text: &str, public: bool) -> Result<Sensitive<Vec<u8>>, Failure> {
        let template = gotmpl::Template::new("template")
            .missing_key(MissingKey::Error)
            .max_range_iters(LONGEST_RANGE)
            .funcs(functions::all(&self.salt))
            .parse(text)
            .map_err(|error| explain(&error, text, public))?;
        let made = template.execute_to_string(&self.variables).map_err(|error| explain(&error, text, public))?;
        Ok(Sensitive::new(from_text(&made)))
    }
}

/// What may be said of an error: nothing that a value could be part of.
fn explain(error: &TemplateError, text: &str, public: bool) -> Failure {
    let quote = |part: &str| if public && text.contains(part) { part.to_owned() } else { "(withheld)".to_owned() };
    failed(&match error {
        TemplateError::Parse { line, message, .. } | TemplateError::Lex { line, message, .. } => {
            if public {
                format!("cannot be parsed: line {line}: {message}")
            } else {
                format!("cannot be parsed: line {line}")
            }
        }
        TemplateError::UndefinedFunction(name) => {
            format!("uses the function {}, which is not supported; see docs/external-secrets.md", quote(name))
        }
        TemplateError::MissingKey { key } => format!("uses {}, which is not among the values", quote(key)),
        TemplateError::UndefinedVariable(name) => format!("uses the variable {}, which is not set", quote(name)),
        TemplateError::ArgCount { name, expected, got } => {
            format!("gives {} {got} arguments instead of {expected}", quote(name))
        }
        TemplateError::TypeMismatch { expected, got } => format!("has {got} where {expected} is needed"),
        TemplateError::RangeIterLimit | TemplateError::RecursionLimit => "goes round too often".to_owned(),
        TemplateError::Exec(message) => match message.strip_prefix(functions::OWN) {
            Some(message) => format!("fails: {message}"),
            None => "fails; the reason is withheld, because it may quote values".to_owned(),
        },
        _ => "fails; the reason is withheld, because it may quote values".to_owned(),
    })
}

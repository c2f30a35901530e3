//! Functions of templates, by what they work on. Their names and arguments are those of sprig and of the operator.
//!
//! What would differ at each run (`now`, `uuidv4`, `rand*`, `gen*`) is left out: it would change the Secret each time.

mod collections;
mod encodings;
mod logic;
mod numbers;
mod paths;
mod strings;

use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError, Value};

/// Salt for a password hash: the same for the same password, so that an unchanged value makes an unchanged Secret, and
/// not to be guessed by who does not hold the installation's key.
pub type Salt = Arc<dyn Fn(&[u8]) -> [u8; 16] + Send + Sync>;

/// In front of messages that are known to quote no value.
pub(super) const OWN: &str = "gitmoor: ";

type Result = std::result::Result<Value, TemplateError>;

/// All functions beside those of Go itself.
pub(super) fn all(salt: &Salt) -> FuncMap {
    let mut functions = Functions::default();
    strings::add(&mut functions);
    numbers::add(&mut functions);
    paths::add(&mut functions);
    logic::add(&mut functions);
    collections::add(&mut functions);
    encodings::add(&mut functions, salt);
    functions.must();
    functions.map
}

/// Names of all functions beside those of Go itself.
pub fn names() -> Vec<String> {
    let salt: Salt = Arc::new(|_| [0; 16]);
    all(&salt).into_keys().collect()
}

/// Functions that have a twin which fails where they, in sprig, do not. Here both fail.
const MUST: [&str; 25] = [
    "append",
    "chunk",
    "compact",
    "deepCopy",
    "first",
    "fromJson",
    "has",
    "initial",
    "last",
    "merge",
    "mergeOverwrite",
    "prepend",
    "push",
    "regexFind",
    "regexFindAll",
    "regexMatch",
    "regexReplaceAll",
    "regexReplaceAllLiteral",
    "regexSplit",
    "rest",
    "reverse",
    "slice",
    "toJson",
    "uniq",
    "without",
];

#[derive(Default)]
struct Functions {
    map: FuncMap,
}

impl Functions {
    /// Adds a function with at least so many arguments.
    fn add(&mut self, name: &'static str, least: usize, work: impl Fn(&[Value]) -> Result + Send + Sync + 'static) {
        let checked = move |arguments: &[Value]| {
            if arguments.len() < least {
                let got = arguments.len();
                return Err(TemplateError::ArgCount { name: name.to_owned(), expected: least, got });
            }
            work(arguments)
        };
        self.map.insert(name.to_owned(), Arc::new(checked));
    }

    /// Adds the twins, such as `mustFirst` of `first`.
    fn must(&mut self) {
        for name in MUST {
            if let Some(function) = self.map.get(name).cloned() {
                let (first, rest) = name.split_at(1);
                self.map.insert(format!("must{}{rest}", first.to_ascii_uppercase()), function);
            }
        }
    }

    /// Adds a function of one text.
    fn text(&mut self, name: &'static str, work: impl Fn(&str) -> String + Send + Sync + 'static) {
        self.add(name, 1, move |arguments| Ok(text(work(&string(&arguments[0])))));
    }
}

fn failed(message: &str) -> TemplateError {
    TemplateError::Exec(format!("{OWN}{message}"))
}

fn text(text: impl Into<Arc<str>>) -> Value {
    Value::String(text.into())
}

fn list(values: Vec<Value>) -> Value {
    Value::List(values.into())
}

/// As sprig's `strval`: texts as they are, all else as Go prints it.
fn string(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Nil => String::new(),
        other => other.to_string(),
    }
}

fn items(value: &Value) -> std::result::Result<Vec<Value>, TemplateError> {
    match value {
        Value::List(items) => Ok(items.to_vec()),
        Value::Nil => Ok(Vec::new()),
        other => Err(TemplateError::TypeMismatch { expected: "list", got: other.type_name() }),
    }
}

fn whole(value: &Value) -> std::result::Result<i64, TemplateError> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::Uint(number) => Ok(i64::try_from(*number).unwrap_or(i64::MAX)),
        Value::Float(number) => Ok(*number as i64),
        Value::Bool(yes) => Ok(i64::from(*yes)),
        Value::String(digits) => Ok(digits.trim().parse().unwrap_or_default()),
        other => Err(TemplateError::TypeMismatch { expected: "int", got: other.type_name() }),
    }
}

/// A count that is used as a length.
fn length(value: &Value) -> std::result::Result<usize, TemplateError> {
    /// Nothing that is repeated or indented may grow beyond this.
    const LONGEST: usize = 1 << 20;
    Ok(usize::try_from(whole(value)?).unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests;

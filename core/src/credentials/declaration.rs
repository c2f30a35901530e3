//! `credentials.yaml`, read and complete: every name is there, and nothing goes in circles.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::generator::{Generator, Reference, is_name, nothing_else};
use super::{Fallback, Input};
use crate::yaml::{Limits, read_documents};

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) generator: Generator,
    /// Shown once when it was generated: somebody has to type it.
    pub(super) show: bool,
}

/// A Secret and the values that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretDeclaration {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its type; `Opaque` when none is given.
    pub secret_type: Option<String>,
    /// Labels of the Secret.
    pub labels: BTreeMap<String, String>,
    /// Where it is written, sealed, below the distribution.
    pub file: String,
    /// The Applications that need it; when none of them is selected, it is left out. Empty: it is always needed.
    pub applications: Vec<String>,
    /// The environment that needs it; in another one it is left out.
    pub environment: Option<String>,
    /// What has to be restarted when a value changes.
    pub restart: Vec<String>,
    /// Its keys.
    pub data: BTreeMap<String, Reference>,
}

/// A value that is no secret, in a file that is not sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    /// The file, below the distribution.
    pub file: String,
    /// Kind and name of the object in it; none for the first document.
    pub object: Option<(String, String)>,
    /// Keys that lead to the text.
    pub path: Vec<String>,
    /// What stands there.
    pub value: Reference,
}

/// Everything that `credentials.yaml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub(super) values: BTreeMap<String, Named>,
    /// The environment that is deployed. Secrets for another one are left out.
    pub environment: Option<String>,
    /// The Secrets.
    pub secrets: Vec<SecretDeclaration>,
    /// The plain values.
    pub plain: Vec<Plain>,
}

/// What is wrong where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path in the file, such as `values.admin-password`.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawSecret {
    namespace: String,
    name: String,
    #[serde(rename = "type")]
    secret_type: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    file: Option<String>,
    application: Option<OneOrMore>,
    environment: Option<String>,
    #[serde(default)]
    restart: Vec<String>,
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "application: a name, or a list of names")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPlain {
    file: String,
    object: Option<RawObject>,
    path: Vec<String>,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawObject {
    kind: String,
    name: String,
}

impl Credentials {
    /// Reads the file. `read` gives the text of another file of the distribution, for `templateFile`.
    ///
    /// # Errors
    /// All problems at once.
    pub fn read(text: &str, read: &dyn Fn(&str) -> Result<String, String>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut top = top(text)?;
        let values = values(section(&mut top, "values", Map::new(), &mut problems), read, &mut problems);
        let environment = match top.remove("environment") {
            Some(Value::String(name)) => Some(name),
            None => None,
            Some(_) => {
                problems.push(Problem { path: "environment".to_owned(), reason: "must be a text".to_owned() });
                None
            }
        };
        let secrets = list(&mut top, "secrets", &mut problems, secret);
        let plain = list(&mut top, "files", &mut problems, plain);
        if let Err(reason) = nothing_else(&top) {
            problems.push(Problem { path: String::new(), reason });
        }
        let read = Self { values, environment, secrets, plain };
        if problems.is_empty() {
            problems = read.problems();
        }
        if problems.is_empty() { Ok(read) } else { Err(problems) }
    }

    /// The generator of a value.
    pub fn generator(&self, name: &str) -> Option<&Generator> {
        self.values.get(name).map(|named| &named.generator)
    }

    /// Those of `names` that are shown when they are generated.
    pub fn shown<'n>(&self, names: impl IntoIterator<Item = &'n String>) -> Vec<&'n str> {
        let shown = names.into_iter().filter(|name| self.values.get(*name).is_some_and(|named| named.show));
        shown.map(String::as_str).collect()
    }

    /// Names of all values.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The value with all that it is made of.
    pub(super) fn closure<'s>(&'s self, name: &'s str) -> BTreeSet<&'s str> {
        let (mut seen, mut pending) = (BTreeSet::new(), vec![name]);
        while let Some(name) = pending.pop() {
            if let Some(named) = self.values.get(name).filter(|_| seen.insert(name)) {
                pending.extend(named.generator.references().into_iter().map(|reference| reference.name.as_str()));
            }
        }
        seen
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut dangling = |path: String, reference: &Reference| {
            let reason = match self.values.get(&reference.name) {
                None => format!("no value is called {}", reference.name),
                Some(named) if !named.generator.has(reference.part) => format!("{reference} is no part of that value"),
                Some(_) => return,
            };
            problems.push(Problem { path, reason });
        };
        for (name, named) in &self.values {
            named
                .generator
                .references()
                .into_iter()
                .for_each(|reference| dangling(format!("values.{name}"), reference));
        }
        for (index, secret) in self.secrets.iter().enumerate() {
            for (key, reference) in &secret.data {
                dangling(format!("secrets[{index}].data.{key}"), reference);
            }
        }
        for (index, plain) in self.plain.iter().enumerate() {
            dangling(format!("files[{index}].value"), &plain.value);
        }
        problems.extend(self.cycle());
        if problems.is_empty() {
            problems.extend(self.same_files());
            problems.extend(self.open_secrets());
        }
        problems
    }

    /// The first circle, with its way round.
    fn cycle(&self) -> Option<Problem> {
        let mut done = BTreeSet::new();
        for name in self.names() {
            let mut way = Vec::new();
            if let Some(circle) = self.circle(name, &mut way, &mut done) {
                return Some(Problem {
                    path: format!("values.{}", circle[0]),
                    reason: format!("it needs itself: {}", circle.join(" -> ")),
                });
            }
        }
        None
    }

    fn circle<'s>(
        &'s self,
        name: &'s str,
        way: &mut Vec<&'s str>,
        done: &mut BTreeSet<&'s str>,
    ) -> Option<Vec<&'s str>> {
        if let Some(start) = way.iter().position(|on_the_way| *on_the_way == name) {
            return Some(way[start..].iter().copied().chain([name]).collect());
        }
        if !done.insert(name) {
            return None;
        }
        way.push(name);
        let found = self.values.get(name).and_then(|named| {
            named.generator.references().into_iter().find_map(|reference| self.circle(&reference.name, way, done))
        });
        way.pop();
        found
    }

    fn same_files(&self) -> Vec<Problem> {
        let mut seen = BTreeSet::new();
        let mut problems = Vec::new();
        for (index, secret) in self.secrets.iter().enumerate() {
            if !seen.insert(&secret.file) {
                let reason = format!("{} is another Secret's file too", secret.file);
                problems.push(Problem { path: format!("secrets[{index}].file"), reason });
            }
        }
        problems
    }

    /// Secret values do not belong into plain files.
    fn open_secrets(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, plain) in self.plain.iter().enumerate() {
            if self.is_secret(&plain.value) {
                let reason = format!("{} is secret, and {} is not sealed", plain.value, plain.file);
                problems.push(Problem { path: format!("files[{index}].value"), reason });
            }
        }
        problems
    }

    /// Whether somebody who reads it could use it.
    fn is_secret(&self, reference: &Reference) -> bool {
        use super::Part;
        if matches!(reference.part, Part::Public | Part::Certificate) {
            return false;
        }
        self.closure(&reference.name).into_iter().any(|name| match self.generator(name) {
            Some(Generator::Input(input, fallback)) => {
                *input == Input::Password || matches!(fallback, Fallback::Random(_))
            }
            Some(Generator::Template(_)) | None => false,
            Some(_) => true,
        })
    }
}

fn top(text: &str) -> Result<Map<String, Value>, Vec<Problem>> {
    let at_top = |reason: String| Problem { path: String::new(), reason };
    let documents = read_documents(text, &Limits::default())
        .map_err(|errors| errors.iter().map(|error| at_top(error.to_string())).collect::<Vec<_>>())?;
    let mut documents = documents.into_iter().map(|document| document.value);
    match (documents.next(), documents.next()) {
        (None, _) => Ok(Map::new()),
        (Some(Value::Object(map)), None) => Ok(map),
        _ => Err(vec![at_top("must be one mapping".to_owned())]),
    }
}

fn section(
    top: &mut Map<String, Value>,
    name: &str,
    empty: Map<String, Value>,
    problems: &mut Vec<Problem>,
) -> Map<String, Value> {
    match top.remove(name) {
        None | Some(Value::Null) => empty,
        Some(Value::Object(map)) => map,
        Some(_) => {
            problems.push(Problem { path: name.to_owned(), reason: "must be a mapping".to_owned() });
            empty
        }
    }
}

fn values(
    section: Map<String, Value>,
    read: &dyn Fn(&str) -> Result<String, String>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Named> {
    let mut values = BTreeMap::new();
    for (name, value) in section {
        match named(&name, value, read) {
            Ok(named) => drop(values.insert(name, named)),
            Err(reason) => problems.push(Problem { path: format!("values.{name}"), reason }),
        }
    }
    values
}

fn named(name: &str, value: Value, read: &dyn Fn(&str) -> Result<String, String>) -> Result<Named, String> {
    if !is_name(name) {
        return Err("a name has lower-case letters, digits and hyphens".to_owned());
    }
    let Value::Object(mut fields) = value else { return Err("must be a mapping with a generator".to_owned()) };
    let show = match fields.remove("show") {
        None => false,
        Some(Value::Bool(show)) => show,
        Some(_) => return Err("show must be true or false".to_owned()),
    };
    let generator = Generator::parse(&mut fields, read)?;
    nothing_else(&fields)?;
    Ok(Named { generator, show })
}

fn list<T>(
    top: &mut Map<String, Value>,
    name: &str,
    problems: &mut Vec<Problem>,
    one: impl Fn(Value) -> Result<T, String>,
) -> Vec<T> {
    let items = match top.remove(name) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            problems.push(Problem { path: name.to_owned(), reason: "must be a list".to_owned() });
            Vec::new()
        }
    };
    let mut read = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        match one(item) {
            Ok(item) => read.push(item),
            Err(reason) => problems.push(Problem { path: format!("{name}[{index}]"), reason }),
        }
    }
    read
}

fn secret(item: Value) -> Result<SecretDeclaration, String> {
    let raw: RawSecret = serde_json::from_value(item).map_err(|error| error.to_string())?;
    let RawSecret { namespace, name, secret_type, labels, file, application, environment, restart, data } = raw;
    let file = file.unwrap_or_else(|| format!("credentials/{namespace}.{name}.yaml"));
    stays_inside(&file)?;
    if data.is_empty() {
        return Err("data: it holds nothing".to_owned());
    }
    let reference = |(key, text): (String, String)| {
        let reference = Reference::parse(&text).ok_or_else(|| format!("data.{key}: {text:?} is no name of a value"))?;
        Ok((key, reference))
    };
    let data = data.into_iter().map(reference).collect::<Result<_, String>>()?;
    let applications = match application {
        None => Vec::new(),
        Some(OneOrMore::One(name)) => vec![name],
        Some(OneOrMore::More(names)) if names.is_empty() => {
            return Err("application: an empty list would always leave it out".to_owned());
        }
        Some(OneOrMore::More(names)) => names,
    };
    Ok(SecretDeclaration { namespace, name, secret_type, labels, file, applications, environment, restart, data })
}

fn plain(item: Value) -> Result<Plain, String> {
    let raw: RawPlain = serde_json::from_value(item).map_err(|error| error.to_string())?;
    stays_inside(&raw.file)?;
    if raw.path.is_empty() {
        return Err("path: it names nothing".to_owned());
    }
    let value = Reference::parse(&raw.value).ok_or_else(|| format!("value: {:?} is no name of a value", raw.value))?;
    let object = raw.object.map(|object| (object.kind, object.name));
    Ok(Plain { file: raw.file, object, path: raw.path, value })
}

fn stays_inside(file: &str) -> Result<(), String> {
    let parts_are_names = file.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']));
    if parts_are_names { Ok(()) } else { Err(format!("file: {file:?} is not a path below the distribution")) }
}

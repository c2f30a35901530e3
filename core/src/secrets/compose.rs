//! From what was read to the data that templates and the Secret get.

use std::collections::BTreeMap;

use regex::Regex;

use super::convert::{check_keys, convert_keys, decode, decode_leniently};
use super::property::{Lookup, compact, gjson, is_json, lodash, members, plain};
use super::reading::{Found, Payload, ReadError};
use super::request::{Decoding, Deletion, Find, Form, Item, Property, RemoteRef, Rewrite, SecretRequest, Wanted};
use super::rewrite::rewrite;
use super::{Category, Failure, SecretData, SecretValue};
use crate::sensitive::Sensitive;

/// The data of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Composed {
    /// The data, before any template.
    pub data: SecretData,
    /// AWS says of every key that it does not exist, and the object's policy is not to retain.
    pub all_gone: bool,
}

/// Puts the data of a request together. `answers` are those of its items, in their order.
///
/// # Errors
/// With the first item that failed. A key that does not exist is no error when the object's policy says so.
pub fn compose(request: &SecretRequest, answers: &[Result<Found, ReadError>]) -> Result<Composed, Failure> {
    let mut data = SecretData::new();
    let mut gone = 0;
    for (item, answer) in request.items.iter().zip(answers) {
        match answer {
            Ok(found) => data.extend(take(item, found, request.id.form).map_err(|failure| failure.at(&item.place))?),
            Err(ReadError::NotFound) if request.target.deletion != Deletion::Retain => gone += 1,
            Err(error) => return Err(error.failure(&subject(item)).at(&item.place)),
        }
    }
    Ok(Composed { data, all_gone: gone > 0 && gone == request.items.len() })
}

fn subject(item: &Item) -> String {
    match &item.wanted {
        Wanted::Value { remote, .. } | Wanted::Extract { remote, .. } => remote.key.clone(),
        Wanted::Find { find, .. } => find.path.clone().unwrap_or_else(|| "the search".to_owned()),
    }
}

fn take(item: &Item, found: &Found, form: Form) -> Result<SecretData, Failure> {
    match (&item.wanted, found) {
        (Wanted::Value { secret_key, remote }, Found::One(payload)) => {
            let value = property(payload, remote)?;
            let value = match (form, remote.decoding) {
                (Form::Legacy, Decoding::Base64) if payload.binary && remote.property.is_none() => value,
                (Form::Legacy, Decoding::Base64) => decode_leniently(&value),
                (_, decoding) => decode(&value, decoding)?,
            };
            refuse_null_bytes(&value, secret_key, remote.refuse_null_bytes)?;
            Ok(SecretData::from([(secret_key.clone(), value)]))
        }
        (Wanted::Extract { remote, rewrite }, Found::One(payload)) => extract(payload, remote, rewrite, form),
        (Wanted::Find { find, rewrite }, Found::Many(values)) => find_all(values, find, rewrite),
        _ => Err(Failure::new(Category::ProviderRefused, "AWS answered something else than was asked for")),
    }
}

fn property(payload: &Payload, remote: &RemoteRef) -> Result<SecretValue, Failure> {
    let Some(property) = &remote.property else { return Ok(payload.bytes.clone()) };
    let text = text(payload, &remote.key)?;
    let (path, lookup) = match property {
        Property::Gjson(path) => (path, gjson(text, path)),
        Property::Lodash(path) => (path, lodash(text, path)),
    };
    match lookup {
        Lookup::Found(json) => Ok(Sensitive::new(match property {
            Property::Gjson(_) => plain(&json).into_bytes(),
            Property::Lodash(_) => as_javascript(&json).into_bytes(),
        })),
        Lookup::Unsupported => {
            Err(Failure::new(Category::NotSupported, format!("property {path} has queries or modifiers of gjson")))
        }
        Lookup::Missing => {
            Err(Failure::new(Category::PropertyNotFound, format!("property {path} is not in {}", remote.key)))
        }
    }
}

/// The payload as JSON text.
fn text<'a>(payload: &'a Payload, key: &str) -> Result<&'a str, Failure> {
    let text = std::str::from_utf8(payload.bytes.expose()).ok().filter(|text| is_json(text));
    text.ok_or_else(|| Failure::new(Category::NotJson, format!("the value of {key} is not JSON")))
}

/// Strings as they are, all else as `JSON.stringify` has it.
fn as_javascript(json: &str) -> String {
    if json.starts_with('"') { plain(json) } else { compact(json) }
}

fn extract(payload: &Payload, remote: &RemoteRef, steps: &[Rewrite], form: Form) -> Result<SecretData, Failure> {
    let whole = property(payload, remote)?;
    let json = std::str::from_utf8(whole.expose()).ok().and_then(members);
    let json = json
        .ok_or_else(|| Failure::new(Category::NotJson, format!("the value of {} is not a JSON object", remote.key)))?;
    let value = |json: &str| match form {
        Form::External if json == "null" || json.starts_with('"') => plain(json),
        Form::External => json.to_owned(),
        Form::Legacy => as_javascript(json),
    };
    let data = json.into_iter().map(|(key, json)| (key, Sensitive::new(value(&json).into_bytes()))).collect();
    finish(data, steps, remote.conversion, remote.decoding, remote.refuse_null_bytes)
}

fn find_all(values: &BTreeMap<String, Payload>, find: &Find, steps: &[Rewrite]) -> Result<SecretData, Failure> {
    let mut data = SecretData::new();
    for (name, payload) in values {
        if !matches(find, name)? {
            continue;
        }
        let key = if find.base_names { name.rsplit('/').next().unwrap_or(name) } else { name };
        data.insert(key.to_owned(), payload.bytes.clone());
    }
    finish(data, steps, find.conversion, find.decoding, find.refuse_null_bytes)
}

/// Whether a name is searched for.
///
/// # Errors
/// When the pattern is no regular expression.
pub fn matches(find: &Find, name: &str) -> Result<bool, Failure> {
    let Some(pattern) = &find.name else { return Ok(true) };
    let pattern = Regex::new(pattern)
        .map_err(|_| Failure::new(Category::InvalidSpec, format!("{pattern} is no regular expression")))?;
    Ok(pattern.is_match(name))
}

/// Keys are rewritten or else converted, then values decoded.
fn finish(
    data: SecretData,
    steps: &[Rewrite],
    conversion: super::request::Conversion,
    decoding: Decoding,
    no_null_bytes: bool,
) -> Result<SecretData, Failure> {
    let mut data = if steps.is_empty() { convert_keys(data, conversion)? } else { rewrite(data, steps)? };
    check_keys(&mut data)?;
    for (key, value) in &mut data {
        *value = decode(value, decoding).map_err(|failure| failure.at(key))?;
        refuse_null_bytes(value, key, no_null_bytes)?;
    }
    Ok(data)
}

fn refuse_null_bytes(value: &SecretValue, key: &str, refuse: bool) -> Result<(), Failure> {
    if refuse && value.expose().contains(&0) {
        return Err(Failure::new(Category::Conversion, format!("the value for {key} has NUL bytes")));
    }
    Ok(())
}

//! Encodings, digests and documents.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gotmpl::{TemplateError, Value};
use serde_json::Value as Json;
use sha2::{Digest, Sha256, Sha512};

use super::super::bytes::{from_text, to_text};
use super::{Functions, Salt, failed, list, string, text};
use crate::tracking::hex;

/// bcrypt's cost in sprig.
const COST: u32 = 10;

pub(super) fn add(functions: &mut Functions, salt: &Salt) {
    functions.add("b64enc", 1, |a| Ok(text(STANDARD.encode(from_text(&string(&a[0]))))));
    functions.add("b64dec", 1, |a| {
        let encoded: String = string(&a[0]).chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        let decoded = STANDARD.decode(encoded).map_err(|_| failed("b64dec is given what is not base64"))?;
        Ok(text(to_text(&decoded)))
    });
    functions.text("sha1sum", |value| {
        hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &from_text(value)).as_ref())
    });
    functions.text("sha256sum", |value| hex(&Sha256::digest(from_text(value))));
    functions.text("sha512sum", |value| hex(&Sha512::digest(from_text(value))));
    documents(functions);
    passwords(functions, salt);
    functions.add("filterPEM", 2, |a| Ok(text(filter_pem(&string(&a[0]), &string(&a[1])))));
}

fn documents(functions: &mut Functions) {
    functions.add("toJson", 1, |a| Ok(text(escape_html(&to_json(&a[0]).to_string()))));
    for name in ["toRawJson", "mustToRawJson"] {
        functions.add(name, 1, |a| Ok(text(to_json(&a[0]).to_string())));
    }
    for name in ["toPrettyJson", "mustToPrettyJson"] {
        functions.add(name, 1, |a| {
            let pretty = serde_json::to_string_pretty(&to_json(&a[0]));
            Ok(text(escape_html(&pretty.map_err(|_| failed("the value is no JSON"))?)))
        });
    }
    functions.add("fromJson", 1, |a| {
        let json = serde_json::from_str(&string(&a[0]));
        Ok(from_json(&json.map_err(|_| failed("fromJson is given what is not JSON"))?))
    });
    functions.add("toYaml", 1, |a| {
        let yaml = serde_yaml::to_string(&to_json(&a[0])).map_err(|_| failed("the value is no YAML"))?;
        Ok(text(yaml.trim_end_matches('\n')))
    });
    functions.add("fromYaml", 1, |a| {
        let documents = crate::yaml::read_documents(&string(&a[0]), &crate::yaml::Limits::default());
        let documents = documents.map_err(|_| failed("fromYaml is given what is not YAML"))?;
        Ok(documents.first().map_or(Value::Nil, |document| from_json(&document.value)))
    });
}

fn passwords(functions: &mut Functions, salt: &Salt) {
    let of_user = Arc::clone(salt);
    functions.add("htpasswd", 2, move |a| {
        let (user, password) = (string(&a[0]), string(&a[1]));
        if user.contains(':') {
            return Err(failed("a user of htpasswd may not have a colon"));
        }
        Ok(text(format!("{user}:{}", hash(&password, &of_user)?)))
    });
    let alone = Arc::clone(salt);
    functions.add("bcrypt", 1, move |a| Ok(text(hash(&string(&a[0]), &alone)?)));
}

fn hash(password: &str, salt: &Salt) -> Result<String, TemplateError> {
    let bytes = from_text(password);
    let hashed = bcrypt::hash_with_salt(&bytes, COST, salt(&bytes));
    let hashed = hashed.map_err(|_| failed("the password cannot be hashed"))?;
    Ok(hashed.format_for_version(bcrypt::Version::TwoA))
}

/// As Go's encoder: `<`, `>` and `&` are escaped.
fn escape_html(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Bool(yes) => Json::Bool(*yes),
        Value::Int(number) => Json::from(*number),
        Value::Uint(number) => Json::from(*number),
        // Go writes whole numbers without a point.
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Json::from(*number as i64),
        Value::Float(number) => Json::from(*number),
        Value::String(text) => Json::from(&**text),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(map) => map.iter().map(|(key, value)| (key.to_string(), to_json(value))).collect(),
        Value::Nil | Value::Function(_) => Json::Null,
    }
}

/// Numbers become floats, as in Go.
fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(yes) => Value::Bool(*yes),
        Json::Number(number) => number.as_f64().map_or(Value::Nil, Value::Float),
        Json::String(string) => text(string.as_str()),
        Json::Array(items) => list(items.iter().map(from_json).collect()),
        Json::Object(map) => {
            Value::Map(Arc::new(map.iter().map(|(key, value)| (key.as_str().into(), from_json(value))).collect()))
        }
    }
}

/// The blocks of a kind, such as `CERTIFICATE` or `PRIVATE KEY`.
fn filter_pem(kind: &str, pem: &str) -> String {
    let (begin, end) = (format!("-----BEGIN {kind}-----"), format!("-----END {kind}-----"));
    let blocks = pem.split(&begin).skip(1).filter_map(|rest| rest.split_once(&end));
    let blocks: Vec<String> = blocks.map(|(body, _)| format!("{begin}{body}{end}\n")).collect();
    blocks.concat()
}

//! `gitmoor seal edit`: single values, and nothing else of the file.

use gitmoor_core::{
    names::{ANNOTATION_SEALED_AT, ANNOTATION_SEALED_WITH},
    object::annotation,
    seal::{PrivateKey, SealError, SealedSecret},
    sensitive::Sensitive,
    yaml::set_string,
};
use serde_json::Value;

use super::{
    arguments::{Assignment, Edit, Format},
    certificate,
    input::{self, Object},
    keys, now,
    output::{PUBLIC, render},
    recover::called,
    rejected,
};
use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
    work_tree,
};

type Values = Vec<(String, Sensitive<Vec<u8>>)>;

/// Seals the values and puts them into the text; where its form does not allow that, the file is written anew.
pub(super) fn run(arguments: &Edit, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let text = input::text(Some(&arguments.file), "a SealedSecret", terminal)?;
    let (position, line, mut sealed) = choose(&text, arguments)?;
    let values = values(arguments, terminal)?;
    let certificate = certificate::find(&arguments.source, terminal)?;
    let keys = keys::read(&arguments.recovery_private_key, terminal)?;
    let place = format!("{}:{line}: SealedSecret {}", text.name, called(&sealed));
    let names = seal_into(&mut sealed, &values, certificate.key(), &keys)
        .map_err(|error| rejected(format!("{place} cannot be edited; nothing was written")).because(&error))?;
    if names.is_empty() {
        terminal.message(&format!("{place}: unchanged"));
        return Ok(Exit::Done);
    }
    let edited = edit_text(text.text.expose(), line, &names, &sealed).filter(|edited| holds(edited, position, &sealed));
    let edited = match edited {
        Some(edited) => edited,
        None => write_anew(&text, position, sealed, terminal)?,
    };
    work_tree::write_to(&arguments.file, edited.as_bytes(), PUBLIC).map_err(|error| input::cannot_write(&error))?;
    terminal.message(&format!("{place}: sealed {}", names.join(", ")));
    Ok(Exit::Done)
}

/// The SealedSecret to edit, with its position among the file's objects and its line.
fn choose(text: &input::Text, arguments: &Edit) -> Result<(usize, usize, SealedSecret), Failure> {
    let Edit { name, namespace, .. } = arguments;
    let mut found = Vec::new();
    for (position, Object { place, line, value }) in input::objects(text)?.into_iter().enumerate() {
        if !SealedSecret::is_one(&value) {
            continue;
        }
        let sealed = SealedSecret::read(value)
            .map_err(|error| rejected(format!("{place} is no usable SealedSecret")).because(&error))?;
        let fits = name.as_ref().is_none_or(|name| name == sealed.name())
            && namespace.as_ref().is_none_or(|namespace| namespace == sealed.namespace());
        if fits {
            found.push((position, line, sealed));
        }
    }
    let names: Vec<String> = found.iter().map(|(_, _, sealed)| called(sealed)).collect();
    match (found.pop(), names.len()) {
        (Some(one), 1) => Ok(one),
        (None, _) => Err(rejected(format!("no such SealedSecret in {}", text.name))),
        _ => Err(rejected(format!("{} holds several SealedSecrets: {}", text.name, names.join(", ")))
            .hint("say which one: --name, and --namespace")),
    }
}

fn values(arguments: &Edit, terminal: &mut Terminal) -> Result<Values, Failure> {
    if arguments.values.iter().filter(|assignment| assignment.value.is_none()).count() > 1 {
        return Err(Failure::new(Exit::Usage, "only one value can come from standard input"));
    }
    let mut values = Values::new();
    for Assignment { key, value } in &arguments.values {
        let value = if let Some(value) = value {
            terminal.warning(&format!("the value of {key} shows in process lists and in the shell's history"));
            Sensitive::new(value.expose().clone().into_bytes())
        } else {
            let value = input::bytes(None, "a value", terminal)?;
            if value.expose().is_empty() && !arguments.allow_empty_data {
                return Err(rejected(format!("standard input has no value for {key}; nothing was written")).hint(
                    "printf %s VALUE | gitmoor seal edit FILE KEY; an empty value is sealed with --allow-empty-data",
                ));
            }
            if value.expose().ends_with(b"\n") {
                terminal
                    .warning(&format!("the value of {key} ends with a newline, which is kept; printf %s writes none"));
            }
            value
        };
        values.push((key.clone(), value));
    }
    for (key, file) in &arguments.from_file {
        values.push((key.clone(), input::bytes(Some(file), "a value", terminal)?));
    }
    Ok(values)
}

/// Gives the names of the values that changed.
fn seal_into(
    sealed: &mut SealedSecret,
    values: &Values,
    key: &gitmoor_core::seal::SealingKey,
    keys: &[PrivateKey],
) -> Result<Vec<String>, SealError> {
    let now = now().to_string();
    let mut changed = Vec::new();
    for (name, value) in values {
        if sealed.replace(name, value, key, &now, keys)? {
            changed.push(name.clone());
        }
    }
    Ok(changed)
}

/// The text with the new ciphertexts and annotations in it.
fn edit_text(text: &str, line: usize, names: &[String], sealed: &SealedSecret) -> Option<String> {
    let mut edited = text.to_owned();
    for name in names {
        edited = set_string(&edited, line, &["spec", "encryptedData", name], sealed.ciphertext(name)?)?;
    }
    let object = sealed.clone().into_value();
    for name in [ANNOTATION_SEALED_WITH, ANNOTATION_SEALED_AT] {
        if let Some(value) = annotation(&object, name) {
            edited = set_string(&edited, line, &["metadata", "annotations", name], value)?;
        }
    }
    Some(edited)
}

/// Whether the text holds the SealedSecret at its position: in a List it stands elsewhere than at its line.
fn holds(text: &str, position: usize, sealed: &SealedSecret) -> bool {
    let text = input::Text { name: String::new(), text: text.to_owned().into() };
    let objects = input::objects(&text).unwrap_or_default();
    objects.get(position).is_some_and(|object| object.value == sealed.clone().into_value())
}

fn write_anew(
    text: &input::Text,
    position: usize,
    sealed: SealedSecret,
    terminal: &mut Terminal,
) -> Result<String, Failure> {
    terminal.warning(&format!("{} is written anew, because its form does not allow an edit in place", text.name));
    let mut objects: Vec<Value> = input::objects(text)?.into_iter().map(|object| object.value).collect();
    if let Some(object) = objects.get_mut(position) {
        *object = sealed.into_value();
    }
    let is_json = text.text.expose().trim_start().starts_with('{');
    Ok(render(&objects, if is_json { Format::Json } else { Format::Yaml }))
}

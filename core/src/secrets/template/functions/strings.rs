//! Texts.

use gotmpl::{TemplateError, Value};
use regex::Regex;

use super::{Functions, failed, items, length, list, string, text, whole};

pub(super) fn add(functions: &mut Functions) {
    case(functions);
    trimming(functions);
    parts(functions);
    regular_expressions(functions);
    functions.add("quote", 0, |a| Ok(text(join(a, |value| format!("{value:?}").replace("\\'", "'")))));
    functions.add("squote", 0, |a| Ok(text(join(a, |value| format!("'{value}'")))));
    functions.add("cat", 0, |a| Ok(text(join(a, str::to_owned))));
    functions.add("indent", 2, |a| Ok(text(indent(length(&a[0])?, &string(&a[1])))));
    functions.add("nindent", 2, |a| Ok(text(format!("\n{}", indent(length(&a[0])?, &string(&a[1]))))));
    functions.add("repeat", 2, |a| Ok(text(string(&a[1]).repeat(length(&a[0])?.min(10_000)))));
    functions.add("replace", 3, |a| Ok(text(string(&a[2]).replace(&string(&a[0]), &string(&a[1])))));
    functions.add("toString", 1, |a| Ok(text(string(&a[0]))));
    functions.add("toStrings", 1, |a| Ok(list(items(&a[0])?.iter().map(|value| text(string(value))).collect())));
}

fn case(functions: &mut Functions) {
    functions.text("upper", str::to_uppercase);
    functions.text("lower", str::to_lowercase);
    functions.text("title", |value| each_word(value, |c| c.to_uppercase().collect()));
    functions.text("untitle", |value| each_word(value, |c| c.to_lowercase().collect()));
    functions.text("initials", |value| value.split_whitespace().filter_map(|word| word.chars().next()).collect());
    functions.text("swapcase", |value| {
        let swap = |c: char| if c.is_uppercase() { c.to_lowercase().to_string() } else { c.to_uppercase().to_string() };
        value.chars().map(swap).collect()
    });
    functions.text("nospace", |value| value.chars().filter(|c| !c.is_whitespace()).collect());
}

fn each_word(value: &str, change: impl Fn(char) -> String) -> String {
    let mut start = true;
    value.chars().fold(String::new(), |mut done, c| {
        if start {
            done.push_str(&change(c));
        } else {
            done.push(c);
        }
        start = c.is_whitespace();
        done
    })
}

fn trimming(functions: &mut Functions) {
    functions.text("trim", |value| value.trim().to_owned());
    for name in ["trimAll", "trimall"] {
        functions.add(name, 2, |a| Ok(text(string(&a[1]).trim_matches(|c| string(&a[0]).contains(c)))));
    }
    functions.add("trimPrefix", 2, |a| {
        let (cut, value) = (string(&a[0]), string(&a[1]));
        Ok(text(value.strip_prefix(&cut).unwrap_or(&value)))
    });
    functions.add("trimSuffix", 2, |a| {
        let (cut, value) = (string(&a[0]), string(&a[1]));
        Ok(text(value.strip_suffix(&cut).unwrap_or(&value)))
    });
    functions.add("trunc", 2, |a| Ok(text(truncate(whole(&a[0])?, &string(&a[1])))));
    functions.add("substr", 3, |a| {
        let (start, end, value) = (whole(&a[0])?, whole(&a[1])?, string(&a[2]));
        let from = usize::try_from(start).unwrap_or_default();
        let to = usize::try_from(end).unwrap_or(usize::MAX);
        Ok(text(value.chars().skip(from).take(to.saturating_sub(from)).collect::<String>()))
    });
}

/// The first so many characters, of a negative number the last.
fn truncate(count: i64, value: &str) -> String {
    let (all, wanted) = (value.chars().count(), usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX));
    if count < 0 {
        value.chars().skip(all.saturating_sub(wanted)).collect()
    } else {
        value.chars().take(wanted).collect()
    }
}

fn parts(functions: &mut Functions) {
    functions.add("contains", 2, |a| Ok(Value::Bool(string(&a[1]).contains(&string(&a[0])))));
    functions.add("hasPrefix", 2, |a| Ok(Value::Bool(string(&a[1]).starts_with(&string(&a[0])))));
    functions.add("hasSuffix", 2, |a| Ok(Value::Bool(string(&a[1]).ends_with(&string(&a[0])))));
    functions.add("splitList", 2, |a| Ok(list(string(&a[1]).split(&string(&a[0])).map(text).collect())));
    functions.add("split", 2, |a| Ok(numbered(string(&a[1]).split(&string(&a[0])))));
    functions.add("splitn", 3, |a| Ok(numbered(string(&a[2]).splitn(length(&a[1])?, &string(&a[0])))));
    functions.add("join", 2, |a| {
        let texts = match &a[1] {
            Value::List(values) => values.iter().filter(|value| !matches!(value, Value::Nil)).map(string).collect(),
            other => vec![string(other)],
        };
        Ok(text(texts.join(&string(&a[0]))))
    });
}

/// `_0`, `_1`, …, as sprig's `split` has it.
fn numbered<'a>(parts: impl Iterator<Item = &'a str>) -> Value {
    let map = parts.enumerate().map(|(index, part)| (format!("_{index}").into(), text(part)));
    Value::Map(std::sync::Arc::new(map.collect()))
}

fn regular_expressions(functions: &mut Functions) {
    functions.add("regexMatch", 2, |a| Ok(Value::Bool(pattern(&a[0])?.is_match(&string(&a[1])))));
    functions
        .add("regexFind", 2, |a| Ok(text(pattern(&a[0])?.find(&string(&a[1])).map_or("", |found| found.as_str()))));
    functions.add("regexReplaceAll", 3, |a| {
        let (value, by) = (string(&a[1]), string(&a[2]));
        Ok(text(pattern(&a[0])?.replace_all(&value, by.as_str()).into_owned()))
    });
    functions.add("regexReplaceAllLiteral", 3, |a| {
        let (value, by) = (string(&a[1]), string(&a[2]));
        Ok(text(pattern(&a[0])?.replace_all(&value, regex::NoExpand(&by)).into_owned()))
    });
    functions.add("regexFindAll", 3, |a| {
        let (value, pattern) = (string(&a[1]), pattern(&a[0])?);
        let most = usize::try_from(whole(&a[2])?).unwrap_or(usize::MAX);
        Ok(list(pattern.find_iter(&value).take(most).map(|found| text(found.as_str())).collect()))
    });
    functions.text("regexQuoteMeta", |value| {
        value.chars().fold(String::new(), |mut quoted, c| {
            if "\\.+*?()|[]{}^$".contains(c) {
                quoted.push('\\');
            }
            quoted.push(c);
            quoted
        })
    });
    functions.add("regexSplit", 3, |a| {
        let value = string(&a[1]);
        let most = usize::try_from(whole(&a[2])?).unwrap_or(usize::MAX);
        Ok(list(pattern(&a[0])?.splitn(&value, most).map(text).collect()))
    });
}

fn pattern(value: &Value) -> Result<Regex, TemplateError> {
    Regex::new(&string(value)).map_err(|_| failed("a pattern is no regular expression"))
}

fn indent(spaces: usize, value: &str) -> String {
    let pad = " ".repeat(spaces.min(1000));
    format!("{pad}{}", value.replace('\n', &format!("\n{pad}")))
}

fn join(values: &[Value], form: impl Fn(&str) -> String) -> String {
    let there = values.iter().filter(|value| !matches!(value, Value::Nil));
    there.map(|value| form(&string(value))).collect::<Vec<_>>().join(" ")
}

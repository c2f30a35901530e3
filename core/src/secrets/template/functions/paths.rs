//! Paths with slashes, as Go's package `path` has them.

use gotmpl::Value;

use super::{Functions, string};

pub(super) fn add(functions: &mut Functions) {
    functions.text("base", base);
    functions.text("dir", |path| clean(path.rfind('/').map_or("", |at| &path[..=at])));
    functions.text("clean", clean);
    functions.text("ext", |path| {
        let last = path.rsplit('/').next().unwrap_or_default();
        last.rfind('.').map_or_else(String::new, |at| last[at..].to_owned())
    });
    functions.add("isAbs", 1, |a| Ok(Value::Bool(string(&a[0]).starts_with('/'))));
}

fn base(path: &str) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if last.is_empty() { "/".to_owned() } else { last.to_owned() }
}

/// Without `.`, doubled slashes, and `..` behind a name.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match parts.last() {
            Some(last) if part == ".." && *last != ".." => drop(parts.pop()),
            None if part == ".." && rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

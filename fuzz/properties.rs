//! What holds for any bytes. Each function takes what a fuzzer made up and panics where a property does not
//! hold. Used by the fuzz targets and, over the committed corpus, by the offline tests.

#[path = "sources.rs"]
pub mod sources;

use gitmoor_core::{
    setup_conf::{Override, SetupConf},
    template::{Matcher, recover::recover, substitute},
};

/// Divides the input: a fuzzer finds a single byte easily.
const SEPARATOR: u8 = 0xFE;

/// The parser of setup.conf: no panic; the same for Windows line endings; every value is reached by its token,
/// and values hold nothing that could still be expanded.
pub fn setup_conf(data: &[u8]) {
    let Ok(conf) = SetupConf::parse(data, &[]) else { return };
    let entries = |conf: &SetupConf| -> Vec<(String, String)> {
        conf.entries().iter().map(|entry| (entry.token.clone(), entry.value.clone())).collect()
    };
    if !data.contains(&b'\r') {
        let windows: Vec<u8> =
            data.iter().flat_map(|byte| if *byte == b'\n' { vec![b'\r', b'\n'] } else { vec![*byte] }).collect();
        let windows = SetupConf::parse(&windows, &[]).expect("line endings make no error");
        assert_eq!(entries(&windows), entries(&conf), "line endings count");
    }
    let matcher = conf.matcher().expect("what was parsed can be searched for");
    for entry in conf.entries() {
        assert_eq!(matcher.value(&entry.token), Some(entry.value.as_str()));
        assert_eq!(*substitute(entry.token.as_bytes(), &matcher).text, *entry.value.as_bytes());
    }
    // A value from the command line stands in for the file's.
    if let Some(entry) = conf.entries().first() {
        let instead = Override { name: entry.token.clone(), value: String::new() };
        let conf = SetupConf::parse(data, &[instead]).expect("an empty value makes no error");
        assert_eq!(conf.entries()[0].value, "");
    }
    drop((conf.secret_values(), conf.doubtful_values(&String::from_utf8_lossy(data)), conf.unused(|_| false)));
}

/// Substitution: what is no placeholder comes through byte for byte, the identity changes nothing, and
/// positions are those of the tokens.
pub fn substitution(data: &[u8]) {
    let (conf, text) = split(data);
    let Ok(conf) = SetupConf::parse(conf, &[]) else { return };
    let tokens: Vec<&str> = conf.entries().iter().map(|entry| entry.token.as_str()).collect();
    let identity = Matcher::new(tokens.iter().map(|token| (*token, *token))).expect("parsed tokens are not empty");
    assert_eq!(*substitute(text, &identity).text, *text, "the identity changes something");

    let matcher = conf.matcher().expect("what was parsed can be searched for");
    let result = substitute(text, &matcher);
    let occurrences = result.replaced.len();
    assert_eq!(occurrences, substitute(text, &identity).replaced.len());
    // The text between the tokens, as the occurrences in the identity's result delimit it, in both results.
    let (mut before, mut after) = (text, &*result.text);
    for occurrence in &result.replaced {
        let start = find(before, occurrence.token.as_bytes()).expect("a replaced token stands in the text");
        let value = matcher.value(&occurrence.token).expect("a replaced token has a value").as_bytes();
        // A token inside of a longer one that was replaced later: the leftmost longest was taken.
        if before[..start] != after[..start.min(after.len())] || !after[start..].starts_with(value) {
            return assert!(overlap(&tokens), "text beside a placeholder changed");
        }
        (before, after) = (&before[start + occurrence.token.len()..], &after[start + value.len()..]);
    }
    assert_eq!(before, after, "text behind the last placeholder changed");
}

/// Recovery: filling with the same values gives the present text back, and an untouched file gives its template.
pub fn recovery(data: &[u8]) {
    let (conf, rest) = split(data);
    let (template, present) = split(rest);
    let Ok(conf) = SetupConf::parse(conf, &[]) else { return };
    let matcher = conf.matcher().expect("what was parsed can be searched for");
    let tokens_in_present = !matcher.tokens_in(present).is_empty();
    let recovered = recover(template, &matcher, present);
    let known = substitute(template, &matcher).replaced.len();
    assert_eq!(recovered.found() + recovered.edited.len() + recovered.removed, known, "a placeholder is lost");
    if !tokens_in_present {
        assert_eq!(*recovered.fill(&matcher).text, *present, "the same values change something");
    }
    let initialised = substitute(template, &matcher).text;
    if matcher.tokens_in(&initialised).is_empty() {
        let untouched = recover(template, &matcher, &initialised);
        assert_eq!(*untouched.fill(&matcher).text, *initialised);
    }
}

fn split(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == SEPARATOR) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[]),
    }
}

fn find(text: &[u8], token: &[u8]) -> Option<usize> {
    text.windows(token.len()).position(|window| window == token)
}

/// Whether one token can hide another.
fn overlap(tokens: &[&str]) -> bool {
    tokens.iter().any(|one| {
        tokens.iter().any(|other| {
            let ends = (1..other.len()).filter(|at| other.is_char_boundary(*at));
            (one != other && other.contains(one)) || ends.into_iter().any(|at| one.ends_with(&other[..at]))
        })
    })
}

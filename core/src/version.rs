//! Versions and ranges of versions, as Helm and Argo CD read them.
//!
//! Follows `github.com/Masterminds/semver/v3` 3.5.0: versions may lack parts and begin with `v`; a range is alternatives
//! (`||`) of constraints that hold together (commas or blanks). Rust's `semver` reads `1.2.3` as `^1.2.3`, and knows no
//! alternatives, no hyphen ranges and no `!=`.

use std::cmp::Ordering;

/// A version. Build metadata does not count in comparisons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    before: Vec<Identifier>,
    /// All three parts are written.
    complete: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Text(String),
}

impl Version {
    /// Reads `[v]MAJOR[.MINOR[.PATCH]][-PRERELEASE][+BUILD]`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        if build.is_some_and(|build| !identifiers_fit(build)) {
            return None;
        }
        let (numbers, before) = text.split_once('-').map_or((text, None), |(numbers, before)| (numbers, Some(before)));
        let parts: Vec<&str> = numbers.split('.').collect();
        let [major, minor, patch] = match parts.as_slice() {
            [major] => [Some(*major), None, None],
            [major, minor] => [Some(*major), Some(*minor), None],
            [major, minor, patch] => [Some(*major), Some(*minor), Some(*patch)],
            _ => return None,
        };
        let number = |part: Option<&str>| part.map_or(Some(0), number);
        let complete = patch.is_some();
        let (major, minor, patch) = (number(major)?, number(minor)?, number(patch)?);
        let before = match before {
            None => Vec::new(),
            Some(before) if identifiers_fit(before) => before.split('.').map(identifier).collect(),
            Some(_) => return None,
        };
        Some(Self { major, minor, patch, before, complete })
    }

    /// All three parts are written: it names one version and no range.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// It comes before the release of its number.
    pub fn is_prerelease(&self) -> bool {
        !self.before.is_empty()
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn identifiers_fit(text: &str) -> bool {
    let fits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    text.split('.').all(fits)
}

fn identifier(text: &str) -> Identifier {
    number(text).map_or_else(|| Identifier::Text(text.to_owned()), Identifier::Number)
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.before.cmp(&other.before),
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A range of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    alternatives: Vec<Vec<Constraint>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Constraint {
    operator: Operator,
    version: Version,
    /// The first part, the second part or the third part that is not said.
    open: Open,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    No,
    All,
    Minor,
    Patch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

/// Operators, longer ones first.
const OPERATORS: [(&str, Operator); 11] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("=>", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=<", Operator::LessOrEqual),
    ("~>", Operator::Tilde),
    ("=", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
];

impl Range {
    /// Reads a range; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let alternatives: Option<Vec<_>> = text.split("||").map(together).collect();
        alternatives.map(|alternatives| Self { alternatives })
    }

    /// Whether a version lies in it. Prereleases do only where a constraint beside names one.
    pub fn holds(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|together| {
            let named = together.iter().any(|constraint| constraint.version.is_prerelease());
            (named || !version.is_prerelease()) && together.iter().all(|constraint| constraint.holds(version))
        })
    }

    /// The highest of the versions that lies in it, with what stands beside it.
    pub fn highest<T>(&self, versions: impl IntoIterator<Item = (Version, T)>) -> Option<(Version, T)> {
        let fitting = versions.into_iter().filter(|(version, _)| self.holds(version));
        fitting.fold(None, |best: Option<(Version, T)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        })
    }
}

fn together(text: &str) -> Option<Vec<Constraint>> {
    let text = text.trim();
    if let Some((low, high)) = text.split_once(" - ") {
        let (low, high) = (constraint(Operator::GreaterOrEqual, low)?, constraint(Operator::LessOrEqual, high)?);
        return Some(vec![low, high]);
    }
    let mut constraints = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let found = OPERATORS.iter().find(|(name, _)| rest.starts_with(name));
        let (operator, behind) =
            found.map_or((Operator::Equal, rest), |(name, op)| (*op, rest[name.len()..].trim_start()));
        let end = behind.find(|letter: char| letter == ',' || letter.is_whitespace()).unwrap_or(behind.len());
        constraints.push(constraint(operator, &behind[..end])?);
        rest = behind[end..].trim_start_matches(|letter: char| letter == ',' || letter.is_whitespace());
    }
    (!constraints.is_empty()).then_some(constraints)
}

fn constraint(operator: Operator, text: &str) -> Option<Constraint> {
    let text = text.trim();
    let (numbers, before) = text.find(['-', '+']).map_or((text, ""), |at| text.split_at(at));
    let any = |part: &str| matches!(part, "x" | "X" | "*");
    let bare = numbers.strip_prefix('v').unwrap_or(numbers);
    let parts: Vec<&str> = bare.split('.').collect();
    let open = match parts.as_slice() {
        [major, ..] if any(major) => Open::All,
        [_] => Open::Minor,
        [_, minor, ..] if any(minor) => Open::Minor,
        [_, _] => Open::Patch,
        [_, _, patch] if any(patch) => Open::Patch,
        [_, _, _] => Open::No,
        _ => return None,
    };
    let known = match open {
        Open::All => 0,
        Open::Minor => 1,
        Open::Patch => 2,
        Open::No => 3,
    };
    let known = if known == 0 { "0".to_owned() } else { parts[..known].join(".") };
    Version::parse(&format!("{known}{before}")).map(|version| Constraint { operator, version, open })
}

impl Constraint {
    fn holds(&self, other: &Version) -> bool {
        let Self { operator, version, open } = self;
        match (operator, open) {
            (Operator::Equal, Open::No) => other == &Version { complete: other.complete, ..version.clone() },
            (Operator::Equal | Operator::Tilde, _) => self.tilde(other),
            (Operator::NotEqual, Open::No) => other.cmp(version) != Ordering::Equal,
            (Operator::NotEqual, Open::Minor) => other.major != version.major,
            (Operator::NotEqual, Open::Patch) => (other.major, other.minor) != (version.major, version.minor),
            (Operator::NotEqual, Open::All) => false,
            (Operator::Greater, Open::Minor) => other.major > version.major,
            (Operator::Greater, Open::Patch) => (other.major, other.minor) > (version.major, version.minor),
            (Operator::Greater, _) => other > version,
            (Operator::Less, _) => other < version,
            (Operator::GreaterOrEqual, _) => other >= version,
            (Operator::LessOrEqual, Open::Minor) => other.major <= version.major,
            (Operator::LessOrEqual, Open::Patch) => (other.major, other.minor) <= (version.major, version.minor),
            (Operator::LessOrEqual, _) => other <= version,
            (Operator::Caret, _) => self.caret(other),
        }
    }

    fn tilde(&self, other: &Version) -> bool {
        let Self { version, open, .. } = self;
        let all = *open == Open::All || (version.major, version.minor, version.patch, *open) == (0, 0, 0, Open::No);
        other >= version
            && (all || (other.major == version.major && (*open == Open::Minor || other.minor == version.minor)))
    }

    fn caret(&self, other: &Version) -> bool {
        let Self { version, open, .. } = self;
        if other < version {
            return false;
        }
        match (version.major, version.minor) {
            _ if *open == Open::All => true,
            (1.., _) => other.major == version.major,
            _ if *open == Open::Minor => other.major == version.major,
            (0, 1..) => (other.major, other.minor) == (0, version.minor),
            _ if *open == Open::Patch => (other.major, other.minor) == (0, version.minor),
            (0, 0) => (other.major, other.minor, other.patch) == (0, 0, version.patch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn versions_are_ordered() {
        let order =
            ["0.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-rc.2", "1.0.0-rc.10", "v1", "1.0.1"];
        for pair in order.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        assert_eq!(version("1.2.3+a").cmp(&version("1.2.3+b")), Ordering::Equal);
        for text in ["", "a", "1.2.3.4", "1.x", "1.2.3-", "1.2.3-a..b", "-1", "main", "1.2.3+"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let cases: [(&str, &[&str], &[&str]); 18] = [
            ("1.2.3", &["1.2.3", "v1.2.3"], &["1.2.4", "1.2.3-a"]),
            ("*", &["0.0.1", "9.9.9"], &["1.0.0-rc1"]),
            ("1.x", &["1.0.0", "1.9.0"], &["2.0.0", "0.9.0", "1.0.0-a"]),
            ("1.2", &["1.2.0", "1.2.9"], &["1.3.0"]),
            ("~1.2.3", &["1.2.3", "1.2.9"], &["1.3.0", "1.2.2"]),
            ("~1", &["1.9.0"], &["2.0.0"]),
            ("^1.2.3", &["1.9.0"], &["2.0.0", "1.2.2"]),
            ("^0.2.3", &["0.2.9"], &["0.3.0"]),
            ("^0.0.3", &["0.0.3"], &["0.0.4"]),
            ("^0", &["0.9.0"], &["1.0.0"]),
            (">=1.2, <2", &["1.2.0", "1.9.9"], &["2.0.0", "1.1.0"]),
            (">= 1.2 < 2.0.0", &["1.2.0"], &["2.0.0"]),
            ("1.2 - 1.4.5", &["1.2.0", "1.4.5"], &["1.4.6"]),
            ("<1.0 || >=2.0", &["0.9.0", "2.1.0"], &["1.5.0"]),
            (">1.2", &["1.3.0", "2.0.0"], &["1.2.9"]),
            ("!=1.2.x", &["1.3.0"], &["1.2.9"]),
            (">=1.0.0-0", &["1.0.0-rc1", "1.0.0"], &["0.9.0"]),
            ("<=1.2", &["1.2.9", "1.0.0"], &["1.3.0"]),
        ];
        for (range, inside, outside) in cases {
            let parsed = Range::parse(range).unwrap_or_else(|| panic!("{range}"));
            inside.iter().for_each(|text| assert!(parsed.holds(&version(text)), "{range} holds {text}"));
            outside.iter().for_each(|text| assert!(!parsed.holds(&version(text)), "{range} does not hold {text}"));
        }
        for text in ["", "main", "release-1.x", "1.2.3.4", "a || b", "refs/tags/v1", ">="] {
            assert_eq!(Range::parse(text), None, "{text}");
        }
    }
}

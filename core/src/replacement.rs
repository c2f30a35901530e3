//! `--replace-source FROM=TO`: addresses that stand in for others, as Git's `url.<TO>.insteadOf <FROM>`.
//!
//! An address that begins with FROM begins with TO instead; of several that fit, the longest FROM counts. It is done
//! once: what comes out is not looked at again. Addresses are compared without credentials, scheme and host in lower
//! case.

use std::fmt;
use std::str::FromStr;

/// One replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// What addresses begin with.
    pub from: String,
    /// What they begin with instead: an address, or the path of a local folder, which begins with `/` or `.`.
    pub to: String,
}

/// A text that is no replacement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplacementError {
    /// There is no `=`, or nothing on one of its sides.
    #[error("{0:?} is no replacement: it looks like https://github.com/=https://mirror.example/github/")]
    Malformed(String),
    /// Credentials would stand in process listings and in messages.
    #[error("the replacement of {0} holds credentials; put them into a repository Secret")]
    Credentials(String),
}

impl FromStr for Replacement {
    type Err = ReplacementError;

    /// Reads `FROM=TO`.
    fn from_str(text: &str) -> Result<Self, ReplacementError> {
        let (from, to) = text.split_once('=').ok_or_else(|| ReplacementError::Malformed(text.to_owned()))?;
        if to.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().unwrap_or_default().contains('@')) {
            return Err(ReplacementError::Credentials(normal(from)));
        }
        let (from, to) = (normal(from), normal(to));
        let blank =
            |text: &str| text.is_empty() || text.contains(char::is_whitespace) || text.contains(char::is_control);
        if blank(&from) || to.is_empty() || to.contains(char::is_control) {
            return Err(ReplacementError::Malformed(format!("{from}={to}")));
        }
        Ok(Self { from, to })
    }
}

impl fmt::Display for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.from, self.to)
    }
}

/// All replacements of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replacements(Vec<Replacement>);

impl Replacements {
    /// These; of two with the same FROM the later one counts.
    pub fn new(replacements: impl IntoIterator<Item = Replacement>) -> Self {
        Self(replacements.into_iter().collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What stands in for an address; `None` when it stays as it is. A registry may come without its scheme.
    pub fn apply(&self, address: &str) -> Option<String> {
        let address = normal(address);
        let oci = (!address.contains("://") && !address.starts_with('/')).then(|| format!("oci://{address}"));
        let fits = |replacement: &&Replacement| {
            let begins = |address: &String| address.starts_with(&replacement.from);
            begins(&address) || oci.as_ref().is_some_and(begins)
        };
        // Of equal ones `max_by_key` gives the last.
        let best = self.0.iter().filter(fits).max_by_key(|replacement| replacement.from.len())?;
        let rest = address.strip_prefix(&best.from).or_else(|| oci.as_ref()?.strip_prefix(&best.from))?;
        if climbs(rest) {
            return None;
        }
        Some(format!("{}{rest}", best.to))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Replacement> {
        self.0.iter()
    }
}

/// Whether a path leads up: below a local folder, out of it.
fn climbs(path: &str) -> bool {
    path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").split(['/', '\\']).any(|part| part == "..")
}

/// An address without blanks at its ends and credentials, scheme and host in lower case: as it is compared, and shown.
pub fn normal(address: &str) -> String {
    let address = address.trim();
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // The user of an address of ssh is part of it.
    let keeps_user = scheme.eq_ignore_ascii_case("ssh");
    let host = if keeps_user { authority } else { authority.rsplit_once('@').map_or(authority, |(_, host)| host) };
    format!("{}://{}{path}", scheme.to_ascii_lowercase(), host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replacements(texts: &[&str]) -> Replacements {
        Replacements::new(texts.iter().map(|text| text.parse().unwrap()))
    }

    #[test]
    fn the_longest_prefix_wins_and_the_rest_stays() {
        let all = replacements(&[
            "https://github.com/=https://mirror.example/github/",
            "https://github.com/org/=/srv/org/",
            "https://github.com/org/one.git=file:///srv/one",
            "oci://ghcr.io=oci://registry.example/ghcr",
            "https://charts.example/stable=/srv/charts",
            "git@github.com:=https://mirror.example/github/",
        ]);
        for (address, expected) in [
            ("https://github.com/other/x.git", Some("https://mirror.example/github/other/x.git")),
            ("HTTPS://user:hunter2@GitHub.com/other/x", Some("https://mirror.example/github/other/x")),
            ("https://github.com/org/two", Some("/srv/org/two")),
            ("https://github.com/org/one.git", Some("file:///srv/one")),
            ("git@github.com:other/x", Some("https://mirror.example/github/other/x")),
            ("oci://ghcr.io/org", Some("oci://registry.example/ghcr/org")),
            ("ghcr.io/org", Some("oci://registry.example/ghcr/org")),
            ("https://charts.example/stable", Some("/srv/charts")),
            ("https://gitlab.com/x", None),
            ("https://github.co", None),
            ("https://github.com/org/../../etc", None),
            ("https://github.com/org/%2E%2e/etc", None),
            ("https://github.com/org/..%2fetc", None),
        ] {
            assert_eq!(all.apply(address).as_deref(), expected, "{address}");
        }
        assert_eq!(replacements(&["https://a/=https://a/b/"]).apply("https://a/x").unwrap(), "https://a/b/x", "once");
        assert_eq!(replacements(&["a=b", "a=c"]).apply("a").unwrap(), "c", "the later one counts");
    }

    #[test]
    fn what_is_no_replacement_is_refused() {
        for text in ["", "a", "=b", "a=", "a b=c", "https://a/=https://me:hunter2@b/"] {
            let error = text.parse::<Replacement>().unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let equals: Replacement = "https://a/=https://b/?x=y".parse().unwrap();
        assert_eq!(equals.to, "https://b/?x=y", "the first `=` divides");
    }
}

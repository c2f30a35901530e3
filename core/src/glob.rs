//! Glob patterns as Argo CD reads them (`github.com/gobwas/glob`): `*`, `**`, `?`, `[a-z]`, `[!a-z]`, `{a,b}` and `\`.

/// How many steps a match may take, so that a hostile pattern costs a bounded time.
const STEPS: usize = 100_000;

/// Whether a text fits a pattern. With a separator, `*` and `?` do not reach across it, and `**` does.
pub fn matches(pattern: &str, text: &str, separator: Option<char>) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    Matcher { separator, steps: STEPS }.fits(&pattern, &text)
}

struct Matcher {
    separator: Option<char>,
    steps: usize,
}

impl Matcher {
    fn fits(&mut self, pattern: &[char], text: &[char]) -> bool {
        let Some(steps) = self.steps.checked_sub(1) else { return false };
        self.steps = steps;
        match pattern {
            [] => text.is_empty(),
            ['*', '*', rest @ ..] => (0..=text.len()).any(|skipped| self.fits(rest, &text[skipped..])),
            ['*', rest @ ..] => {
                let reach = text.iter().position(|c| Some(*c) == self.separator).unwrap_or(text.len());
                (0..=reach).any(|skipped| self.fits(rest, &text[skipped..]))
            }
            ['?', rest @ ..] => text.first().is_some_and(|c| Some(*c) != self.separator) && self.fits(rest, &text[1..]),
            ['{', rest @ ..] => match alternatives(rest) {
                Some((words, rest)) => words.iter().any(|word| self.fits(&[*word, rest].concat(), text)),
                None => self.literal('{', rest, text),
            },
            ['[', rest @ ..] => match class(rest) {
                Some((set, rest)) => text.first().is_some_and(|c| set.holds(*c)) && self.fits(rest, &text[1..]),
                None => self.literal('[', rest, text),
            },
            ['\\', escaped, rest @ ..] => self.literal(*escaped, rest, text),
            [c, rest @ ..] => self.literal(*c, rest, text),
        }
    }

    fn literal(&mut self, wanted: char, rest: &[char], text: &[char]) -> bool {
        text.first() == Some(&wanted) && self.fits(rest, &text[1..])
    }
}

/// The words up to the closing brace, and what follows it; braces do not nest.
fn alternatives(pattern: &[char]) -> Option<(Vec<&[char]>, &[char])> {
    let end = pattern.iter().position(|c| *c == '}')?;
    Some((pattern[..end].split(|c| *c == ',').collect(), &pattern[end + 1..]))
}

struct Class<'a> {
    negated: bool,
    members: &'a [char],
}

impl Class<'_> {
    fn holds(&self, c: char) -> bool {
        let held = match self.members {
            [from, '-', to] => (*from..=*to).contains(&c),
            members => members.contains(&c),
        };
        held != self.negated
    }
}

fn class(pattern: &[char]) -> Option<(Class<'_>, &[char])> {
    let end = pattern.iter().position(|c| *c == ']')?;
    let (members, rest) = (&pattern[..end], &pattern[end + 1..]);
    Some(match members {
        ['!', members @ ..] => (Class { negated: true, members }, rest),
        members => (Class { negated: false, members }, rest),
    })
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_fit_as_in_argo_cd() {
        for (pattern, text, separator, fits) in [
            ("", "", None, true),
            ("", "apps", None, false),
            ("*", "", None, true),
            ("*", "apps/v1", None, true),
            ("*.k8s.io", "rbac.authorization.k8s.io", None, true),
            ("team-?", "team-a", None, true),
            ("team-[a-c]", "team-b", None, true),
            ("team-[!a-c]", "team-b", None, false),
            ("{a,b*}-x", "bcd-x", None, true),
            ("https://git/*", "https://git/one/two", Some('/'), false),
            ("https://git/**", "https://git/one/two", Some('/'), true),
            ("https://*/one", "https://git/one", Some('/'), true),
            ("a\\*", "ab", None, false),
            ("a\\*", "a*", None, true),
            ("Deployment", "Deployments", None, false),
        ] {
            assert_eq!(matches(pattern, text, separator), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let pattern = "*a".repeat(60) + "b";
        assert!(!matches(&pattern, &"a".repeat(2000), None));
    }
}

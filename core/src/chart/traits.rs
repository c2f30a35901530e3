//! What a chart's templates ask for, found in their text.
//!
//! Only words inside of `{{ … }}` count, wherever they stand: any file of a chart, and any value, can be a template.

/// What the templates ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// The version of the cluster, or what it serves.
    pub asks_cluster: bool,
    /// Random numbers, keys, the time, or live objects: each render may be another.
    pub may_change: bool,
}

/// Functions whose result differs from call to call (sprig, and `lookup`).
const CHANGING: [&str; 20] = [
    "bcrypt",
    "encryptAES",
    "genCA",
    "genCAWithKey",
    "genPrivateKey",
    "genSelfSignedCert",
    "genSelfSignedCertWithKey",
    "genSignedCert",
    "genSignedCertWithKey",
    "getHostByName",
    "htpasswd",
    "lookup",
    "now",
    "randAlpha",
    "randAlphaNum",
    "randAscii",
    "randBytes",
    "randInt",
    "randNumeric",
    "uuidv4",
];

impl Traits {
    /// Adds what a text asks for. `Chart.yaml` may set limits on the cluster's version.
    pub fn add(&mut self, name: &str, text: &[u8]) {
        if name == "Chart.yaml" {
            self.asks_cluster |= find(text, b"kubeVersion").is_some();
        }
        let mut rest = text;
        while let Some(start) = find(rest, b"{{") {
            let inner = &rest[start + 2..];
            let end = find(inner, b"}}").unwrap_or(inner.len());
            self.add_action(&inner[..end]);
            rest = &inner[end..];
        }
    }

    fn add_action(&mut self, action: &[u8]) {
        let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        for word in action.split(|byte| !in_word(byte)).filter(|word| !word.is_empty()) {
            self.asks_cluster |= word == b"Capabilities";
            self.may_change |= word == b"shuffle" || CHANGING.iter().any(|function| word == function.as_bytes());
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_in_actions_only() {
        for (name, text, expected) in [
            ("a.yaml", "a: {{ .Values.now }} Capabilities randAlpha", (false, true)),
            ("a.yaml", "now: 1 # lookup", (false, false)),
            ("a.yaml", "{{- if .Capabilities.APIVersions.Has \"v1\" }}", (true, false)),
            ("a.yaml", "{{ knowledge | genCAx }}", (false, false)),
            ("a.yaml", "{{ $x := genCA \"x\" 1", (false, true)),
            ("Chart.yaml", "kubeVersion: '>=1.2'", (true, false)),
            ("values.yaml", "kubeVersion: '>=1.2'", (false, false)),
        ] {
            let mut traits = Traits::default();
            traits.add(name, text.as_bytes());
            assert_eq!((traits.asks_cluster, traits.may_change), expected, "{text}");
        }
    }
}

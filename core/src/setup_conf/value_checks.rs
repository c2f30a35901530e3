//! Values that are hardly what their name asks for: a role without ARN, a port that is no number.
//!
//! What a value should be is read off the last words of its name, or off the `Example: …` in the comment
//! above the name. Both may be wrong, so a doubtful value is a warning, never an error.

use std::{collections::HashMap, fmt, net::IpAddr};

/// What a value should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// `arn:partition:service:region:account:resource`.
    Arn,
    /// An AWS region, such as `eu-central-1`.
    Region,
    /// A DNS name or an IP address.
    Host,
    /// `address/bits`.
    Cidr,
    /// 1 to 65535.
    Port,
    /// `scheme://…`, or the form `user@host:path` that Git takes.
    Url,
    /// `name@host`.
    Email,
    /// 12 digits.
    AccountId,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Something: without it nothing works.
    Filled,
}

/// Names whose values are a choice, where the comment above them names all of it. (Of what stands in paths, such as the
/// environment, the files are the choice: see [`crate::selection`].)
const CHOICES: [(&str, &[&str]); 2] = [
    ("aws_partition", &["aws", "aws-cn", "aws-us-gov"]),
    ("aws_load_balancer.scheme", &["internet-facing", "internal"]),
];
/// Names without whose values no Application leads anywhere. An empty value of others may be meant: what needs it is off.
const NEEDED: [&str; 6] =
    ["git_repo.url", "git_repo.target_revision", "environment", "aws_region", "cluster_name", "domain"];

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arn => "an ARN (arn:partition:service:region:account:resource)",
            Self::Region => "an AWS region (such as eu-central-1)",
            Self::Host => "a host name or address",
            Self::Cidr => "a CIDR block (such as 10.0.0.0/16)",
            Self::Port => "a port (1 to 65535)",
            Self::Url => "a URL (scheme://…)",
            Self::Email => "an e-mail address",
            Self::AccountId => "the id of an AWS account (12 digits)",
            Self::OneOf(choices) => return write!(f, "one of {}", choices.join(", ")),
            Self::Filled => "anything: it is empty, and everything needs it",
        })
    }
}

impl ValueKind {
    /// What a name asks for.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let words: Vec<&str> = name.split(['.', '_', '-']).collect();
        if words.contains(&"arn") {
            return Some(Self::Arn);
        }
        if words.ends_with(&["account", "id"]) {
            return Some(Self::AccountId);
        }
        match *words.last()? {
            "region" => Some(Self::Region),
            "host" | "hostname" | "domain" => Some(Self::Host),
            "cidr" => Some(Self::Cidr),
            "port" => Some(Self::Port),
            "url" | "issuer" => Some(Self::Url),
            "email" => Some(Self::Email),
            _ => None,
        }
    }

    /// What an example is one of. Only forms that nothing else has by accident.
    fn of_example(example: &str) -> Option<Self> {
        [Self::Arn, Self::Cidr, Self::Url, Self::Email].into_iter().find(|kind| kind.fits(example))
    }

    /// Whether the value is one. An empty value is a decision, and quotes around it are for YAML.
    pub(super) fn fits(self, value: &str) -> bool {
        let value = value.trim();
        let unquoted = |quote| value.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
        let value = unquoted('"').or_else(|| unquoted('\'')).unwrap_or(value);
        value.is_empty()
            || match self {
                Self::Arn => is_arn(value),
                Self::Region => is_region(value),
                Self::Host => is_host(value),
                Self::Cidr => is_cidr(value),
                Self::Port => value.parse::<u16>().is_ok_and(|port| port > 0),
                Self::Url => is_url(value),
                Self::Email => is_email(value),
                Self::AccountId => value.len() == 12 && is_digits(value),
                Self::OneOf(choices) => choices.contains(&value),
                Self::Filled => true,
            }
    }
}

/// What is wrong with the value of a name: hardly what the name asks for, or the example in its comment.
pub(super) fn doubt(name: &str, value: &str, example: Option<ValueKind>) -> Option<ValueKind> {
    let kind = ValueKind::of_name(name).or(example);
    if value.trim().is_empty() && NEEDED.contains(&name) {
        // Only a setup.conf of this distribution: others may use the names otherwise.
        return example.map(|_| kind.unwrap_or(ValueKind::Filled));
    }
    kind.filter(|kind| !kind.fits(value))
}

fn is_arn(value: &str) -> bool {
    let parts: Vec<&str> = value.splitn(6, ':').collect();
    matches!(parts[..], ["arn", partition, service, _, account, resource]
        if partition.starts_with("aws") && !service.is_empty() && !resource.is_empty()
            && (account.is_empty() || account == "aws" || (account.len() == 12 && is_digits(account))))
        && !value.contains(char::is_whitespace)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_region(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    match parts.split_last() {
        Some((number, words)) => {
            is_digits(number)
                && words.len() >= 2
                && words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        }
        None => false,
    }
}

/// RFC 1123, also with a wildcard as first label.
fn is_host(value: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let name = value.strip_prefix("*.").unwrap_or(value);
    value.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.trim_end_matches('.').split('.').all(is_label))
}

fn is_cidr(value: &str) -> bool {
    value.split_once('/').is_some_and(|(address, bits)| match (address.parse(), bits.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(bits)) => bits <= 32,
        (Ok(IpAddr::V6(_)), Ok(bits)) => bits <= 128,
        _ => false,
    })
}

fn is_url(value: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    let with_scheme = value.split_once("://").is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty());
    let for_git = value.split_once(':').is_some_and(|(login, path)| is_email(login) && !path.is_empty());
    (with_scheme || for_git) && !value.contains(char::is_whitespace)
}

fn is_email(value: &str) -> bool {
    value.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || matches!(c, '/' | ':')) && is_host(host)
    })
}

/// What the comment above each token of a setup.conf asks for: a choice, or what its `Example: …` is one of.
pub(super) fn examples(text: &str) -> HashMap<&str, ValueKind> {
    let mut kinds = HashMap::new();
    let mut comment = String::new();
    for line in text.lines() {
        let line = line.trim_start_matches('\u{feff}').trim_start();
        if let Some(words) = line.strip_prefix('#').or_else(|| line.strip_prefix("//")) {
            comment.push(' ');
            comment.push_str(words.trim());
            continue;
        }
        let example = comment.rsplit_once("Example: ").and_then(|(_, example)| example.split_whitespace().next());
        let kind = example.map(|example| example.trim_end_matches(['.', ','])).and_then(ValueKind::of_example);
        if let Some((token, _)) = line.split_once('=') {
            let name = super::template::name(token);
            let needed = (NEEDED.contains(&name) && !comment.is_empty()).then_some(ValueKind::Filled);
            kinds.extend(choice(name, &comment).or(kind).or(needed).map(|kind| (token, kind)));
        }
        comment.clear();
    }
    kinds
}

fn choice(name: &str, comment: &str) -> Option<ValueKind> {
    let (_, choices) = CHOICES.iter().find(|(choice, _)| *choice == name)?;
    choices.iter().all(|word| comment.contains(word)).then_some(ValueKind::OneOf(choices))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_ask_for() {
        for (name, expected) in [
            ("role_arn.mlflow", Some(ValueKind::Arn)),
            ("aws_region", Some(ValueKind::Region)),
            ("rds.postgres.host", Some(ValueKind::Host)),
            ("cert_manager.email_domain", Some(ValueKind::Host)),
            ("rds.port", Some(ValueKind::Port)),
            ("git_repo.url", Some(ValueKind::Url)),
            ("oidc.redis.connection_url", Some(ValueKind::Url)),
            ("oidc.issuer", Some(ValueKind::Url)),
            ("vpc.cidr", Some(ValueKind::Cidr)),
            ("admin.email", Some(ValueKind::Email)),
            ("aws_account_id", Some(ValueKind::AccountId)),
            ("cert_manager.email_user", None),
            ("subdomain_serving", None),
            ("route53.hosted_zone_hostnames", None),
            ("s3.key_prefix.mlflow", None),
        ] {
            assert_eq!(ValueKind::of_name(name), expected, "{name}");
        }
    }

    #[test]
    fn what_fits_and_what_does_not() {
        for (kind, good, bad) in [
            (
                ValueKind::Arn,
                &["arn:aws:iam::123456789012:role/x", "arn:aws-cn:s3:::bucket", "", "\"arn:aws:sns:a:123456789012:t\""]
                    [..],
                &["role/x", "arn:aws:iam::1234:role/x", "arn:aws:iam::123456789012:", "arn:aws:iam::123456789012:r x"]
                    [..],
            ),
            (ValueKind::Region, &["eu-west-1", "us-gov-east-1"], &["europe", "eu-west", "eu-west-1a", "EU-WEST-1"]),
            (
                ValueKind::Host,
                &["db.example.com", "redis", "*.example.com", "10.0.0.1", "::1", "example.com."],
                &["https://example.com", "a b", "a..b", "-x.com", "db:5432", "a_b"],
            ),
            (ValueKind::Cidr, &["10.0.0.0/16", "fd00::/8"], &["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "x/8"]),
            (ValueKind::Port, &["5432", "\"3306\"", "'1'"], &["0", "65536", "http", "-1", "54 32"]),
            (
                ValueKind::Url,
                &["https://x.y/z?q=1", "file:///srv/git", "git@github.com:a/b.git", "redis://r:6379/0"],
                &["x.y/z", "https://", "://x", "https://a b"],
            ),
            (ValueKind::AccountId, &["123456789012", ""], &["1234-5678-9012", "12345678901", "me"]),
            (ValueKind::OneOf(&["internet-facing", "internal"]), &["internal"], &["public", "Internal"]),
            (ValueKind::Email, &["a.b+c@example.com"], &["example.com", "@x", "a b@c", "a@"]),
        ] {
            for value in good {
                assert!(kind.fits(value), "{kind:?} {value}");
            }
            for value in bad {
                assert!(!kind.fits(value), "{kind:?} {value}");
            }
        }
    }

    #[test]
    fn examples_in_comments_say_what_is_wanted() {
        let text = "# Where it runs.\r\n# Example: 10.0.0.0/16, or another\r\n<<__net__>>=x\r\n\r\n\
            # Example: main\n<<__branch__>>=https://x.y\n# Example: https://x.y/z\n\n<<__far__>>=x\n\
            // Example: arn:aws:s3:::b.\nMY_BUCKET=\n";
        let expected = HashMap::from([("<<__net__>>", ValueKind::Cidr), ("MY_BUCKET", ValueKind::Arn)]);
        assert_eq!(examples(text), expected);
    }

    #[test]
    fn what_everything_needs_is_no_decision_when_it_is_empty() {
        let text = "# Where it runs.\n<<__environment__>>=aws\n\n# aws, aws-cn or aws-us-gov.\n<<__aws_partition__>>=aws\n\n# The domain.\n<<__domain__>>=x\n\n\
            # Example: my-cluster\n<<__cluster_name__>>=x\n\n# A role.\n<<__role_arn.x__>>=x\n";
        let kinds = examples(text);
        let told = |name: &str, value| {
            let kind = kinds.get(format!("<<__{name}__>>").as_str()).copied();
            doubt(name, value, kind).map(|kind| kind.to_string())
        };
        assert_eq!(told("aws_partition", "eu").as_deref(), Some("one of aws, aws-cn, aws-us-gov"));
        assert_eq!(told("environment", "").as_deref(), Some("anything: it is empty, and everything needs it"));
        assert_eq!(told("domain", " ").as_deref(), Some("a host name or address"));
        assert_eq!(told("cluster_name", "").as_deref(), Some("anything: it is empty, and everything needs it"));
        for (name, value) in [("environment", "own"), ("cluster_name", "a"), ("role_arn.x", ""), ("other", "")] {
            assert_eq!(told(name, value), None, "{name}");
        }
        assert_eq!(doubt("aws_partition", "eu", None), None, "somebody else's name");
        assert_eq!(doubt("domain", "", None), None);
    }

    #[test]
    fn the_shipped_example_has_nothing_doubtful() {
        let text = include_str!("../../../setup.conf.example");
        let conf = crate::setup_conf::SetupConf::parse(text.as_bytes(), &[]).unwrap();
        assert_eq!(conf.doubtful_values(text), []);
        let partition = text.replace("<<__aws_partition__>>=aws", "<<__aws_partition__>>=eu");
        let conf = crate::setup_conf::SetupConf::parse(partition.as_bytes(), &[]).unwrap();
        assert_eq!(conf.doubtful_values(text).len(), 1);
    }
}

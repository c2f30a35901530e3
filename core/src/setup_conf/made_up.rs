//! Values that were made up for an example, and are nobody's: what stands in a setup.conf.example where only the user knows
//! the value.
//!
//! They are known by what documentation uses: the names and addresses that are kept free for it (RFC 2606, RFC 5737,
//! RFC 3849), the word EXAMPLE in ids as in AWS's manuals, and ids that count up (123456789012, vpc-0123456789abcdef0).

/// Characters that count up without a break; a shorter run is anybody's.
const COUNTED: usize = 8;
/// The beginnings of addresses that are kept free for documentation.
const NETWORKS: [&str; 4] = ["192.0.2.", "198.51.100.", "203.0.113.", "2001:db8:"];

/// Whether a value was made up.
pub(super) fn is_made_up(value: &str) -> bool {
    let mut words = value.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| word.eq_ignore_ascii_case("example") || word.contains("EXAMPLE") || counts_up(word))
        || NETWORKS.iter().any(|network| value.contains(network))
}

/// Whether a word counts as hexadecimal digits and letters do: 9 is followed by a.
fn counts_up(word: &str) -> bool {
    let follows = |[one, next]: [u8; 2]| next == one + 1 || (one, next) == (b'9', b'a');
    let word = word.to_ascii_lowercase().into_bytes();
    let mut run = 1;
    word.array_windows().any(|pair: &[u8; 2]| {
        run = if follows(*pair) { run + 1 } else { 1 };
        run >= COUNTED
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{setup_conf::SetupConf, template::name};

    #[test]
    fn what_documentation_uses_is_made_up() {
        for value in [
            "https://git.example.com/platform.git",
            "dns.example",
            "example-model",
            "EXAMPLED539D4633E53DE1B71EXAMPLE",
            "arn:aws:iam::123456789012:role/platform",
            "vpc-0123456789abcdef0",
            "arn:aws:acm:eu-central-1:4:certificate/01234567-89ab-cdef-0123-456789abcdef",
            "platform.abcdefghijkl.eu-central-1.rds.amazonaws.com",
            "203.0.113.7/32",
        ] {
            assert!(is_made_up(value), "{value}");
        }
        for value in [
            "",
            "main",
            "eu-central-1",
            "examples",
            "counterexample.org",
            "1234567",
            "abcdefg",
            "20240101",
            "10.192.0.2",
        ] {
            assert!(!is_made_up(value), "{value}");
        }
    }

    #[test]
    fn of_the_shipped_example_what_only_the_user_knows_is_made_up_and_choices_are_not() {
        let text = include_str!("../../../setup.conf.example");
        let conf = SetupConf::parse(text.as_bytes(), &[]).unwrap();
        let made_up: Vec<&str> = conf.unchanged_examples(text).iter().map(|entry| name(&entry.token)).collect();
        for name in [
            "git_repo.url",
            "domain",
            "aws_account_id",
            "oidc_provider.id",
            "image.gitmoor",
            "github.organization",
            "s3.bucket.loki",
            "rds.postgres.host",
            "vpc_id",
        ] {
            assert!(made_up.contains(&name), "{name}");
        }
        for name in [
            "git_repo.target_revision",
            "environment",
            "aws_region",
            "cluster_name",
            "subdomain_mlflow",
            "image.mlflow",
            "cert_manager.server",
            "rds.postgres.port",
            "storage_class.block",
            "github.grafana_admin_team",
        ] {
            assert!(!made_up.contains(&name), "{name}");
        }
        let own = text.replace("=platform.example.com", "=example.org").replace("=123456789012\n", "=234567890123\n");
        let conf = SetupConf::parse(own.as_bytes(), &[]).unwrap();
        let left: Vec<&str> = conf.unchanged_examples(text).iter().map(|entry| name(&entry.token)).collect();
        let expected: Vec<&str> =
            made_up.iter().copied().filter(|name| !["domain", "aws_account_id"].contains(name)).collect();
        assert_eq!(left, expected, "what somebody has put in is theirs");
        assert!(conf.unchanged_examples("").is_empty());
    }
}

//! Which host keys SSH servers are known by.
//!
//! The form is OpenSSH's `known_hosts` (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): names with `*`, `?` and `!`, names with
//! a port as `[host]:port`, hashed names, and `@revoked`. Lines with `@cert-authority` are passed over: there are no
//! certificates of hosts here.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::glob;

const SSH_PORT: u16 = 22;

/// The lines of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownHosts(Vec<Line>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    names: Names,
    revoked: bool,
    kind: String,
    key: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    /// Patterns, each with whether it is for hosts that do not fit.
    Plain(Vec<(bool, String)>),
    Hashed {
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
}

/// What is known of a server's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the server's.
    Known,
    /// There is no key of that server.
    Unknown,
    /// There are keys of that server, and it is none of them.
    Changed,
    /// Nobody may use it any more.
    Revoked,
}

impl KnownHosts {
    /// Reads lines; gives also the numbers, from 1, of those that say nothing.
    pub fn parse(text: &str) -> (Self, Vec<usize>) {
        let (mut lines, mut bad) = (Vec::new(), Vec::new());
        for (index, text) in text.lines().map(str::trim).enumerate() {
            if text.is_empty() || text.starts_with('#') || text.starts_with("@cert-authority") {
                continue;
            }
            match Line::parse(text) {
                Some(line) => lines.push(line),
                None => bad.push(index + 1),
            }
        }
        (Self(lines), bad)
    }

    /// The keys that GitHub, GitLab, Bitbucket, Azure DevOps and Codeberg publish.
    pub fn public() -> Self {
        Self::parse(include_str!("known_hosts/public.txt")).0
    }

    /// What is known of a key (in the form of RFC 4253, 6.6) that a server shows.
    pub fn judge(&self, host: &str, port: u16, key: &[u8]) -> Verdict {
        let (lines, of_the_port) = self.of(host, port);
        let same = |line: &&&Line| line.key == key;
        if lines.iter().filter(same).any(|line| line.revoked) {
            Verdict::Revoked
        } else if lines.iter().filter(same).count() > 0 {
            Verdict::Known
        } else if of_the_port && lines.iter().any(|line| !line.revoked) {
            Verdict::Changed
        } else {
            Verdict::Unknown
        }
    }

    /// Kinds and keys of a server that may be used, both as they stand in the file.
    pub fn keys(&self, host: &str, port: u16) -> Vec<(&str, String)> {
        let lines = self.of(host, port).0.into_iter().filter(|line| !line.revoked);
        lines.map(|line| (line.kind.as_str(), STANDARD.encode(&line.key))).collect()
    }

    /// As OpenSSH: those of the port, and those of the host without one when there are none.
    fn of(&self, host: &str, port: u16) -> (Vec<&Line>, bool) {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let named = |name: &str| self.0.iter().filter(|line| line.names.fit(name)).collect::<Vec<_>>();
        if port == SSH_PORT {
            return (named(&host), true);
        }
        let with_port = named(&format!("[{host}]:{port}"));
        if with_port.is_empty() { (named(&host), false) } else { (with_port, true) }
    }
}

/// As `ssh-keygen -l` prints it.
pub fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

/// The kind that a key in the form of RFC 4253 says that it is, such as `ssh-ed25519`.
pub fn kind(key: &[u8]) -> Option<&str> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    let kind = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    std::str::from_utf8(kind).ok().filter(|kind| !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_graphic()))
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let (revoked, text) = match text.strip_prefix("@revoked") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut fields = text.split_ascii_whitespace();
        let (names, written, key) = (fields.next()?, fields.next()?, STANDARD.decode(fields.next()?).ok()?);
        let kind = kind(&key).filter(|kind| *kind == written)?.to_owned();
        Some(Self { names: Names::parse(names)?, revoked, kind, key })
    }
}

impl Names {
    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("|1|") {
            let (salt, hash) = rest.split_once('|')?;
            return Some(Self::Hashed { salt: STANDARD.decode(salt).ok()?, hash: STANDARD.decode(hash).ok()? });
        }
        let patterns = text.split(',').filter(|pattern| !pattern.is_empty()).map(|pattern| {
            let (not, pattern) = pattern.strip_prefix('!').map_or((false, pattern), |rest| (true, rest));
            let escaped = pattern.to_ascii_lowercase().chars().fold(String::new(), |mut text, c| {
                if !matches!(c, '*' | '?') {
                    text.push('\\');
                }
                text.push(c);
                text
            });
            (not, escaped)
        });
        let patterns: Vec<_> = patterns.collect();
        (!patterns.is_empty()).then_some(Self::Plain(patterns))
    }

    fn fit(&self, name: &str) -> bool {
        match self {
            Self::Plain(patterns) => {
                let fitting: Vec<bool> = patterns
                    .iter()
                    .filter(|(_, pattern)| glob::matches(pattern, name, None))
                    .map(|(not, _)| *not)
                    .collect();
                !fitting.is_empty() && !fitting.contains(&true)
            }
            Self::Hashed { salt, hash } => {
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
                hmac::verify(&key, name.as_bytes(), hash).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf";

    fn judge(text: &str, host: &str, port: u16) -> Verdict {
        let (hosts, bad) = KnownHosts::parse(text);
        assert_eq!(bad, [0; 0], "{text}");
        hosts.judge(host, port, &STANDARD.decode(ONE).unwrap())
    }

    #[test]
    fn a_server_is_known_by_its_name_and_port() {
        use Verdict::{Changed, Known, Revoked, Unknown};
        for (names, host, port, expected) in [
            ("git.example", "git.example", 22, Known),
            ("git.example", "Git.Example", 22, Known),
            ("other.example,git.example", "git.example", 22, Known),
            ("*.example,!git.example", "git.example", 22, Unknown),
            ("*.example,!other.example", "git.example", 22, Known),
            ("[git.example]:2222", "git.example", 2222, Known),
            ("[git.example]:2222", "git.example", 22, Unknown),
            ("[git.example]:2222", "git.example", 2223, Unknown),
            ("git.example", "git.example", 2222, Known),
            ("[*]:2222", "git.example", 2222, Known),
            ("::1", "[::1]", 22, Known),
            ("git?example", "gitxxexample", 22, Unknown),
        ] {
            assert_eq!(judge(&format!("{names} ssh-ed25519 {ONE} a comment"), host, port), expected, "{names}");
        }
        let other = format!("git.example ssh-ed25519 {OTHER}\n");
        assert_eq!(judge(&other, "git.example", 22), Changed);
        assert_eq!(judge(&other, "git.example", 2222), Unknown, "of another port nothing is known");
        assert_eq!(judge(&format!("{other}* ssh-ed25519 {ONE}"), "git.example", 22), Known, "one of several");
        let of_the_port = format!("[git.example]:2222 ssh-ed25519 {OTHER}\ngit.example ssh-ed25519 {ONE}");
        assert_eq!(judge(&of_the_port, "git.example", 2222), Changed, "the port's own key counts");
        let revoked = format!("git.example ssh-ed25519 {ONE}\n@revoked * ssh-ed25519 {ONE}");
        assert_eq!(judge(&revoked, "git.example", 22), Revoked);
        assert_eq!(judge(&format!("@cert-authority * ssh-ed25519 {ONE}"), "git.example", 22), Unknown);
    }

    /// The line was made by `ssh-keygen -H`.
    #[test]
    fn hashed_names_are_read() {
        let line = format!("|1|7oRrw5TF2/ebWpO72gl3TAsv2qE=|4dQBkBxgPiG3FE+l/EZ/LCWRI78= ssh-ed25519 {ONE}");
        assert_eq!(judge(&line, "git.example", 22), Verdict::Known);
        assert_eq!(judge(&line, "other.example", 22), Verdict::Unknown);
    }

    #[test]
    fn lines_that_say_nothing_are_counted() {
        let text = format!("# a comment\n\nhost\nhost ssh-rsa {ONE}\nhost ssh-ed25519 !\n|1|x ssh-ed25519 {ONE}\n");
        assert_eq!(KnownHosts::parse(&text), (KnownHosts::default(), vec![3, 4, 5, 6]));
    }

    #[test]
    fn public_services_have_the_fingerprints_that_they_publish() {
        let hosts = KnownHosts::public();
        let shown = |host: &str, port: u16| {
            let keys = hosts.keys(host, port);
            let mut shown: Vec<_> = keys
                .iter()
                .map(|(_, key)| fingerprint(&STANDARD.decode(key).unwrap()).replace("SHA256:", ""))
                .collect();
            shown.sort_unstable();
            shown
        };
        let github = [
            "+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
            "p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM",
            "uNiVztksCsDhcc0u9e8BujQXVUpKZIDTMczCvj3tD2s",
        ];
        assert_eq!(shown("github.com", 22), github);
        assert_eq!(shown("ssh.github.com", 443), github);
        assert_eq!(
            shown("gitlab.com", 22),
            [
                "HbW3g8zUjNSksFbqTiUWPWg2Bq1x8xdGUrliXFzSnUw",
                "ROQFvPThGrW4RuWLoL9tq9I9zJ42fK4XywyRtbOz/EQ",
                "eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8",
            ]
        );
        assert_eq!(
            shown("bitbucket.org", 22),
            [
                "46OSHA1Rmj8E8ERTC6xkNcmGOw9oFxYr0WF6zWW8l1E",
                "FC73VB6C4OQLSCrjEayhMp9UMxS97caD/Yyi2bhW/J0",
                "ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM",
            ]
        );
        assert_eq!(shown("ssh.dev.azure.com", 22), ["ohD8VZEXGWo6Ez8GSEJQ9WpafgLFsOfLOtGGQCQo6Og"]);
        assert_eq!(
            shown("codeberg.org", 22),
            ["T9FYDEHELhVkulEKKwge5aVhVTbqCW0MIRwAfpARs/E", "mIlxA9k46MmM6qdJOdMnAQpzGxF4WIVVL+fj+wZbw0g"]
        );
        assert_eq!(hosts.0.len(), 12);
    }
}

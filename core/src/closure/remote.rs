//! Which entries kustomize would fetch from elsewhere.

/// Whether kustomize reads this as a file over HTTP (`IsRemoteFile` in `api/internal/loader/fileloader.go`).
pub(super) fn is_remote_file(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| ["http", "https"].iter().any(|s| scheme.eq_ignore_ascii_case(s)))
}

/// Whether kustomize clones this (`NewRepoSpecFromURL` in `api/internal/git/repospec.go`).
pub(super) fn is_repository(text: &str) -> bool {
    if text.starts_with('/') {
        return false;
    }
    let text = text.split('?').next().unwrap_or_default();
    let text = strip(text, "git::").unwrap_or(text);
    let scheme = ["ssh://", "https://", "http://", "file://"].into_iter().find(|scheme| strip(text, scheme).is_some());
    let rest = scheme.and_then(|scheme| strip(text, scheme)).unwrap_or(text);
    let (user, rest) = rest.split_at(user_length(rest));
    let github = strip(rest, "github.com/").is_some() || strip(rest, "github.com:").is_some();
    if scheme == Some("file://") {
        return !user.is_empty() || !rest.is_empty();
    }
    let like_scp = scheme.is_none() && (!user.is_empty() || github);
    if scheme.is_none() && !like_scp {
        return false;
    }
    has_repository_path(after_host(rest, like_scp))
}

/// What a message may say of a URL: no user, password or query.
pub(super) fn without_credentials(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match (text.split_once("://"), text.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://{}", &text[at + 1..]),
        _ => text.to_owned(),
    }
}

fn strip<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// Length of a leading `user@`: a letter, then letters, digits and hyphens.
fn user_length(text: &str) -> usize {
    let Some(at) = text.find('@') else { return 0 };
    let user = &text[..at];
    let fits = user.starts_with(|first: char| first.is_ascii_alphabetic())
        && user.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
    if fits { at + 1 } else { 0 }
}

fn after_host(text: &str, like_scp: bool) -> &str {
    let slash = text.find('/');
    let colon = text.find(':').filter(|_| like_scp);
    let end = match (slash, colon) {
        (Some(slash), Some(colon)) if colon > 0 && colon < slash => Some(colon),
        (None, colon) => colon,
        (slash, _) => slash,
    };
    end.map_or("", |end| &text[end + 1..])
}

/// `org/repo`, or a part before one of the markers `_git/`, `//`, `.git`.
fn has_repository_path(path: &str) -> bool {
    if path.contains("_git/") {
        return true;
    }
    if let Some(at) = path.find("//") {
        return at > 0;
    }
    path.contains(".git") || path.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories() {
        for text in [
            "https://github.com/org/repo?ref=v1",
            "https://host.example/org/repo//path",
            "github.com/org/repo",
            "GitHub.com/org/repo/sub",
            "github.com:org/repo",
            "git@github.com:org/repo.git",
            "git@host.example:org/repo",
            "ssh://git@host.example/org/repo",
            "git::https://host.example/org/repo.git",
            "file:///srv/repo",
            "user@host/org/repo",
        ] {
            assert!(is_repository(text), "{text}");
        }
    }

    #[test]
    fn local_paths() {
        for text in
            ["../base", "base", "./github.com/org/repo", "/abs/x", "a@b", "user@host/x", "github.com/org", "x/y.git"]
        {
            assert!(!is_repository(text), "{text}");
        }
    }

    #[test]
    fn files_over_http() {
        assert!(is_remote_file("https://host.example/x.yaml"));
        assert!(is_remote_file("HTTP://host.example"));
        assert!(!is_remote_file("http/x.yaml"));
        assert!(!is_remote_file("c:/x"));
    }

    #[test]
    fn messages_name_no_credentials() {
        assert_eq!(without_credentials("https://u:p@host.example/x?token=t"), "https://host.example/x");
        assert_eq!(without_credentials("git@host.example:org/repo"), "git@host.example:org/repo");
    }
}

//! Which addresses a Secret with credentials is for.

/// An address in a form that can be compared, as Argo CD compares them: without regard to case, to `.git` at the end, and
/// to the form of an address by ssh.
pub fn comparable(address: &str) -> String {
    let text = address.trim().to_ascii_lowercase();
    let text = match text.split_once("://") {
        Some(("ssh" | "git+ssh" | "ssh+git", rest)) => by_ssh(rest),
        Some(_) => text,
        None => match text.split_once(':') {
            Some((host, path)) if host.contains('@') && !host.contains('/') => {
                by_ssh(&format!("{host}/{}", path.trim_start_matches('/')))
            }
            _ => text,
        },
    };
    let text = text.trim_end_matches('/');
    text.strip_suffix(".git").unwrap_or(text).to_owned()
}

fn by_ssh(rest: &str) -> String {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.strip_suffix(":22").unwrap_or(authority);
    let user = if authority.contains('@') { "" } else { "git@" };
    format!("ssh://{user}{authority}{path}")
}

/// The address itself, or something below it; `https://host/team` is not above `https://host/teamwork`. Both comparable.
pub fn is_below(address: &str, above: &str) -> bool {
    address.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Without `oci://`, as addresses of registries may be written.
pub fn without_scheme(address: &str) -> &str {
    address.split_once("://").map_or(address, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_place_are_equal() {
        for (one, other) in [
            ("https://git.example/Team/R.git", "https://Git.example/team/r/"),
            ("git@git.example:team/r.git", "ssh://git@git.example/team/r"),
            ("git@git.example:/team/r", "ssh://git.example:22/team/r.git"),
            ("git@git.example:", "ssh://git@git.example/"),
        ] {
            assert_eq!(comparable(one), comparable(other));
        }
        for (address, above, below) in [
            ("git@git.example:team/r", "ssh://git@git.example", true),
            ("git@git.example:team/r", "git@git.example:team", true),
            ("git@git.example:teamwork/r", "git@git.example:team", false),
            ("ssh://git@git.example:2222/r", "git@git.example:", false),
            ("ssh://me@git.example/r", "git@git.example:", false),
            ("https://git.example/r", "git@git.example:", false),
        ] {
            assert_eq!(is_below(&comparable(address), &comparable(above)), below, "{address} {above}");
        }
    }
}

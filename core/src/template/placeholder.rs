//! The form of a placeholder, `<<__name__>>`, and what was probably meant by an unknown one.

/// What a placeholder starts with.
pub const OPEN: &str = "<<__";
/// What a placeholder ends with.
pub const CLOSE: &str = "__>>";

/// A longer run without an end is text that only starts like a placeholder.
const LONGEST_NAME: usize = 256;

/// `aws_region` becomes `<<__aws_region__>>`.
pub fn token(name: &str) -> String {
    format!("{OPEN}{name}{CLOSE}")
}

/// The name in `<<__name__>>`; a token of another form is its own name.
pub fn name(token: &str) -> &str {
    token.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE)).unwrap_or(token)
}

/// Whether the token is `<<__name__>>` with a name in it.
pub fn is_conventional(token: &str) -> bool {
    token.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE)).is_some_and(|name| !name.is_empty())
}

/// The length of the placeholder that `text` starts with, if it starts with one.
///
/// A placeholder stands on one line and holds no other `<` or `>`. `<<__name>>`, with its second pair
/// of underscores forgotten, counts too: nobody writes that on purpose, and it has no value.
pub(super) fn length(text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(OPEN.as_bytes())?;
    let end = rest.iter().take(LONGEST_NAME).position(|byte| matches!(byte, b'<' | b'>' | b'\n'))?;
    if !rest[end..].starts_with(b">>") {
        return None;
    }
    let inner = &rest[..end];
    let mistyped = !inner.is_empty() && !inner.iter().any(u8::is_ascii_whitespace);
    (inner.ends_with(b"__") || mistyped).then_some(OPEN.len() + end + 2)
}

/// The known token that `unknown` is most like: the nearest one that is at most a few typing errors
/// away (one for each five letters, never more than three), ignoring case.
pub fn did_you_mean<'k>(unknown: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let bare = |token: &str| token.trim_matches(['<', '>', '_', ' ', '\t']).to_lowercase();
    let wanted = bare(unknown);
    let allowed = (wanted.chars().count() / 5).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &bare(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_placeholder() {
        for (text, expected) in [
            ("<<__a__>>", Some(9)),
            ("<<__role_arn.mlflow__>> and more", Some(23)),
            ("<<__ a b __>>", Some(13)),
            ("<<____>>", Some(8)),
            ("<<__forgotten>>", Some(15)),
            ("<<__a__>", None),
            ("<<__EOF__\ntext\n__EOF__ >>", None),
            ("<<__EOF >> file", None),
            ("<<__a<<__b__>>__>>", None),
            ("<<__>>", None),
            ("<<__", None),
        ] {
            assert_eq!(length(text.as_bytes()), expected, "{text}");
        }
        let long = format!("<<__{}__>>", "x".repeat(1000));
        assert_eq!(length(long.as_bytes()), None);
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        let known = ["<<__aws_region__>>", "<<__cluster_name__>>", "<<__rds.host__>>", "TOKEN_OF_MY_OWN"];
        for (unknown, expected) in [
            ("<<__aws_regoin__>>", Some("<<__aws_region__>>")),
            ("<<__AWS_REGION__>>", Some("<<__aws_region__>>")),
            ("<<__cluster-name__>>", Some("<<__cluster_name__>>")),
            ("<<__cluster_name>>", Some("<<__cluster_name__>>")),
            ("<<__rds.port__>>", None),
            ("<<__x__>>", None),
        ] {
            assert_eq!(did_you_mean(unknown, known), expected, "{unknown}");
        }
    }
}

//! Argo CD's build environment: `$ARGOCD_APP_NAME` and its kind, in the fields where Argo CD replaces them.

/// What the variables stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variables<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) project: &'a str,
    pub(super) repo_url: &'a str,
    pub(super) path: &'a str,
    pub(super) revision: &'a str,
}

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        Some(match name {
            "ARGOCD_APP_NAME" => self.name,
            "ARGOCD_APP_NAMESPACE" => self.namespace,
            "ARGOCD_APP_PROJECT_NAME" => self.project,
            "ARGOCD_APP_SOURCE_REPO_URL" => self.repo_url,
            "ARGOCD_APP_SOURCE_PATH" => self.path,
            "ARGOCD_APP_SOURCE_TARGET_REVISION" => self.revision,
            _ => return None,
        })
    }

    /// Replaces `$NAME` and `${NAME}`; `$$` is a dollar sign. Gives the name of a variable that there is none of:
    /// Argo CD would put nothing in its place, and `$ARGOCD_APP_REVISION` would render every Application at every commit.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            let (name, behind) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some(braced) => braced,
                None => after.split_at(length_of_name(after)),
            };
            match name {
                "" if after.starts_with('$') => expanded.push('$'),
                // A dollar sign that begins no name stands for itself.
                "" => expanded.push('$'),
                name => expanded.push_str(self.get(name).ok_or_else(|| name.to_owned())?),
            }
            rest = if name.is_empty() && after.starts_with('$') { &after[1..] } else { behind };
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

fn length_of_name(text: &str) -> usize {
    text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_unknown_ones_named() {
        let variables = Variables { name: "web", namespace: "team", ..Variables::default() };
        for (text, expected) in [
            ("plain", Ok("plain")),
            ("$ARGOCD_APP_NAME-x", Ok("web-x")),
            ("a ${ARGOCD_APP_NAME}b", Ok("a webb")),
            ("$ARGOCD_APP_NAMESPACE/$ARGOCD_APP_NAME", Ok("team/web")),
            ("5$", Ok("5$")),
            ("a$$b", Ok("a$b")),
            ("$-", Ok("$-")),
            ("$ARGOCD_APP_REVISION", Err("ARGOCD_APP_REVISION")),
            ("pa$word", Err("word")),
        ] {
            assert_eq!(variables.expand(text).as_deref().map_err(String::as_str), expected, "{text}");
        }
    }
}

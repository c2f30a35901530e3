//! The upstream commit to upgrade to, and the one that the fork has.

use gitmoor_core::init_state::FOLDER;

use super::{Arguments, fork::Fork};
use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// Upstream, as far as this upgrade is concerned.
pub(super) struct Upstream {
    /// What people call the commit: the ref that was asked for, and the short id.
    pub(super) name: String,
    /// The commit to upgrade to.
    pub(super) commit: String,
    /// The newest upstream commit that the fork has.
    pub(super) base: String,
    /// Whether Git knows that, too.
    pub(super) is_related: bool,
    /// Where it was fetched from, to be remembered: without credentials.
    pub(super) url: String,
    /// Both trees, without a state of their own.
    pub(super) tree: String,
    pub(super) base_tree: String,
}

/// Fetches what was asked for, with the user's own Git: its remotes, credentials and proxies.
pub(super) fn fetch(fork: &Fork, arguments: &Arguments, terminal: &mut Terminal) -> Result<Upstream, Failure> {
    let repository = &fork.repository;
    let recorded = fork.state.upstream.as_ref().and_then(|upstream| upstream.url.clone());
    let remotes = repository.text(&["remote"])?;
    let remote = remotes.lines().find(|remote| *remote == "upstream").map(str::to_owned);
    let from = arguments.upstream.clone().or(recorded).or(remote).ok_or_else(|| {
        Failure::new(Exit::Usage, "where upstream is was never said")
            .hint("say it once: gitmoor upgrade --upstream URL")
            .hint("or name it for Git: git remote add upstream URL")
    })?;
    let reference = arguments.to.as_deref().unwrap_or("HEAD");
    if from.starts_with('-') || reference.starts_with('-') {
        return Err(Failure::new(Exit::Usage, "neither an upstream nor a ref starts with a dash"));
    }
    let url = if remotes.lines().any(|remote| remote == from) {
        repository.ask(&["remote", "get-url", &from]).unwrap_or_else(|| from.clone())
    } else {
        from.clone()
    };
    let url = without_credentials(&url);
    terminal.message(&format!("fetching {reference} from {url}"));
    repository
        .run_visibly(&["fetch", "--quiet", "--no-tags", &from, reference])
        .map_err(|error| Failure::from(error).hint("nothing was written; git says above why it could not fetch"))?;
    let commit = repository.commit("FETCH_HEAD").ok_or_else(|| Failure::new(Exit::Input, "nothing was fetched"))?;
    let short = repository.text(&["rev-parse", "--short", &commit])?;
    let name =
        if reference == "HEAD" { format!("upstream {short}") } else { format!("upstream {reference} ({short})") };
    let (base, is_related) = base(fork, &commit)?;
    let (tree, base_tree) = (without_state(fork, &commit)?, without_state(fork, &base)?);
    Ok(Upstream { name, commit, base, is_related, url, tree, base_tree })
}

/// The newest commit of upstream that the fork has: by its history, else by what the state remembers.
fn base(fork: &Fork, commit: &str) -> Result<(String, bool), Failure> {
    let repository = &fork.repository;
    if let Some(base) = repository.ask(&["merge-base", "HEAD", commit]) {
        return Ok((base, true));
    }
    let remembered = fork.state.upstream.as_ref().and_then(|upstream| repository.commit(&upstream.commit));
    remembered.map(|base| (base, false)).ok_or_else(|| {
        let failure = Failure::new(Exit::Input, "fork and upstream have no commit in common; nothing was written");
        if repository.is_shallow() {
            failure.hint("the clone is shallow; get the rest of the history: git fetch --unshallow")
        } else {
            failure
                .hint("is this the upstream that the fork was made from?")
                .hint("where its history was squashed, say which commit it was made from: gitmoor init SETUP_CONF --adopt --upstream-commit COMMIT")
        }
    })
}

/// An upstream can be a fork itself. Its state is not ours.
fn without_state(fork: &Fork, commit: &str) -> Result<String, Failure> {
    let tree = fork.repository.text(&["rev-parse", &format!("{commit}^{{tree}}")])?;
    let own: Vec<_> =
        fork.repository.files(&tree, &[FOLDER.to_owned()])?.into_keys().map(|path| (path, None)).collect();
    Ok(if own.is_empty() { tree } else { fork.repository.tree_with(&tree, &own)? })
}

/// The state is committed: what stands before the `@` of a URL stays out of it.
fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}/{path}")
        }
        _ => url.to_owned(),
    }
}

impl Upstream {
    /// Whether the fork has the commit already.
    pub(super) fn is_contained(&self, fork: &Fork) -> bool {
        self.base == self.commit
            || fork.repository.ask(&["merge-base", "--is-ancestor", &self.commit, "HEAD"]).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_out() {
        for (url, expected) in [
            ("https://user:token@example.com/a.git", "https://example.com/a.git"),
            ("https://example.com/a@b.git", "https://example.com/a@b.git"),
            ("git@example.com:a/b.git", "git@example.com:a/b.git"),
            ("ssh://git@example.com/a.git", "ssh://git@example.com/a.git"),
            ("../upstream", "../upstream"),
        ] {
            assert_eq!(without_credentials(url), expected);
        }
    }
}

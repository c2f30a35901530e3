//! What the addresses of repositories, charts and registries mean here: which may be used, and what stands in for which.

use std::path::{Path, absolute};

use gitmoor_core::replacement::{Replacement, Replacements, normal};

use crate::access::Credentials;
use crate::charts::{ChartAddress, ChartAddressError};
use crate::git::{RepositoryUrl, UrlError, UrlPolicy, refuse_forbidden};

/// Reads addresses as users write them.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    policy: UrlPolicy,
    replacements: Replacements,
}

impl From<UrlPolicy> for Addresses {
    /// Nothing stands in for anything.
    fn from(policy: UrlPolicy) -> Self {
        Self { policy, replacements: Replacements::default() }
    }
}

impl Addresses {
    /// With replacements; folders among their targets are relative to the present one.
    pub fn new(policy: UrlPolicy, replacements: impl IntoIterator<Item = Replacement>) -> Self {
        let absolute = |replacement: Replacement| {
            let Replacement { from, to } = replacement;
            let slash = if to.ends_with('/') { "/" } else { "" };
            let path = is_path(&to).then(|| absolute(&to).ok()).flatten();
            let path = path.and_then(|path| Some(format!("{}{slash}", path.to_str()?.trim_end_matches('/'))));
            Replacement { from, to: path.unwrap_or(to) }
        };
        Self { policy, replacements: Replacements::new(replacements.into_iter().map(absolute)) }
    }

    /// The address of a Git repository. What stands in for another may also be local.
    pub fn repository(&self, text: &str) -> Result<RepositoryUrl, UrlError> {
        Ok(self.repository_with_credentials(text)?.0)
    }

    /// The same, and the credentials that stood in it, unless something else stands in for it.
    pub fn repository_with_credentials(&self, text: &str) -> Result<(RepositoryUrl, Credentials), UrlError> {
        let Some(instead) = self.replacements.apply(text) else {
            return RepositoryUrl::parse_with_credentials(text, &self.policy);
        };
        refuse_forbidden(text.trim())?;
        let instead = if is_path(&instead) { format!("file://{}", repository_folder(&instead)) } else { instead };
        let policy = UrlPolicy { allow_local: true, ..self.policy };
        let url = RepositoryUrl::parse(&instead, &policy)?.in_place_of(normal(text));
        Ok((url, Credentials::None))
    }

    /// The address of a chart in a repository or registry.
    pub fn chart(&self, repository: &str, chart: &str) -> Result<ChartAddress, ChartAddressError> {
        let Some(instead) = self.replacements.apply(repository) else { return ChartAddress::parse(repository, chart) };
        let folder = instead.strip_prefix("file://").or_else(|| is_path(&instead).then_some(instead.as_str()));
        let address = match folder {
            Some(folder) if Path::new(folder).components().any(|part| part.as_os_str() == "..") => {
                return Err(ChartAddressError::Malformed("`..` in it"));
            }
            Some(folder) => ChartAddress::local(folder, chart)?,
            None => ChartAddress::parse(&instead, chart)?,
        };
        Ok(address.in_place_of(normal(repository)))
    }

    /// What stands in for any other address, such as that of an archive or a file; the address itself when nothing does.
    pub fn file(&self, address: &str) -> String {
        self.replacements.apply(address).unwrap_or_else(|| address.to_owned())
    }

    /// The replacements.
    pub fn replacements(&self) -> &Replacements {
        &self.replacements
    }
}

/// Whether a target is a folder of this machine, and no address.
fn is_path(target: &str) -> bool {
    target.starts_with(['/', '.'])
}

/// Upstream's `.git` at the end may be missing in the local folder, or be there only.
fn repository_folder(path: &str) -> String {
    let bare = path.trim_end_matches('/').strip_suffix(".git").unwrap_or(path.trim_end_matches('/'));
    let candidates = [path.to_owned(), bare.to_owned(), format!("{bare}.git")];
    candidates.into_iter().find(|path| Path::new(path).is_dir()).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Addresses {
        Addresses::new(UrlPolicy::default(), texts.iter().map(|text| text.parse().unwrap()))
    }

    #[test]
    fn what_stands_in_is_connected_to_and_what_users_wrote_is_shown() {
        let addresses = addresses(&[
            "https://github.com/=https://mirror.example/github/",
            "https://charts.example/=oci://registry.example/charts/",
            "https://other.example=/srv/charts",
            "git@github.com:=https://mirror.example/github/",
        ]);
        let url = addresses.repository("https://me:hunter2@github.com/org/x.git").unwrap();
        assert_eq!(url.as_str(), "https://mirror.example/github/org/x.git");
        assert_eq!(url.to_string(), "https://github.com/org/x.git");
        assert_eq!(url, addresses.repository("git@github.com:org/x").unwrap(), "one mirror for both");
        assert_eq!(addresses.repository("https://gitlab.com/x").unwrap().as_str(), "https://gitlab.com/x");
        assert!(addresses.repository("https://github.com/a b").is_err(), "what is refused is refused before");

        let chart = addresses.chart("https://charts.example/stable", "app").unwrap();
        assert_eq!(chart.location(), "oci://registry.example/charts/stable/app");
        assert_eq!(chart.to_string(), "https://charts.example/stable/app");
        let chart = addresses.chart("https://other.example/x", "app").unwrap();
        assert_eq!(chart.folder().unwrap(), Path::new("/srv/charts/x"));
        assert!(addresses.chart("https://other.example/../../etc", "app").is_err());
    }

    #[test]
    fn a_local_folder_is_found_with_and_without_its_ending() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().to_str().unwrap();
        std::fs::create_dir_all(format!("{root}/one")).unwrap();
        std::fs::create_dir_all(format!("{root}/two.git")).unwrap();
        let addresses = addresses(&[&format!("https://github.com/org/={root}/")]);
        for (name, folder) in [("one.git", "one"), ("one", "one"), ("two", "two.git"), ("two.git", "two.git")] {
            let url = addresses.repository(&format!("https://github.com/org/{name}")).unwrap();
            assert_eq!(url.as_str(), format!("file://{root}/{folder}"), "{name}");
        }
        let policy = UrlPolicy::default();
        assert!(Addresses::from(policy).repository(&format!("file://{root}/one")).is_err(), "by replacement only");
    }
}

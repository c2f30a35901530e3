//! A source with all its names resolved: everything that a render depends on besides the files.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::expand::Variables;
use super::helm::escaped;
use super::{Directory, Helm, HelmOptions, KustomizeOptions, Source, ValueFile};
use crate::closure::SourceKind;
use crate::tree::RepoPath;

/// What an Application's own names are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names<'a> {
    /// Name of the Application.
    pub name: &'a str,
    /// Namespace of the destination.
    pub namespace: &'a str,
    /// Name of the AppProject.
    pub project: &'a str,
}

/// How one source is rendered.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// The folder.
    pub path: RepoPath,
    /// As which kind it has to be rendered; found out from the folder when nothing says so.
    pub explicit: Option<SourceKind>,
    /// It gives files to other sources and renders nothing itself.
    pub reference_only: bool,
    /// For a chart.
    pub helm: Helm,
    /// For a kustomization.
    pub kustomize: KustomizeOptions,
    /// For plain files.
    pub directory: Directory,
}

/// A field of a source is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct RecipeError {
    /// Its path.
    pub field: String,
    /// What is wrong, and the way out.
    pub reason: String,
}

impl Recipe {
    /// A folder without any options.
    pub fn of_folder(path: RepoPath) -> Self {
        let helm = Helm { release_name: "release-name".to_owned(), ..Helm::default() };
        Self { path, helm, ..Self::default() }
    }

    /// Digest of all options that matter for a kind, in hexadecimal.
    pub fn digest(&self, kind: SourceKind) -> String {
        let text = match kind {
            SourceKind::Helm => serde_json::to_string(&self.helm).unwrap_or_default(),
            SourceKind::Kustomize if self.kustomize.is_empty() => String::new(),
            SourceKind::Kustomize => serde_json::to_string(&self.kustomize).unwrap_or_default(),
            SourceKind::Directory => self.directory.identity(),
        };
        let digest = Sha256::digest(text.as_bytes());
        digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The recipes of an Application's sources, in their order.
pub fn recipes(sources: &[Source], names: &Names<'_>) -> Result<Vec<Recipe>, RecipeError> {
    let several = sources.len() > 1;
    let one = |index: usize| {
        let at = if several { format!("spec.sources[{index}]") } else { "spec.source".to_owned() };
        Maker { sources, names, source: &sources[index], at }.recipe()
    };
    (0..sources.len()).map(one).collect()
}

struct Maker<'a> {
    sources: &'a [Source],
    names: &'a Names<'a>,
    source: &'a Source,
    at: String,
}

impl Maker<'_> {
    fn recipe(&self) -> Result<Recipe, RecipeError> {
        let path = self.folder()?;
        let helm = self.helm(&path)?;
        let directory = self.source.directory.clone().unwrap_or_default();
        let directory = Directory::new(&directory).map_err(|(field, reason)| self.error(field, reason))?;
        let reference_only = self.source.is_reference_only();
        Ok(Recipe { path, explicit: self.explicit()?, reference_only, helm, kustomize: self.kustomize()?, directory })
    }

    fn error(&self, field: &str, reason: impl Into<String>) -> RecipeError {
        RecipeError { field: format!("{}.{field}", self.at), reason: reason.into() }
    }

    fn folder(&self) -> Result<RepoPath, RecipeError> {
        let Source { chart, path, reference, .. } = self.source;
        let text = path.as_deref().unwrap_or_default();
        match (self.source.chart(), text) {
            (Some(_), "" | ".") => Ok(RepoPath::root()),
            (Some(_), _) => {
                Err(self.error("path", "a chart of a repository has no path; remove one of chart and path"))
            }
            (None, _) if chart.is_some() || reference.is_some() || path.is_some() => RepoPath::root()
                .join(text)
                .ok_or_else(|| self.error("path", "leaves the repository; name a folder relative to its root")),
            // Argo CD wants a path; the root of the repository is what a source without one can only mean.
            (None, _) => Ok(RepoPath::root()),
        }
    }

    fn explicit(&self) -> Result<Option<SourceKind>, RecipeError> {
        let Source { helm, kustomize, directory, .. } = self.source;
        let set = [
            (
                "helm",
                SourceKind::Helm,
                helm.as_ref().is_some_and(|options| !options.is_empty()) || self.source.chart().is_some(),
            ),
            ("kustomize", SourceKind::Kustomize, kustomize.as_ref().is_some_and(|options| !options.is_empty())),
            ("directory", SourceKind::Directory, directory.as_ref().is_some_and(|options| !options.is_empty())),
        ];
        let set: Vec<_> = set.into_iter().filter(|(_, _, set)| *set).collect();
        match set.as_slice() {
            [] => Ok(None),
            [(_, kind, _)] => Ok(Some(*kind)),
            [(one, ..), (two, ..), ..] => {
                Err(self.error(one, format!("cannot be combined with {two}; keep one of them")))
            }
        }
    }

    fn variables(&self) -> Variables<'_> {
        Variables {
            name: self.names.name,
            namespace: self.names.namespace,
            project: if self.names.project.is_empty() { "default" } else { self.names.project },
            repo_url: &self.source.repo_url,
            path: self.source.path.as_deref().unwrap_or_default(),
            revision: self.source.revision(),
        }
    }

    fn expand(&self, field: &str, text: &str) -> Result<String, RecipeError> {
        self.variables().expand(text).map_err(|name| {
            self.error(field, format!("${name} is no variable that is supported; write $$ for a dollar sign"))
        })
    }

    fn kustomize(&self) -> Result<KustomizeOptions, RecipeError> {
        let mut options = self.source.kustomize.clone().unwrap_or_default();
        if !options.version.is_empty() {
            return Err(self.error("kustomize.version", "only the agent's own kustomize; remove it"));
        }
        if options.label_include_templates && !options.label_without_selector {
            return Err(self.error("kustomize.labelIncludeTemplates", "needs labelWithoutSelector; set it too"));
        }
        if let Some(pattern) = options.components.iter().find(|text| text.contains(['*', '?', '['])) {
            return Err(self.error("kustomize.components", format!("{pattern:?} is a pattern; name each component")));
        }
        for image in &mut options.images {
            *image = self.expand("kustomize.images", image)?;
        }
        for label in options.common_labels.values_mut() {
            *label = self.expand("kustomize.commonLabels", label)?;
        }
        if options.common_annotations_envsubst {
            for annotation in options.common_annotations.values_mut() {
                *annotation = self.expand("kustomize.commonAnnotations", annotation)?;
            }
        }
        Ok(options)
    }

    fn helm(&self, path: &RepoPath) -> Result<Helm, RecipeError> {
        let options = self.source.helm.clone().unwrap_or_default();
        let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
        if !matches!(options.version.as_str(), "" | "v3" | "3") {
            return Err(self.error("helm.version", "only Helm 3; remove it"));
        }
        let release_name = or(&options.release_name, self.names.name);
        if release_name.len() > 53 {
            let reason = format!("{release_name:?} has more than 53 characters; set helm.releaseName to a shorter one");
            return Err(self.error("helm.releaseName", reason));
        }
        let mut helm = Helm {
            release_name,
            namespace: or(&options.namespace, self.names.namespace),
            ignore_missing_value_files: options.ignore_missing_value_files,
            values: self.values(&options)?,
            skip_crds: options.skip_crds,
            skip_tests: options.skip_tests,
            skip_schema_validation: options.skip_schema_validation,
            kube_version: Some(options.kube_version.clone()).filter(|version| !version.is_empty()),
            api_versions: options.api_versions.clone(),
            ..Helm::default()
        };
        for text in &options.value_files {
            helm.value_files.push(self.file(path, "helm.valueFiles", text)?);
        }
        for parameter in &options.parameters {
            let value = self.expand("helm.parameters", &parameter.value)?;
            let assignment = format!("{}={}", parameter.name, escaped(&value));
            if parameter.force_string { &mut helm.set_string } else { &mut helm.set }.push(assignment);
        }
        for parameter in &options.file_parameters {
            let file = self.file(path, "helm.fileParameters", &parameter.path)?;
            helm.set_file.push((parameter.name.clone(), file));
        }
        Ok(helm)
    }

    /// JSON is YAML: an object needs no other form.
    fn values(&self, options: &HelmOptions) -> Result<String, RecipeError> {
        match &options.values_object {
            None | Some(Value::Null) => Ok(options.values.clone()),
            Some(Value::Object(map)) if map.is_empty() => Ok(options.values.clone()),
            Some(object @ Value::Object(_)) => Ok(object.to_string()),
            Some(_) => Err(self.error("helm.valuesObject", "is no object")),
        }
    }

    /// A file that an option names.
    fn file(&self, folder: &RepoPath, field: &str, text: &str) -> Result<ValueFile, RecipeError> {
        let outside = || self.error(field, format!("{text:?} leaves the repository; use a path inside it"));
        if let Some((source, rest)) = self.referenced(field, text)? {
            let path = RepoPath::root().join(&self.expand(field, rest)?).ok_or_else(outside)?;
            return Ok(ValueFile { source: Some(source), path, text: text.to_owned() });
        }
        let expanded = self.expand(field, text)?;
        if expanded.contains("://") {
            let reason =
                format!("{text:?} is fetched from elsewhere, which is not supported; copy it into the repository");
            return Err(self.error(field, reason));
        }
        if expanded.contains(['*', '?', '[']) {
            return Err(self.error(field, format!("{text:?} is a pattern; name each file")));
        }
        let path = match expanded.strip_prefix('/') {
            Some(from_root) => RepoPath::root().join(from_root),
            None => folder.join(&expanded),
        };
        Ok(ValueFile { source: None, path: path.ok_or_else(outside)?, text: text.to_owned() })
    }

    /// `$NAME/PATH` of another source: its position, and the path.
    fn referenced<'t>(&self, field: &str, text: &'t str) -> Result<Option<(usize, &'t str)>, RecipeError> {
        let Some(inner) = text.strip_prefix('$') else { return Ok(None) };
        let (name, path) = inner.split_once('/').unwrap_or((inner, ""));
        let Some(position) = self.sources.iter().position(|source| source.reference() == Some(name)) else {
            return Ok(None);
        };
        if self.sources[position].chart().is_some() {
            return Err(
                self.error(field, format!("{text:?} names a chart, whose files cannot be used by other sources"))
            );
        }
        Ok(Some((position, path)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NAMES: Names<'_> = Names { name: "web", namespace: "team", project: "" };

    fn made(sources: Value) -> Result<Vec<Recipe>, String> {
        let sources: Vec<Source> = serde_json::from_value(sources).unwrap();
        recipes(&sources, &NAMES).map_err(|error| error.to_string())
    }

    #[test]
    fn value_files_are_found_where_argo_cd_finds_them() {
        let recipes = made(json!([
            {"repoURL": "https://charts", "chart": "app", "targetRevision": "1.0.0",
             "helm": {"valueFiles": ["values-x.yaml", "$own/apps/$ARGOCD_APP_NAME.yaml"], "parameters": [{"name": "a", "value": "x,y"}]}},
            {"repoURL": "https://git/x", "ref": "own"},
            {"repoURL": "https://git/x", "path": "charts/app", "helm": {"valueFiles": ["../v.yaml", "/root.yaml"]}},
        ]))
        .unwrap();
        let files = |index: usize| {
            let files = recipes[index].helm.value_files.iter();
            files.map(|file| (file.source, file.path.to_string())).collect::<Vec<_>>()
        };
        assert_eq!(files(0), [(None, "values-x.yaml".to_owned()), (Some(1), "apps/web.yaml".to_owned())]);
        assert_eq!(files(2), [(None, "charts/v.yaml".to_owned()), (None, "root.yaml".to_owned())]);
        assert_eq!(recipes[0].helm.set, [r"a=x\,y"]);
        assert_eq!((recipes[0].helm.release_name.as_str(), recipes[0].helm.namespace.as_str()), ("web", "team"));
        assert!(recipes[1].reference_only && !recipes[2].reference_only);
        assert_eq!(recipes[0].explicit, Some(SourceKind::Helm));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let git = |options: Value| {
            let mut source = json!({"repoURL": "https://git/x", "path": "app"});
            source.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
            made(json!([source])).unwrap_err()
        };
        for (options, expected) in [
            (json!({"path": "../x"}), "spec.source.path: leaves"),
            (json!({"helm": {"valueFiles": ["../../x"]}}), "spec.source.helm.valueFiles: \"../../x\" leaves"),
            (json!({"helm": {"valueFiles": ["https://x/v.yaml"]}}), "fetched from elsewhere"),
            (json!({"helm": {"valueFiles": ["$other/v.yaml"]}}), "$other is no variable"),
            (
                json!({"helm": {"parameters": [{"name": "a", "value": "$ARGOCD_APP_REVISION"}]}}),
                "$ARGOCD_APP_REVISION is no",
            ),
            (json!({"helm": {"version": "v2"}}), "only Helm 3"),
            (json!({"helm": {"releaseName": "x".repeat(54)}}), "53 characters"),
            (json!({"helm": {"valuesObject": [1]}}), "is no object"),
            (json!({"chart": "x"}), "remove one of chart and path"),
            (
                json!({"helm": {"values": "a: 1"}, "kustomize": {"namePrefix": "x"}}),
                "cannot be combined with kustomize",
            ),
            (json!({"kustomize": {"version": "v4"}}), "only the agent's own"),
            (json!({"kustomize": {"components": ["../*"]}}), "is a pattern"),
            (json!({"directory": {"include": "{a"}}), "spec.source.directory.include"),
        ] {
            let error = git(options.clone());
            assert!(error.contains(expected), "{options}: {error}");
        }
    }

    #[test]
    fn only_what_matters_for_a_kind_is_part_of_its_digest() {
        let recipes = made(json!([
            {"repoURL": "https://git/x", "path": "app"},
            {"repoURL": "https://git/x", "path": "app", "helm": {"values": "a: 1"}},
        ]))
        .unwrap();
        assert_eq!(recipes[0].digest(SourceKind::Kustomize), recipes[1].digest(SourceKind::Kustomize));
        assert_ne!(recipes[0].digest(SourceKind::Helm), recipes[1].digest(SourceKind::Helm));
    }
}

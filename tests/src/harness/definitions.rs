//! The kinds that Gitmoor brings.

use std::fs;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde::Deserialize as _;

use super::await_state::eventually;
use super::installation::PATIENCE;
use super::tools::workspace;

/// Where the distribution keeps them.
const FOLDER: &str = "distribution/components/gitmoor/crds";

/// Applies the CustomResourceDefinitions of the distribution and waits until
/// the API server serves them. Any number of tests may do so.
pub async fn install(client: &kube::Client) {
    for definition in shipped() {
        apply(client, &definition).await;
    }
}

/// Applies one of them, by its singular name.
///
/// # Panics
/// When there is none.
pub async fn install_one(client: &kube::Client, singular: &str) {
    let named = |definition: &&CustomResourceDefinition| definition.spec.names.singular.as_deref() == Some(singular);
    let all = shipped();
    apply(client, all.iter().find(named).unwrap_or_else(|| panic!("no definition of {singular}"))).await;
}

pub(super) async fn apply(client: &kube::Client, definition: &CustomResourceDefinition) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let parameters = PatchParams::apply("gitmoor-tests").force();
    let name = definition.name_any();
    api.patch(&name, &parameters, &Patch::Apply(definition))
        .await
        .unwrap_or_else(|error| panic!("definition {name}: {error}"));
    eventually(&format!("definition {name} is served"), PATIENCE, async || {
        let live = api.get(&name).await.map_err(|error| error.to_string())?;
        let conditions = live.status.and_then(|status| status.conditions).unwrap_or_default();
        let established = conditions.iter().any(|each| each.type_ == "Established" && each.status == "True");
        if established { Ok(()) } else { Err(format!("{conditions:?}")) }
    })
    .await;
}

/// Those of the distribution.
pub fn shipped() -> Vec<CustomResourceDefinition> {
    let folder = workspace().join(FOLDER);
    let mut definitions = Vec::new();
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder can be listed").path();
        if path.file_name().is_some_and(|name| name == "kustomization.yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a file can be read");
        for document in serde_yaml::Deserializer::from_str(&text) {
            let definition = CustomResourceDefinition::deserialize(document);
            definitions.push(definition.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
    }
    definitions
}

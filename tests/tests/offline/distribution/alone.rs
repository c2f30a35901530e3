//! A component that is on has all that it refers to, whatever else is off.

use gitmoor_tests::distribution::components::Components;
use gitmoor_tests::distribution::fork::Fork;

use super::ENVIRONMENTS;

#[test]
fn each_component_alone_has_what_it_refers_to() {
    for environment in ENVIRONMENTS {
        let components = Components::of_repository(&Fork::new(environment));
        for name in components.names() {
            let on = components.alone(name);
            assert_eq!(components.missing(&on), [] as [String; 0], "{environment}, {name} alone: {on:?}");
        }
        assert_eq!(components.idle_uses(), [] as [String; 0], "{environment}: referred to by nobody");
    }
}

#[test]
fn each_component_off_leaves_nothing_that_refers_to_it() {
    for environment in ENVIRONMENTS {
        let components = Components::of_repository(&Fork::new(environment));
        for name in components.names() {
            let on = components.without(name);
            assert_eq!(components.missing(&on), [] as [String; 0], "{environment}, {name} off: {on:?}");
        }
    }
}

#[test]
fn a_component_that_is_off_is_missed_by_those_that_need_it() {
    for (environment, off, missed) in [
        ("aws", "mlflow", "inference: Service mlflow/mlflow-service"),
        ("aws", "credentials", "mlflow: Secret mlflow/mlflow-login"),
        ("aws", "aws-ebs-csi-driver", "grafana: StorageClass /gp3"),
        ("aws", "aws-load-balancer-controller", "airflow: IngressClass /alb"),
        ("aws", "namespaces", "mlflow: Namespace /mlflow"),
        ("aws", "cert-manager", "cert-manager-issuers: CustomResourceDefinition /ClusterIssuer.cert-manager.io"),
        ("single-node", "aws-credentials", "jupyterhub: ClusterSecretStore /aws"),
        ("single-node", "aws-credentials", "mlflow: Secret mlflow/aws-credentials"),
        ("single-node", "loki", "alloy: Service monitoring/loki"),
    ] {
        let components = Components::of_repository(&Fork::new(environment));
        let on = components.names().filter(|name| *name != off).map(str::to_owned).collect();
        let missing = components.missing(&on);
        assert!(missing.iter().any(|one| one == missed), "{missed} is not in {missing:#?}");
    }
}

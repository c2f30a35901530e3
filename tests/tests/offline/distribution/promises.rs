//! What components promise, in what they render to and in the values that they give to charts of others.

use std::collections::BTreeSet;
use std::fs;

use gitmoor_tests::distribution::fork::{Fork, files, name_of, text_at};
use gitmoor_tests::distribution::policy;
use gitmoor_tests::harness::tools::workspace;
use serde_json::{Value, json};

use super::ENVIRONMENTS;

fn application(fork: &Fork, name: &str) -> Value {
    fork.offered().into_iter().find(|one| text_at(one, "/metadata/name") == name).unwrap()
}

fn render(fork: &Fork, name: &str) -> Vec<Value> {
    fork.render(&application(fork, name))
}

fn object(objects: &[Value], name: &str) -> Value {
    let found = objects.iter().find(|object| name_of(object) == name);
    found.unwrap_or_else(|| panic!("no {name} among {:?}", objects.iter().map(name_of).collect::<Vec<_>>())).clone()
}

fn values(fork: &Fork, file: &str) -> Value {
    fork.documents(&format!("distribution/components/{file}")).remove(0)
}

#[test]
fn large_nodes_can_be_chosen_by_tasks_and_by_notebooks() {
    let fork = Fork::new("aws");
    let selector = json!({"role": "large"});
    let toleration = json!({"key": "dedicated", "operator": "Equal", "value": "large", "effect": "NoSchedule"});

    let workers = &values(&fork, "airflow/values-aws.yaml")["workers"]["kubernetes"];
    assert_eq!(workers["tolerations"], json!([toleration]));
    let connections = object(&render(&fork, "airflow"), "ExternalSecret airflow/airflow-connections");
    let variables = &connections["spec"]["target"]["template"]["data"];
    let large: Value = serde_json::from_str(text_at(variables, "/AIRFLOW_VAR_LARGE_NODES")).unwrap();
    assert_eq!(large, json!({"node_selector": selector, "tolerations": [toleration]}));

    let profiles = values(&fork, "jupyterhub/values-aws.yaml")["singleuser"]["profileList"].take();
    let profiles = profiles.as_array().unwrap().clone();
    let large = profiles.iter().find(|profile| text_at(profile, "/display_name").ends_with("large")).unwrap();
    assert_eq!(large["kubespawner_override"]["node_selector"], selector);
    assert_eq!(large["kubespawner_override"]["tolerations"], json!([toleration]));
}

#[test]
fn tasks_know_the_registry_the_buckets_and_the_role_of_models() {
    for environment in ENVIRONMENTS {
        let objects = render(&Fork::new(environment), "airflow");
        let connections = object(&objects, "ExternalSecret airflow/airflow-connections");
        let template = &connections["spec"]["target"]["template"];
        assert_eq!(template["mergePolicy"], "Merge", "beside those of the user");
        for (name, expected) in [
            ("MLFLOW_TRACKING_URI", "http://mlflow-service.mlflow.svc.cluster.local"),
            ("DATA_BUCKET", "123456789012-platform-airflow-data"),
            ("MLFLOW_BUCKET", "123456789012-platform-mlflow"),
            ("AWS_REGION", "eu-central-1"),
        ] {
            assert_eq!(template["data"][format!("AIRFLOW_VAR_{name}")], expected, "{environment}");
        }
        let role = text_at(template, "/data/AIRFLOW_VAR_SAGEMAKER_ROLE");
        assert_eq!(role.ends_with(":role/platform_sagemaker"), environment == "aws", "{role}");
    }
}

#[test]
fn a_single_node_is_reached_at_the_ports_of_its_address() {
    let fork = Fork::new("single-node");
    let ports = |component: &str| -> Vec<Value> {
        let services: Vec<Value> =
            render(&fork, component).into_iter().filter(|one| one["kind"] == "Service").collect();
        let ports = services.iter().flat_map(|service| service["spec"]["ports"].as_array().unwrap().clone());
        ports.map(|mut port| port["nodePort"].take()).filter(|port| !port.is_null()).collect()
    };
    let airflow = &values(&fork, "airflow/values-single-node.yaml")["apiServer"]["service"];
    assert_eq!((&airflow["type"], &airflow["ports"][0]["nodePort"]), (&json!("NodePort"), &json!("30080")));
    assert_eq!((ports("mlflow"), ports("inference")), (vec![json!(30081)], vec![json!(30082)]));
}

#[test]
fn mlflow_answers_at_its_names_behind_a_login() {
    for (environment, public, store) in [
        (
            "aws",
            "mlflow.platform.example.com",
            "postgresql://platform.abcdefghijkl.eu-central-1.rds.amazonaws.com:5432/mlflow",
        ),
        ("single-node", "platform.example.com:30081", "sqlite:////data/mlflow.db"),
    ] {
        let objects = render(&Fork::new(environment), "mlflow");
        let config = object(&objects, "ConfigMap mlflow/mlflow-config");
        let hosts: BTreeSet<&str> = text_at(&config, "/data/MLFLOW_SERVER_ALLOWED_HOSTS").split(',').collect();
        for host in [public, "mlflow-service", "mlflow-service.mlflow.svc.cluster.local"] {
            assert!(hosts.contains(host), "{environment}: {host} is not among {hosts:?}");
        }
        assert_eq!(config["data"]["MLFLOW_ARTIFACTS_DESTINATION"], "s3://123456789012-platform-mlflow/users");
        assert_eq!(config["data"]["MLFLOW_BACKEND_STORE_URI"], store);
        let service = object(&objects, "Service mlflow/mlflow-service");
        assert_eq!((&service["spec"]["type"], &service["spec"]["ports"][0]["port"]), (&json!("ClusterIP"), &json!(80)));
        let migration = &object(&objects, "Deployment mlflow/mlflow")["spec"]["template"]["spec"]["initContainers"][0];
        assert_eq!(migration["command"], json!(["mlflow", "db", "upgrade", store]), "before the server starts");
        // From outside, through the login alone.
        let ingresses: Vec<&Value> = objects.iter().filter(|one| one["kind"] == "Ingress").collect();
        assert_eq!(ingresses.len(), usize::from(environment == "aws"));
        for ingress in ingresses {
            let backend = &ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"];
            assert_eq!(backend, "mlflow-login");
        }
        let login = object(&objects, "Deployment mlflow/mlflow-login");
        let arguments = login["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap().clone();
        for expected in [
            "--upstream=http://mlflow-service.mlflow.svc.cluster.local:80".to_owned(),
            format!(
                "--redirect-url={}{public}/oauth2/callback",
                if environment == "aws" { "https://" } else { "http://" }
            ),
            format!("--cookie-secure={}", environment == "aws"),
            // Nobody in front who would write headers about clients.
            format!("--reverse-proxy={}", environment == "aws"),
        ] {
            assert!(arguments.contains(&Value::from(expected.as_str())), "{expected} is not among {arguments:?}");
        }
    }
}

#[test]
fn inference_serves_one_model_and_can_scale_and_be_published() {
    let fork = Fork::new("aws");
    let mut application = application(&fork, "inference");
    let objects = fork.render(&application);
    let config = object(&objects, "ConfigMap inference/inference-config");
    assert_eq!(config["data"]["MLFLOW_MODEL_URI"], "models:/example-model/1");
    let container =
        object(&objects, "Deployment inference/inference-api")["spec"]["template"]["spec"]["containers"][0].take();
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["path"], "/health");
    }
    let account = object(&objects, "ServiceAccount inference/inference-sa");
    let role = text_at(&account, "/metadata/annotations/eks.amazonaws.com~1role-arn");
    assert!(role.ends_with(":role/platform_inference_inference"), "{role}");

    fs::write(fork.path("options.yaml"), "autoscaling: {enabled: true}\ningress: {enabled: true}\n").unwrap();
    application["spec"]["sources"][0]["helm"]["valueFiles"].as_array_mut().unwrap().push("/options.yaml".into());
    let objects = fork.render(&application);
    assert_eq!(policy::faults(&objects), [] as [String; 0]);
    let scaled = &object(&objects, "HorizontalPodAutoscaler inference/inference-api")["spec"];
    assert_eq!((&scaled["minReplicas"], &scaled["scaleTargetRef"]["name"]), (&json!(2), &json!("inference-api")));
    assert!(object(&objects, "Deployment inference/inference-api")["spec"].get("replicas").is_none());
    assert_eq!(object(&objects, "PodDisruptionBudget inference/inference-api")["spec"]["minAvailable"], 1);
    let ingress = object(&objects, "Ingress inference/inference-api");
    assert_eq!(ingress["spec"]["rules"][0]["host"], "inference.platform.example.com");
}

#[test]
fn no_secret_of_a_login_stands_in_values() {
    let fork = Fork::new("aws");
    let github = &values(&fork, "grafana/values.yaml")["grafana.ini"]["auth.github"];
    assert_eq!(github["client_secret"], "$__env{GITHUB_CLIENT_SECRET}");
    let hub = values(&fork, "jupyterhub/values.yaml")["hub"].take();
    assert!(hub["config"]["GitHubOAuthenticator"].get("client_secret").is_none());
    let reference = &hub["extraEnv"]["GITHUB_CLIENT_SECRET"]["valueFrom"]["secretKeyRef"]["name"];
    assert_eq!(reference, "jupyterhub-github");
}

#[test]
fn somebody_is_told_of_what_matters() {
    let rules = Fork::new("aws").documents("distribution/components/kube-prometheus-stack/base/alerts.yaml").remove(0);
    let groups = rules["spec"]["groups"].as_array().unwrap();
    let alerts: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let asks = |metric: &str| alerts.iter().any(|alert| text_at(alert, "/expr").contains(metric));
    for metric in [
        "kubelet_volume_stats_available_bytes",
        "kube_pod_container_status_last_terminated_reason{reason=\"OOMKilled\"}",
        "gitmoor_applies_total{result!=\"success\"}",
        "gitmoor_secrets_last_cycle_seconds",
        "gitmoor_leader",
    ] {
        assert!(asks(metric), "no alert asks for {metric}");
    }
    for alert in alerts {
        let name = text_at(alert, "/alert");
        for field in ["/labels/severity", "/annotations/summary", "/annotations/description"] {
            assert!(!text_at(alert, field).is_empty(), "{name} has no {field}");
        }
    }
}

/// What a family without samples is called stands in the source alone: a scrape leaves it out.
#[test]
fn dashboards_and_alerts_ask_for_metrics_that_the_agent_has() {
    let sources = files(&workspace().join("agent/src"));
    let source: String = sources.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let components = workspace().join("distribution/components");
    let (mut asked, letter) = (BTreeSet::new(), |letter: char| letter.is_ascii_lowercase() || letter == '_');
    for folder in ["grafana/base/dashboards", "kube-prometheus-stack/base"] {
        for file in files(&components.join(folder)) {
            let text = fs::read_to_string(file).unwrap();
            let names =
                text.split("gitmoor_").skip(1).map(|rest| rest.split(|c| !letter(c)).next().unwrap().to_owned());
            asked.extend(names);
        }
    }
    assert!(asked.len() > 20, "{asked:?}");
    for name in asked {
        let family = ["_total", "_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        let there =
            [Some(name.as_str()), family].into_iter().flatten().any(|name| source.contains(&format!("\"{name}\"")));
        assert!(there, "the agent has no metric gitmoor_{name}");
    }
}

//! How many calls of AWS external secrets need, and what they cost: a real API server, the AWS emulator, and a proxy
//! that counts.
//!
//! `bench-secrets [COUNT] [PART]`: COUNT ExternalSecrets (1,000 unless said otherwise) of three keys each; only the
//! scenarios with PART in their names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitmoor_tests::harness::installation::{api, apply};
use gitmoor_tests::harness::{Agent, Aws, AwsCall, AwsProxy, ControlPlane, create_namespace, definitions, http};
use kube::api::ListParams;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(600);
const KEYS: usize = 3;
/// Requests that the bench itself has under way at once.
const CONCURRENT: usize = 16;
const EXTERNAL: &str = "external-secrets.io/v1/ExternalSecret";

#[tokio::main]
async fn main() {
    let count = std::env::args().nth(1).map_or(1000, |text| text.parse().expect("a number of ExternalSecrets"));
    let part = std::env::args().nth(2).unwrap_or_default();
    let control_plane = ControlPlane::builder().start().await;
    definitions::install(&control_plane.client().await).await;
    println!("{count} ExternalSecrets of {KEYS} keys\n");
    println!(
        "| scenario | first cycle | AWS calls in an unchanged cycle | Secret writes | other writes | private memory |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, service, distinct) in [
        ("Secrets Manager, distinct keys", "SecretsManager", count * KEYS),
        ("Parameter Store, distinct keys", "ParameterStore", count * KEYS),
        ("Secrets Manager, 30 shared keys", "SecretsManager", 30),
    ] {
        if name.contains(&part) {
            scenario(&control_plane, name, service, count, distinct).await;
        }
    }
    if "latency".contains(&part) {
        latency(&control_plane).await;
    }
}

/// A namespace with an agent that serves it, and AWS.
struct World {
    client: kube::Client,
    namespace: String,
    agent: Agent,
    user: String,
    aws: Aws,
    proxy: AwsProxy,
}

async fn world(control_plane: &ControlPlane, service: &str) -> World {
    let client = control_plane.client().await;
    let namespace = create_namespace(&client, "bench").await;
    let aws = Aws::start().await;
    let proxy = AwsProxy::start(aws.endpoint()).await;
    let user = format!("agent-{namespace}");
    let identity = control_plane.kubeconfig_for_user(&user, Some("system:masters"));
    let mut agent = Agent::builder(&identity)
        .arg(format!("--namespace={namespace}"))
        .arg(format!("--secrets-namespaces={namespace}"))
        .arg(format!("--secrets-own-role-namespaces={namespace}"))
        .env("RUST_LOG", "warn");
    for (name, value) in aws.environment() {
        let value = if name == "AWS_ENDPOINT_URL" { proxy.endpoint() } else { value };
        agent = agent.env(name, value);
    }
    let store = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
        "metadata": {"name": "store", "namespace": namespace},
        "spec": {"provider": {"aws": {"service": service, "region": "eu-central-1"}}},
    });
    apply(&client, &store).await;
    let mut agent = agent.start();
    agent.await_ready(Duration::from_secs(60)).await;
    World { client, namespace, agent, user, aws, proxy }
}

fn external_secret(world: &World, number: usize, distinct: usize, interval: &str) -> Value {
    let data: Vec<Value> = (0..KEYS)
        .map(|key| json!({"secretKey": format!("k{key}"), "remoteRef": {"key": format!("s{}", (number * KEYS + key) % distinct)}}))
        .collect();
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": format!("es-{number}"), "namespace": world.namespace},
        "spec": {"secretStoreRef": {"name": "store"}, "refreshInterval": interval, "data": data},
    })
}

async fn fill(world: &World, service: &str, keys: usize) {
    // One after the other: the emulator does not bear more.
    futures::stream::iter(0..keys)
        .for_each(async |number| {
            let (name, value) = (format!("s{number}"), format!("value-{number}"));
            match service {
                "ParameterStore" => {
                    world.aws.ssm("PutParameter", &json!({"Name": name, "Value": value, "Type": "String"})).await
                }
                _ => world.aws.secrets_manager("CreateSecret", &json!({"Name": name, "SecretString": value})).await,
            };
        })
        .await;
}

async fn scenario(control_plane: &ControlPlane, name: &str, service: &str, count: usize, distinct: usize) {
    let mut world = world(control_plane, service).await;
    fill(&world, service, distinct).await;
    // As when an agent starts in a cluster that has them all.
    world.agent.kill();
    futures::stream::iter(0..count)
        .for_each_concurrent(CONCURRENT, async |number| {
            apply(&world.client, &external_secret(&world, number, distinct, "60s")).await;
        })
        .await;
    world.proxy.take_calls();
    let started = Instant::now();
    world.agent.restart();
    await_synced(&world, count).await;
    let first = (world.proxy.take_calls(), started.elapsed());
    await_events(control_plane, &world).await;
    let mark = control_plane.audit().mark().await;
    await_cycle(&world).await;
    let calls = operations(&world.proxy.take_calls());
    let requests = control_plane.audit().since(mark).await.of_user(&world.user);
    let writes = requests.0.iter().filter(|request| request.is_write() && !request.resource.starts_with("leases"));
    let (secrets, others): (Vec<_>, Vec<_>) = writes.partition(|request| request.resource == "secrets");
    let kinds: BTreeSet<&str> = others.iter().map(|request| request.resource.as_str()).collect();
    println!(
        "| {name} | {} calls, {:.1} s | {calls} | {} | {} {} | {} MiB |",
        first.0.len(),
        first.1.as_secs_f64(),
        secrets.len(),
        others.len(),
        Vec::from_iter(kinds).join(" "),
        world.agent.usage().private >> 20,
    );
}

async fn await_synced(world: &World, count: usize) {
    let started = Instant::now();
    loop {
        let list = api(&world.client, EXTERNAL, Some(&world.namespace)).list(&ListParams::default()).await.unwrap();
        let ready = list.items.iter().filter(|object| {
            let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
            conditions
                .is_some_and(|conditions| conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
        });
        let ready = ready.count();
        if ready == count {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{ready} of {count} are Ready\n{}", world.agent.log());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

async fn rounds(world: &World) -> u64 {
    let text = http::get(&format!("{}/metrics", world.agent.url())).await.unwrap().body;
    let line = text.lines().find_map(|line| line.strip_prefix("gitmoor_secrets_cycles_total "));
    line.and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Waits until the Events about the first cycle are all posted, which goes slowly on purpose.
async fn await_events(control_plane: &ControlPlane, world: &World) {
    let started = Instant::now();
    loop {
        let mark = control_plane.audit().mark().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let requests = control_plane.audit().since(mark).await.of_user(&world.user);
        if !requests.0.iter().any(|request| request.is_write() && request.resource == "events") {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "Events without end");
    }
}

/// Waits for one whole cycle in which nothing has changed, of which there is one every minute.
async fn await_cycle(world: &World) {
    world.proxy.take_calls();
    let before = rounds(world).await;
    let started = Instant::now();
    while rounds(world).await == before {
        assert!(started.elapsed() < PATIENCE, "no cycle");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Until it is over, and well before the next.
    tokio::time::sleep(Duration::from_secs(40)).await;
}

fn operations(calls: &[AwsCall]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    calls.iter().for_each(|call| *counts.entry(&call.operation).or_default() += 1);
    let texts: Vec<String> = counts.iter().map(|(operation, count)| format!("{count} {operation}")).collect();
    texts.join(", ")
}

/// From a refresh being due to the Secret being written, against one read of AWS and one apply.
async fn latency(control_plane: &ControlPlane) {
    let world = world(control_plane, "SecretsManager").await;
    fill(&world, "SecretsManager", KEYS).await;
    apply(&world.client, &external_secret(&world, 0, KEYS, "0s")).await;
    await_synced(&world, 1).await;
    let secrets = api(&world.client, "v1/Secret", Some(&world.namespace));
    let (mut floors, mut times) = (Vec::new(), Vec::new());
    for round in 0..21 {
        let value = json!({"SecretId": "s0", "SecretString": format!("round-{round}")});
        world.aws.secrets_manager("PutSecretValue", &value).await;
        let started = Instant::now();
        let ids = json!({"SecretIdList": ["s0", "s1", "s2"]});
        http::send("POST", &format!("{}/", world.proxy.endpoint()), &headers(), &ids.to_string()).await.unwrap();
        apply(&world.client, &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "floor", "namespace": world.namespace}, "stringData": {"round": round.to_string()}})).await;
        floors.push(started.elapsed());
        let before = secrets.get("es-0").await.unwrap().metadata.resource_version;
        let mut object = external_secret(&world, 0, KEYS, "0s");
        object["metadata"]["annotations"] = json!({"force-sync": round.to_string()});
        let started = Instant::now();
        apply(&world.client, &object).await;
        while secrets.get("es-0").await.unwrap().metadata.resource_version == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(started.elapsed());
    }
    println!("\nrefresh due to Secret written: p50 {:.1?} (the patch that makes it due included)", median(&mut times));
    println!("floor, one read and one apply: p50 {:.1?}", median(&mut floors));
}

fn headers() -> [(&'static str, &'static str); 3] {
    let scope = "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/secretsmanager/aws4_request, Signature=0";
    [
        ("X-Amz-Target", "secretsmanager.BatchGetSecretValue"),
        ("Authorization", scope),
        ("Content-Type", "application/x-amz-json-1.1"),
    ]
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

//! Thousands of ExternalSecrets over many cycles: nothing is lost, nothing grows, and no call is made that is not needed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitmoor_tests::harness::installation::{api, apply};
use gitmoor_tests::harness::{AwsCall, Fault, http};
use kube::api::ListParams;
use serde_json::{Value, json};

use super::world::{World, decoded, external_secret};

const COUNT: usize = 5000;
const KEYS: usize = 3;
const CYCLES: u64 = 8;
/// Of each so many ExternalSecrets one has a new value in each cycle.
const CHANGED: usize = 50;
const PATIENCE: Duration = Duration::from_secs(600);

fn value(key: &str, cycle: u64) -> String {
    let number: usize = key.split('-').nth(1).and_then(|digits| digits.parse().ok()).unwrap();
    let cycle = if number.is_multiple_of(CHANGED) { cycle } else { 0 };
    format!("value of {key} in {cycle}")
}

/// AWS itself: the emulator does not bear so many.
fn answer(call: &AwsCall, cycle: u64) -> Option<Fault> {
    let entry = |key: &str| json!({"Name": key, "ARN": format!("arn:{key}"), "SecretString": value(key, cycle)});
    match call.operation.as_str() {
        "BatchGetSecretValue" => {
            let keys = call.body["SecretIdList"].as_array()?;
            let values: Vec<Value> = keys.iter().filter_map(Value::as_str).map(entry).collect();
            Some(Fault::Answer(json!({"SecretValues": values, "Errors": []})))
        }
        "GetSecretValue" => Some(Fault::Answer(entry(call.body["SecretId"].as_str()?))),
        _ => None,
    }
}

async fn ready(world: &World) -> usize {
    let list = api(&world.client, super::world::EXTERNAL, Some(&world.namespace)).list(&ListParams::default()).await;
    let ready = |object: &Value| {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
    };
    list.unwrap().items.iter().filter(|object| ready(&object.data)).count()
}

/// Secrets whose values are not those of a cycle.
async fn stale(world: &World, cycle: u64) -> usize {
    let secrets = api(&world.client, "v1/Secret", Some(&world.namespace)).list(&ListParams::default()).await.unwrap();
    let made = secrets.items.iter().filter_map(|secret| {
        let name = secret.metadata.name.clone().filter(|name| name.starts_with("es-"))?;
        Some((name, decoded(&json!({"data": secret.data["data"]}))))
    });
    let made: BTreeMap<String, _> = made.collect();
    assert_eq!(made.len(), COUNT, "a Secret is missing");
    let fresh = |name: &str, data: &BTreeMap<String, String>| {
        (0..KEYS).all(|key| data[&format!("k{key}")] == value(&format!("{name}-{key}"), cycle))
    };
    made.iter().filter(|(name, data)| !fresh(name, data)).count()
}

async fn writes(world: &World) -> f64 {
    let text = http::get(&format!("{}/metrics", world.agent.url())).await.unwrap().body;
    gitmoor_tests::harness::Metrics::parse(&text).unwrap().sum("gitmoor_secrets_writes_total")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make soak"]
async fn soak_of_thousands_of_external_secrets() {
    let mut world = World::start_with("soak", &["--secrets-manager-rate=200"]).await;
    let cycle = Arc::new(AtomicU64::new(1));
    let calls = Arc::new(AtomicU64::new(0));
    let (now, made) = (Arc::clone(&cycle), Arc::clone(&calls));
    world.proxy.fail(move |call| {
        // One call in 40 is throttled, one in 97 is cut.
        match made.fetch_add(1, Ordering::Relaxed) {
            number if number % 40 == 39 => Some(Fault::throttle()),
            number if number % 97 == 96 => Some(Fault::Cut),
            _ => answer(call, now.load(Ordering::Relaxed)),
        }
    });
    world.store("store", "SecretsManager").await;
    world.agent.kill();
    futures::stream::iter(0..COUNT)
        .for_each_concurrent(16, async |number| {
            let name = format!("es-{number}");
            let data: Vec<Value> = (0..KEYS)
                .map(|key| json!({"secretKey": format!("k{key}"), "remoteRef": {"key": format!("{name}-{key}")}}))
                .collect();
            let mut object = external_secret(&name, &json!({"refreshInterval": "30s", "data": data}));
            object["metadata"]["namespace"] = world.namespace.as_str().into();
            apply(&world.client, &object).await;
        })
        .await;
    let started = Instant::now();
    world.agent.restart();
    while ready(&world).await < COUNT {
        assert!(started.elapsed() < PATIENCE, "{} of {COUNT} are Ready", ready(&world).await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let first = started.elapsed();
    let mut memory = vec![world.agent.usage().private];
    for number in 2..=CYCLES {
        let before = (writes(&world).await, calls.load(Ordering::Relaxed), world.agent.usage().cpu());
        cycle.store(number, Ordering::Relaxed);
        let started = Instant::now();
        while stale(&world, number).await > 0 {
            assert!(started.elapsed() < PATIENCE, "{} are stale in cycle {number}", stale(&world, number).await);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let written = writes(&world).await - before.0;
        let changed = COUNT.div_ceil(CHANGED) as f64;
        assert!((written - changed).abs() < 0.5, "{written} Secrets were written, and {changed} have changed");
        let usage = world.agent.usage();
        eprintln!(
            "cycle {number}: {} calls, {written} writes, {:.1} s of CPU, {} MiB",
            calls.load(Ordering::Relaxed) - before.1,
            (usage.cpu() - before.2).as_secs_f64(),
            usage.private >> 20,
        );
        memory.push(usage.private);
    }
    eprintln!("{COUNT} ExternalSecrets of {KEYS} keys: all Ready {:.1} s after the agent's start", first.as_secs_f64());
    let (early, late) = (memory[1], memory[memory.len() - 1]);
    assert!(late < early + early / 4, "it grows: {memory:?}");
    assert_eq!(ready(&world).await, COUNT, "all are Ready in spite of the faults");
}

//! The cluster: whether it answers, what this user may do, whether clocks agree, whether an agent works.

use std::ops::RangeInclusive;

use gitmoor_core::setup_conf::SetupConf;
use gitmoor_engine::cluster::{Access, Cluster};
use jiff::Timestamp;
use serde_json::Value;

use super::tools::told;
use super::{Arguments, Finding, root, secrets};
use crate::cluster::{Agent, Connection};
use crate::commands::explain::why_silent;

/// A difference of clocks that shows nowhere.
const TOLERATED: i64 = 5;
/// AWS refuses requests that are signed so far off.
const REFUSED: i64 = 300;

/// All about the cluster; gives the issuer of its ServiceAccounts' tokens.
pub(super) fn check(arguments: &Arguments, conf: Option<&SetupConf>, findings: &mut Vec<Finding>) -> Option<String> {
    let connection = match Connection::open(&arguments.target) {
        Ok(connection) => connection,
        Err(failure) => {
            let why = failure.causes.join(": ");
            findings.push(Finding::wrong("cluster", format!("{}: {why}", failure.message), failure.hints.join("; ")));
            return None;
        }
    };
    connection.wait(async {
        let cluster = &connection.cluster;
        match cluster.version().await {
            Ok(version) => findings.push(Finding::fine("cluster", format!("{} at {}", version.0, cluster.address()))),
            Err(error) => {
                let fix = "is it the right context, and are you logged in? kubectl config get-contexts, and --context";
                findings.push(Finding::wrong("cluster", format!("{}: {}", cluster.address(), told(&error)), fix));
                return None;
            }
        }
        if let Ok(user) = cluster.who().await {
            findings.push(Finding::fine("user", user));
        }
        findings.push(clock(cluster).await);
        findings.extend(rights(&connection).await);
        findings.push(agent(&connection).await);
        findings.extend(root::check(&connection, &arguments.distribution).await);
        findings.extend(secrets::check(&connection, conf).await);
        findings.extend(argo_cd(&connection).await);
        issuer(cluster).await
    })
}

/// How far a time is from when it was told: an answer may take long.
fn apart(time: i64, told: RangeInclusive<i64>) -> i64 {
    (told.start() - time).max(time - told.end()).max(0)
}

/// The API server's clock against this one's.
async fn clock(cluster: &Cluster) -> Finding {
    let fix = "synchronise this machine's clock (timedatectl, chrony)";
    let before = Timestamp::now();
    let told = cluster.server_time().await.ok().flatten();
    let after = Timestamp::now();
    let Some(server) = told else {
        return Finding::doubtful("clock", "the API server does not tell its time", fix);
    };
    let apart = apart(server.as_second(), before.as_second()..=after.as_second());
    let said = format!("this clock and the API server's are {apart} seconds apart");
    if apart <= TOLERATED {
        Finding::fine("clock", "this clock and the API server's agree")
    } else if apart < REFUSED {
        Finding::doubtful("clock", said, fix)
    } else {
        Finding::wrong("clock", format!("{said}: AWS refuses what is signed so far off"), fix)
    }
}

fn access(group: &'static str, resource: &'static str, verb: &'static str, namespace: Option<&str>) -> Access {
    Access { group, resource, subresource: "", verb, namespace: namespace.map(str::to_owned) }
}

/// What daily work needs, and what installing needs.
async fn rights(connection: &Connection) -> Vec<Finding> {
    let namespace = Some(connection.namespace());
    let daily = [
        access("argoproj.io", "applications", "list", namespace),
        access("argoproj.io", "applications", "patch", namespace),
        access("coordination.k8s.io", "leases", "get", namespace),
        access("", "events", "list", None),
        access("", "pods", "list", None),
        Access { subresource: "log", ..access("", "pods", "get", None) },
    ];
    let installing = [
        access("apiextensions.k8s.io", "customresourcedefinitions", "patch", None),
        access("rbac.authorization.k8s.io", "clusterroles", "patch", None),
        access("rbac.authorization.k8s.io", "clusterroles", "escalate", None),
        access("", "namespaces", "patch", None),
        access("", "secrets", "patch", namespace),
        access("apps", "deployments", "patch", namespace),
    ];
    let daily = missing(connection, &daily).await;
    let installing = missing(connection, &installing).await;
    let mut findings = Vec::new();
    findings.push(match daily.as_slice() {
        [] => Finding::fine("rights", "everything that status, sync and explain need"),
        missing => Finding::wrong(
            "rights",
            format!("you may not: {}", missing.join(", ")),
            "ask for a Role with these verbs in the agent's namespace",
        ),
    });
    findings.push(match installing.as_slice() {
        [] => Finding::fine("rights", "everything that bootstrap needs"),
        missing => Finding::doubtful(
            "rights",
            format!("you may not: {}", missing.join(", ")),
            "only bootstrap and uninstall need it: somebody with cluster-admin can do that",
        ),
    });
    findings
}

async fn missing(connection: &Connection, wanted: &[Access]) -> Vec<String> {
    let mut missing = Vec::new();
    for access in wanted {
        if !connection.cluster.may(access).await.unwrap_or(false) {
            let Access { group, resource, subresource, verb, namespace } = access;
            let group = if group.is_empty() { String::new() } else { format!(".{group}") };
            let sub = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
            let place = namespace.as_ref().map_or_else(String::new, |namespace| format!(" in {namespace}"));
            missing.push(format!("{verb} {resource}{sub}{group}{place}"));
        }
    }
    missing
}

async fn agent(connection: &Connection) -> Finding {
    for namespace in connection.namespaces() {
        match connection.agent(namespace).await {
            Agent::Works { holder } => {
                return Finding::fine("agent", format!("{holder} works in namespace {namespace}"));
            }
            silent @ Agent::Silent { .. } => {
                let said = silent.warning(namespace).unwrap_or_default();
                let Some(why) = why_silent(connection, &[namespace]).await else {
                    return Finding::wrong("agent", said, "see why: gitmoor logs --previous, and kubectl get pods");
                };
                return Finding::wrong("agent", format!("{said}: {}", why.sentence), why.remedy.join("; "));
            }
            Agent::Absent | Agent::Unknown => {}
        }
    }
    let place = connection.namespaces().join(" or ");
    Finding::doubtful("agent", format!("none in namespace {place}"), "install one: gitmoor bootstrap")
}

/// Whether Argo CD works where an agent does.
async fn argo_cd(connection: &Connection) -> Option<Finding> {
    let running = connection.argo_cd().await;
    for namespace in connection.namespaces() {
        let Some(controller) = running.iter().find(|controller| controller.follows(namespace)) else { continue };
        if matches!(connection.agent(namespace).await, Agent::Absent | Agent::Unknown) {
            continue;
        }
        if connection.works_beside_argo_cd(namespace).await {
            let said = format!("{controller} works on namespace {namespace} too, and the agent is told not to mind");
            return Some(Finding::doubtful("argo-cd", said, "take GITMOOR_BESIDE_ARGO_CD from the agent's settings"));
        }
        let fix = controller.ways_out(namespace).join("; ");
        return Some(Finding::doubtful("argo-cd", controller.sentence(namespace), fix));
    }
    None
}

/// The issuer of the tokens of ServiceAccounts (OpenID Connect Discovery 1.0), which roles of AWS trust.
async fn issuer(cluster: &Cluster) -> Option<String> {
    let document: Value = cluster.read_path("/.well-known/openid-configuration").await.ok()?;
    document["issuer"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_is_no_difference_of_clocks() {
        for (time, told, expected) in
            [(10, 10..=10, 0), (10, 3..=12, 0), (3, 3..=12, 0), (1, 3..=12, 2), (20, 3..=12, 8)]
        {
            assert_eq!(apart(time, told.clone()), expected, "{time} told in {told:?}");
        }
    }
}

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::object::{GroupKind, ObjectId};
use crate::view::ViewedHealth;

fn facts(status: Value, objects: Vec<ObjectFacts>) -> Facts {
    let application = json!({
        "metadata": {"name": "web", "namespace": "gitmoor"},
        "spec": {
            "source": {"repoURL": "https://git.example/x", "targetRevision": "release", "path": "apps/web"},
            "syncPolicy": {"automated": {}},
        },
        "status": status,
    });
    let view = serde_json::from_value(application.clone()).unwrap();
    Facts { application, view, objects, ..Facts::default() }
}

fn object(group: &str, kind: &str, live: Value) -> ObjectFacts {
    ObjectFacts {
        id: ObjectId { group_kind: GroupKind::new(group, kind), namespace: Some("n".into()), name: "a".into() },
        health: ViewedHealth { status: "Degraded".into(), message: Some("why".into()) },
        live: Some(live),
        events: Vec::new(),
        pods: Vec::new(),
        makers: Vec::new(),
    }
}

fn conditions(messages: &[&str]) -> Value {
    let all: Vec<Value> = messages.iter().map(|message| json!({"type": "SyncError", "message": message})).collect();
    json!({"sync": {"status": "Unknown"}, "conditions": all})
}

#[test]
fn every_category_of_the_agent_has_a_sentence_of_its_own() {
    for (message, cause, sentence) in [
        (
            "RevisionNotFound: x",
            Cause::UnknownRevision,
            "web follows release, and https://git.example/x has no branch, tag or commit of that name",
        ),
        ("RefusedCredentials: x", Cause::RefusedCredentials, "https://git.example/x refuses the agent's credentials"),
        (
            "PathNotFound: x",
            Cause::PathMissing,
            "the folder apps/web does not exist in https://git.example/x at release",
        ),
        ("RenderFailed: no\nsuch patch", Cause::RenderFailed, "kustomize cannot build apps/web: no such patch"),
        (
            "UnknownField: ConfigMap n/a: .spec: field not declared in schema",
            Cause::UnknownField,
            "ConfigMap n/a has a field that its kind does not have: .spec: field not declared in schema",
        ),
        (
            "WebhookUnavailable: ConfigMap n/a: failed calling webhook \"w.example\": refused",
            Cause::WebhookDown,
            "the admission webhook w.example does not answer, so ConfigMap n/a cannot be applied",
        ),
        (
            "RepositoryUnreadable: no space",
            Cause::RepositoryUnreachable,
            "the agent cannot read its copy of the repository: no space",
        ),
        (
            "RemoteUnreachable: base/kustomization.yaml:3: resources names x, which does not answer",
            Cause::RepositoryUnreachable,
            "what apps/web uses from elsewhere cannot be fetched: base/kustomization.yaml:3: resources names x, which does not answer",
        ),
        (
            "RemoteRefused: base/kustomization.yaml:3: resources names x, which is an address inside",
            Cause::RemoteRefused,
            "what apps/web uses from elsewhere may not be used: base/kustomization.yaml:3: resources names x, which is an address inside",
        ),
        ("Brandnew: something", Cause::Rejected, "Brandnew: something"),
    ] {
        let findings = explain(&facts(conditions(&[message]), Vec::new()));
        assert_eq!((findings[0].cause, findings[0].sentence.as_str()), (cause, sentence));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].evidence.iter().any(|evidence| evidence.what == "condition"));
        assert_eq!(findings[0].remedy.is_empty(), message.starts_with("Brandnew"), "{findings:?}");
    }
}

#[test]
fn of_several_sources_the_one_that_the_agent_names_is_named() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let several = |message: &str| {
        let mut facts = facts(conditions(&[message]), Vec::new());
        facts.application["spec"] = json!({"sources": [
            {"repoURL": "https://git.example/x", "targetRevision": "main", "path": "apps/web"},
            {"repoURL": "https://git.example/x", "targetRevision": "release", "path": "apps/web-values"},
            {"repoURL": "https://git.example/y", "path": "apps/other"},
        ]});
        facts.application["status"]["sync"] = json!({"status": "Unknown", "revisions": [commit, commit, commit]});
        facts.view = serde_json::from_value(facts.application.clone()).unwrap();
        explain(&facts).remove(0)
    };
    for (message, remedy) in [
        (
            "RevisionNotFound: https://git.example/x has no branch, tag or commit `release`; push it",
            "push it: git push origin release; or correct spec.sources[1].targetRevision of web",
        ),
        (
            "RevisionNotFound: https://git.example/y has no branch, tag or commit `HEAD`; push it",
            "push it: git push origin HEAD; or correct spec.sources[2].targetRevision of web",
        ),
        (
            "PathNotFound: the path apps/web-values does not exist at this commit",
            "push the folder, or correct spec.sources[1].path of web",
        ),
        (
            "RefusedCredentials: https://git.example/y: 401",
            "give it others: gitmoor bootstrap --credential-only --repository https://git.example/y --token-stdin",
        ),
    ] {
        assert_eq!(several(message).remedy[0], remedy);
    }
    let evidence = several("PathNotFound: the path apps/web does not exist").evidence;
    assert!(evidence.iter().any(|one| one.text == "last compared with 0123456; what came after that cannot be"));
}

#[test]
fn a_chart_that_is_not_there_is_no_unknown_branch() {
    let mut facts = facts(conditions(&["RevisionNotFound: x"]), Vec::new());
    facts.application["spec"]["source"]["chart"] = json!("redis");
    assert_eq!(explain(&facts)[0].sentence, "https://git.example/x has no chart redis in version release");
}

#[test]
fn what_explains_the_others_comes_first_and_nothing_is_said_twice() {
    let mut pod = PodFacts {
        pod: json!({
            "metadata": {"name": "a-1"},
            "spec": {"containers": [{"name": "main", "image": "x:1", "resources": {"limits": {"memory": "1Gi"}}}]},
            "status": {"containerStatuses": [{"name": "main", "ready": false, "restartCount": 3,
                "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}}]},
        }),
        logs: BTreeMap::from([("main".to_owned(), "starting\nno database\n\n".to_owned())]),
        ..PodFacts::default()
    };
    let secret = object(
        "external-secrets.io",
        "ExternalSecret",
        json!({"status": {"conditions": [
        {"type": "Ready", "status": "False", "message": "AccessDenied: prod/db: not authorized"}]}}),
    );
    let mut workload = object("apps", "Deployment", json!({}));
    workload.pods = vec![pod.clone(), pod.clone()];
    let status = json!({"sync": {"status": "Synced"}, "health": {"status": "Degraded"}});
    let findings = explain(&facts(status.clone(), vec![workload.clone(), secret]));
    let sentences: Vec<&str> = findings.iter().map(|finding| finding.sentence.as_str()).collect();
    let expected = [
        "AWS denies the secret of ExternalSecret.external-secrets.io n/a: prod/db: not authorized",
        "container main of Deployment.apps n/a crashes with exit code 2: no database",
    ];
    assert_eq!(sentences, expected);
    pod.pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"] = json!("OOMKilled");
    workload.pods = vec![pod];
    let killed = &explain(&facts(status, vec![workload]))[0];
    assert!(killed.sentence.ends_with("it needs more memory than its limit of 1Gi"), "{killed:?}");
}

#[test]
fn pods_and_claims_say_what_they_wait_for() {
    let pod =
        |status: Value| PodFacts { pod: json!({"metadata": {"name": "p"}, "status": status}), ..PodFacts::default() };
    let waiting = json!({"containerStatuses": [{"name": "main", "image": "x:1",
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}}]});
    let mut workload = object("apps", "Deployment", json!({}));
    workload.pods = vec![pod(waiting)];
    workload.pods[0].events = vec![EventFact {
        warning: true,
        reason: "Failed".into(),
        message: "Failed to pull image \"x:1\": not found".into(),
        count: 4,
        last: "t".into(),
    }];
    let status = json!({"sync": {"status": "Synced"}, "health": {"status": "Degraded"}});
    let found = &explain(&facts(status.clone(), vec![workload]))[0];
    let sentence = "the image x:1 of container main of Deployment.apps n/a cannot be pulled: Failed to pull image \"x:1\": not found";
    assert_eq!(found.sentence, sentence);
    assert!(found.evidence.iter().any(|one| one.what == "event" && one.text.contains("4 times")), "{found:?}");

    let claim = object("", "PersistentVolumeClaim", json!({"spec": {}, "status": {"phase": "Pending"}}));
    let found = &explain(&facts(status.clone(), vec![claim]))[0];
    assert_eq!(
        found.sentence,
        "PersistentVolumeClaim n/a waits for a volume: it names no class, and the cluster has no default one"
    );

    let quota = json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "True",
        "message": "pods \"a\" is forbidden: exceeded quota: q"}]}});
    let found = &explain(&facts(status, vec![object("apps", "Deployment", quota)]))[0];
    assert_eq!(found.cause, Cause::QuotaExceeded);
}

#[test]
fn a_secret_that_is_not_there_is_explained_by_what_should_make_it() {
    let waiting = |message: &str| {
        json!({"metadata": {"name": "a-1"}, "status": {"containerStatuses": [{"name": "main", "ready": false,
            "state": {"waiting": {"reason": "CreateContainerConfigError", "message": message}}}]}})
    };
    let pod = PodFacts { pod: waiting("secret \"keys\" not found"), ..PodFacts::default() };
    let event = EventFact {
        message: "MountVolume.SetUp failed: secret \"certificate\" not found".into(),
        ..EventFact::default()
    };
    let mounting = PodFacts { pod: waiting("x"), events: vec![event], ..PodFacts::default() };
    assert_eq!(pod.missing_secrets().into_iter().collect::<Vec<_>>(), ["keys"]);
    assert_eq!(mounting.missing_secrets().into_iter().collect::<Vec<_>>(), ["certificate"]);
    let mut workload = object("apps", "Deployment", json!({}));
    workload.pods = vec![pod];
    let ready = json!({"type": "Ready", "status": "False", "message": "NoCredentials: Secret gitmoor/aws-access-keys does not exist"});
    workload.makers = vec![object("external-secrets.io", "ExternalSecret", json!({"status": {"conditions": [ready]}}))];
    let status = json!({"sync": {"status": "Synced"}, "health": {"status": "Degraded"}});
    let findings = explain(&facts(status.clone(), vec![workload]));
    let sentence = "the agent has no AWS credentials for ExternalSecret.external-secrets.io n/a: Secret gitmoor/aws-access-keys does not exist";
    assert_eq!((findings[0].cause, findings[0].sentence.as_str()), (Cause::SecretDenied, sentence));
    assert_eq!(findings[1].cause, Cause::ContainerConfig, "and what comes of it");

    let failed = json!([{"namespace": "airflow", "reason": "NoCredentials: no keys"}, {"namespace": "mlflow", "reason": "NoCredentials: no keys"}]);
    let all = object("external-secrets.io", "ClusterExternalSecret", json!({"status": {"failedNamespaces": failed}}));
    let finding = &explain(&facts(status, vec![all]))[0];
    assert!(
        finding.sentence.starts_with("the agent has no AWS credentials for ClusterExternalSecret.external-secrets.io"),
        "{finding:?}"
    );
    assert!(finding.sentence.ends_with("in namespace airflow: no keys"), "{finding:?}");
    assert!(finding.evidence.iter().any(|one| one.text == "mlflow: NoCredentials: no keys"), "{finding:?}");
    assert!(finding.remedy[0].contains("access keys"), "{finding:?}");
}

#[test]
fn a_claim_that_goes_names_the_pod_that_holds_it_and_nothing_older() {
    let live = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Bound"}});
    let mut claim = object("", "PersistentVolumeClaim", live);
    let old = EventFact { warning: true, reason: "ProvisioningFailed".into(), ..EventFact::default() };
    claim.events = vec![old];
    claim.pods = vec![PodFacts { pod: json!({"metadata": {"name": "web-0"}}), ..PodFacts::default() }];
    let status = json!({"sync": {"status": "OutOfSync"}, "health": {"status": "Progressing"}});
    let finding = explain(&facts(status, vec![claim])).remove(0);
    assert_eq!(finding.cause, Cause::Leaving);
    assert!(
        finding.sentence.ends_with("n/a is being deleted, and goes with its volume when pod web-0 ends"),
        "{finding:?}"
    );
    assert!(finding.remedy[0].contains("a revert neither"), "{finding:?}");
    assert!(finding.evidence.iter().all(|one| one.what != "event"), "{finding:?}");
}

#[test]
fn what_is_well_needs_no_explanation_and_what_nobody_explains_has_one() {
    let fine = json!({"sync": {"status": "Synced"}, "health": {"status": "Healthy"}});
    assert_eq!(explain(&facts(fine.clone(), Vec::new())), []);
    let mut by_hand = facts(json!({"sync": {"status": "OutOfSync"}, "health": {"status": "Healthy"}}), Vec::new());
    by_hand.view = serde_json::from_value(json!({
        "metadata": {"name": "web"}, "status": by_hand.application["status"],
    }))
    .unwrap();
    assert_eq!(explain(&by_hand)[0].sentence, "web differs from Git, and syncs only when asked");
    let mut silent = facts(fine, Vec::new());
    silent.agent = AgentState::Silent(90);
    assert_eq!(explain(&silent)[0].cause, Cause::NoAgent);
}

#[test]
fn what_was_rolled_back_is_not_sent_back_to_git() {
    let (old, new) = ("0123456789abcdef0123456789abcdef01234567", "fedcba9876543210fedcba9876543210fedcba98");
    let suspended = |sync: &str, asked: Value| {
        let state = json!({"phase": "Succeeded", "operation": {"sync": {"revision": asked}}});
        let status = json!({"sync": {"status": sync, "revision": new}, "health": {"status": "Healthy"}, "operationState": state});
        let mut facts = facts(status, Vec::new());
        facts.application["spec"]["syncPolicy"]["automated"]["enabled"] = json!(false);
        facts.view = serde_json::from_value(facts.application.clone()).unwrap();
        facts
    };
    let mut back = suspended("OutOfSync", json!(old));
    let finding = explain(&back).remove(0);
    assert_eq!(finding.sentence, "web was rolled back to 0123456, and is suspended: Git is at fedcba9");
    assert!(finding.remedy.iter().all(|one| !one.contains("gitmoor sync")), "{finding:?}");
    assert_eq!(finding.remedy[1], "to follow Git again: gitmoor resume web");
    back.parent = Some(back.view.clone());
    assert_eq!(explain(&back)[0].remedy[1], "to follow Git again: gitmoor resume web --with-parents");
    let edited = explain(&suspended("OutOfSync", Value::Null)).remove(0);
    assert_eq!(edited.sentence, "web differs from Git, and is suspended");
    assert_eq!(edited.remedy[2], "to follow Git again: gitmoor resume web");
    let well = explain(&suspended("Synced", json!(new))).remove(0);
    assert_eq!(
        (well.cause, well.remedy.len()),
        (Cause::Suspended, 1),
        "it does not follow Git, and nothing else says so"
    );
    assert!(well.cause.is_wanted() && !edited.cause.is_wanted());
}

#[test]
fn the_cause_of_an_application_below_is_the_cause() {
    let mut child = object("argoproj.io", "Application", json!({}));
    child.id.name = "api".into();
    let mut facts = facts(json!({"sync": {"status": "Synced"}, "health": {"status": "Degraded"}}), vec![child]);
    facts.children = vec![("api".into(), vec![Finding::new(Cause::ImageNotPulled, "the image is not there")])];
    let findings = explain(&facts);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].sentence, "in Application api: the image is not there");
}

#[test]
fn what_the_wave_waits_for_comes_first_and_what_left_git_last() {
    let mut objects = Vec::new();
    let mut resources = Vec::new();
    for (name, left) in [("issuers", true), ("other", false), ("mlflow", false)] {
        let mut child = object("argoproj.io", "Application", json!({}));
        (child.id.name, child.id.namespace) = (name.into(), Some("gitmoor".into()));
        objects.push(child);
        resources.push(json!({"group": "argoproj.io", "kind": "Application", "namespace": "gitmoor", "name": name,
            "status": "OutOfSync", "requiresPruning": left}));
    }
    let mut running = json!({"sync": {"status": "OutOfSync"}, "health": {"status": "Missing"}, "resources": resources,
        "operationState": {"phase": "Running",
            "message": "wave 20 waits for Application.argoproj.io gitmoor/mlflow, which is Progressing"}});
    let explained = |status: &Value| {
        let children = [
            ("issuers", Cause::WebhookDown, "the webhook does not answer"),
            ("other", Cause::KindMissing, "no such kind"),
            ("mlflow", Cause::ClaimPending, "no such class"),
        ];
        let children = children.map(|(name, cause, why)| (name.to_owned(), vec![Finding::new(cause, why)]));
        explain(&Facts { children: children.to_vec(), ..facts(status.clone(), objects.clone()) })
    };
    let all = explained(&running);
    assert_eq!(
        all.iter().map(|finding| finding.sentence.as_str()).collect::<Vec<_>>(),
        [
            "in Application mlflow: no such class",
            "in Application other: no such kind",
            "Application.argoproj.io gitmoor/issuers has left Git and waits to be deleted, after what the sync waits for; \
             in Application issuers: the webhook does not answer",
        ]
    );
    assert_eq!((all[2].cause, all[2].application.as_deref()), (Cause::LeftGit, Some("issuers")));
    running["operationState"] = json!({"phase": "Succeeded"});
    assert_eq!(explained(&running)[0].sentence, "in Application other: no such kind", "when nothing is waited for");
}

#[test]
fn what_argo_cd_works_on_is_explained_by_that_first() {
    let workload = json!({"metadata": {"name": "argocd-application-controller", "namespace": "argocd"},
        "spec": {"template": {"spec": {"containers": [{"args": ["--application-namespaces=git*"]}]}}}});
    let controller = crate::argo_cd::Controller::read("StatefulSet", &workload, &BTreeMap::new());
    let status = json!({"sync": {"status": "Synced"}, "health": {"status": "Healthy"}});
    let all = explain(&Facts { argo_cd: controller, agent: AgentState::Silent(60), ..facts(status, Vec::new()) });
    assert_eq!(
        all.iter().map(|finding| finding.cause).collect::<Vec<_>>(),
        [Cause::LeftToArgoCd, Cause::NoAgent],
        "{all:?}"
    );
    assert!(all[0].sentence.ends_with("and the agent leaves them alone"), "{all:?}");
    assert!(all[0].evidence[0].text.ends_with("follows argocd, git*"), "{all:?}");
    assert_eq!(all[0].remedy.len(), 3);

    let message = "LeftToArgoCD: ConfigMap shop/a: Argo CD's Application argocd/shop works on it (LeftToArgoCD, 403)";
    let all = explain(&facts(conditions(&[message]), Vec::new()));
    assert_eq!(all[0].cause, Cause::LeftToArgoCd, "{all:?}");
    assert!(all[0].sentence.starts_with("ConfigMap shop/a is left to Argo CD: Argo CD's Application argocd/shop"));
}

#[test]
fn a_field_that_cannot_be_changed_is_confirmed_only_where_the_agent_asks() {
    let remedies = |message: &str| explain(&facts(conditions(&[message]), Vec::new())).remove(0).remedy;
    let unasked = "ImmutableField: Deployment n/a: spec.selector cannot be changed once it is set";
    let remedy = remedies(unasked);
    assert!(remedy.iter().all(|one| !one.contains("gitmoor prune")), "nothing waits there: {remedy:?}");
    assert!(remedy.iter().any(|one| one.contains("Force=true")), "{remedy:?}");
    let asks = format!(
        "{unasked}; to have it deleted, annotate the Application with {}=abc123",
        crate::names::ANNOTATION_CONFIRM_PRUNE
    );
    assert_eq!(remedies(&asks), ["look, and confirm: gitmoor prune web"]);
}

#[test]
fn what_is_read_at_once_or_rolled_back_is_named() {
    let ready = |message: &str| {
        let condition = json!({"type": "Ready", "status": "False", "message": message});
        json!({"status": {"conditions": [condition]}})
    };
    let read = object("external-secrets.io", "ExternalSecret", ready("SecretNotFound: no such secret"));
    let mut whole = object(
        "external-secrets.io",
        "ClusterExternalSecret",
        json!({"spec": {"externalSecretName": "db"}, "status": {"failedNamespaces": [
            {"namespace": "team", "reason": "AccessDenied: no"},
        ]}}),
    );
    whole.id.namespace = None;
    for (object, expected) in [(read, "gitmoor secrets refresh n/a"), (whole, "gitmoor secrets refresh team/db")] {
        let findings = explain(&facts(json!({}), vec![object]));
        assert!(findings[0].remedy.iter().any(|one| one.ends_with(expected)), "{findings:?}");
    }
    let ended = json!({"name": "c", "ready": false, "lastState": {"terminated": {"exitCode": 1}}});
    let pod = json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [ended]}});
    let mut workload = object("apps", "Deployment", json!({}));
    workload.pods = vec![PodFacts { pod, ..PodFacts::default() }];
    let findings = explain(&facts(json!({}), vec![workload]));
    assert!(findings[0].remedy.iter().any(|one| one.ends_with("gitmoor rollback web")), "{findings:?}");
}

//! Names that live in clusters and repositories.
//!
//! All of them are load-bearing: a change here orphans what running installations have written.

/// Field manager of every object that the agent applies.
pub const FIELD_MANAGER: &str = "gitmoor";
/// Field manager that keeps the number of replicas which left Git, until somebody else sets it.
pub const FIELD_MANAGER_HANDOVER: &str = "gitmoor-handover";
/// Field manager of the labels and annotations of namespaces that are made for Applications.
pub const FIELD_MANAGER_NAMESPACE: &str = "gitmoor-namespace";
/// Label to select by: a short hash of installation, namespace and name of the Application.
pub const LABEL_APPLICATION: &str = "gitmoor.dev/application";
/// Annotation with the full tracking id of an object.
pub const ANNOTATION_TRACKING_ID: &str = "gitmoor.dev/tracking-id";
/// Annotation on an Application: why the last look that somebody asked for could not look, as `Category: text`.
pub const ANNOTATION_REFRESH_FAILED: &str = "gitmoor.dev/refresh-failed";
/// `kubectl apply`'s copy of what it has applied; Argo CD's too.
pub const ANNOTATION_LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotation with the digest of an object as it was applied.
pub const ANNOTATION_DIGEST: &str = "gitmoor.dev/digest";
/// Annotation on an Application that confirms a list of deletions by its digest.
pub const ANNOTATION_CONFIRM_PRUNE: &str = "gitmoor.dev/confirm-prune";
/// Annotation on an Application with what the lock file of the repository that brought it says of its charts.
pub const ANNOTATION_LOCK: &str = "gitmoor.dev/lock";
/// Annotation on an object of the repository: `Prune=false` and friends.
pub const ANNOTATION_SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";
/// Annotation on an object of the repository: one more field manager whose fields become ours at adoption.
pub const ANNOTATION_MIGRATION_MANAGER: &str = "argocd.argoproj.io/client-side-apply-migration-manager";
/// Annotation on an object of the repository: a whole number, lower ones first.
pub const ANNOTATION_SYNC_WAVE: &str = "argocd.argoproj.io/sync-wave";
/// Annotation on an object of the repository that makes it a hook.
pub const ANNOTATION_HOOK: &str = "argocd.argoproj.io/hook";
/// Annotation on a hook: when it is deleted.
pub const ANNOTATION_HOOK_DELETE_POLICY: &str = "argocd.argoproj.io/hook-delete-policy";
/// Helm's annotation that makes an object a hook.
pub const ANNOTATION_HELM_HOOK: &str = "helm.sh/hook";
/// Helm's annotation on a hook: when it is deleted.
pub const ANNOTATION_HELM_HOOK_DELETE_POLICY: &str = "helm.sh/hook-delete-policy";
/// Helm's annotation on a hook: a whole number, lower ones first.
pub const ANNOTATION_HELM_HOOK_WEIGHT: &str = "helm.sh/hook-weight";
/// Annotation on a hook that runs: the attempt of the sync, and its phase.
pub const ANNOTATION_HOOK_RUN: &str = "gitmoor.dev/hook-run";
/// Finalizer of a hook whose outcome is not in the status of its Application yet.
pub const FINALIZER_HOOK: &str = "gitmoor.dev/hook";
/// Name among the `info` of an operation in the status: which attempt of a sync it is.
pub const INFO_ATTEMPT: &str = "gitmoor.dev/attempt";
/// Names what a sync rolls out, beyond its revision, in the `info` of its operation.
pub const INFO_OUTPUT: &str = "gitmoor.dev/output";
/// Name among the `info` of an operation: by which whoever asked for it finds it again in the status.
pub const INFO_REQUEST: &str = "gitmoor.dev/request";
/// Annotation on an Application that asks for a new comparison, removed once done.
pub const ANNOTATION_REFRESH: &str = "argocd.argoproj.io/refresh";
/// Finalizer of an Application whose deletion deletes what it owns.
pub const FINALIZER_CASCADE: &str = "resources-finalizer.argocd.argoproj.io";
/// The same with background propagation.
pub const FINALIZER_CASCADE_BACKGROUND: &str = "resources-finalizer.argocd.argoproj.io/background";
/// Label on Secrets that hold the credentials of a repository.
pub const LABEL_SECRET_TYPE: &str = "argocd.argoproj.io/secret-type";
/// ConfigMap with the host keys of SSH servers, Argo CD's.
pub const NAME_KNOWN_HOSTS: &str = "argocd-ssh-known-hosts-cm";
/// Its key.
pub const KEY_KNOWN_HOSTS: &str = "ssh_known_hosts";
/// ConfigMap with certificates of authorities by name of a host, Argo CD's.
pub const NAME_TLS_CERTIFICATES: &str = "argocd-tls-certs-cm";
/// Group of the Application and AppProject kinds.
pub const APPLICATION_GROUP: &str = "argoproj.io";
/// Kind of the AppProject.
pub const PROJECT_KIND: &str = "AppProject";
/// Kind of the Application.
pub const APPLICATION_KIND: &str = "Application";
/// Secret in the agent's namespace with the key of the digests of Secrets.
pub const DIGEST_KEY_SECRET: &str = "gitmoor-digest-key";
/// ConfigMap in the agent's namespace with the commits that each repository was compared at.
pub const REPOSITORIES_CONFIG_MAP: &str = "gitmoor-repositories";
/// Lease in the agent's namespace that the active agent holds.
pub const LEASE: &str = "gitmoor-agent";
/// Annotation on that lease: the namespaces whose Applications its holder follows, with commas in between.
pub const ANNOTATION_FOLLOWS: &str = "gitmoor.dev/follows";
/// Annotation on a SealedSecret: fingerprints of the keys that sealed its values.
pub const ANNOTATION_SEALED_WITH: &str = "gitmoor.dev/sealed-with";
/// Annotation on a SealedSecret: when its last value was sealed (RFC 3339).
pub const ANNOTATION_SEALED_AT: &str = "gitmoor.dev/sealed-at";
/// Field manager of Secrets made from ExternalSecrets, and of what follows from them.
pub const FIELD_MANAGER_SECRETS: &str = "gitmoor-secrets";
/// Label of the pod whose agent works.
pub const LABEL_LEADER: &str = "gitmoor.dev/leader";
/// Label of every Secret made from an ExternalSecret.
pub const LABEL_EXTERNAL_SECRET: &str = "gitmoor.dev/external-secret";
/// Annotation with the keyed digest of a Secret made from an ExternalSecret.
pub const ANNOTATION_SECRET_DIGEST: &str = "gitmoor.dev/secret-digest";
/// Annotation on a workload: `auto` or `secret/NAME`, whose change rolls it.
pub const ANNOTATION_RESTART_ON: &str = "gitmoor.dev/restart-on";
/// Annotation on a pod template with the digests of the Secrets that it follows.
pub const ANNOTATION_SECRETS_DIGEST: &str = "gitmoor.dev/secrets-digest";
/// Annotation on an ExternalSecret whose change has it read again.
pub const ANNOTATION_FORCE_SYNC: &str = "force-sync";

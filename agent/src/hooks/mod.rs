//! Runs the hooks of an attempt of a sync, and clears away those that have served.
//!
//! Writes only objects that are hooks. A hook is created, never applied: the API server lets that happen once. Our
//! finalizer keeps it until its outcome is in the status of the Application, so that it is known however it ends.

mod remains;

use std::collections::HashMap;

use gitmoor_core::hook::{Execution, HookPhase, LiveHook, RunId, name_in_run};
use gitmoor_core::live::LiveObject;
use gitmoor_core::manifest::{Manifest, Manifests, Stamped};
use gitmoor_core::names::{
    ANNOTATION_HELM_HOOK, ANNOTATION_HOOK, ANNOTATION_HOOK_RUN, ANNOTATION_TRACKING_ID, FINALIZER_HOOK,
};
use gitmoor_core::object::{ObjectId, annotation};
use gitmoor_core::operation::Attempt;
use gitmoor_core::plan::DesiredObject;
use gitmoor_core::status::{OperationResult, outcomes};
use gitmoor_core::tracking::{ApplicationKey, Claim};
use gitmoor_engine::cluster::{ClusterError, Propagation};
use serde_json::{Value, json};

use crate::apply::{Mode, may_create_namespace, resource_of};
use crate::argo_cd;
use crate::context::Context;
use crate::namespace;

pub(crate) use remains::{clear, let_go, live_hooks, settle};

/// How far the hooks of a phase, or of a wave of it, have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All have ended well, or there is none.
    Done,
    /// Something runs, or has to go first.
    Waiting(String),
    /// One has ended badly, and none runs any more.
    Failed(String),
    /// One is to be created, for which its manifest is needed.
    NeedsBodies,
}

/// The hooks of one attempt.
pub(crate) struct Hooks<'a> {
    context: &'a Context,
    key: &'a ApplicationKey,
    attempt: &'a str,
    desired: &'a [DesiredObject],
    manifests: Option<&'a Manifests<Stamped>>,
    mode: Mode<'a>,
    /// What the status has of this attempt.
    ended: HashMap<(ObjectId, HookPhase), (bool, String)>,
    /// What there is to add to it.
    pub results: Vec<OperationResult>,
    /// Something could not be done now, and no watch will tell when it can.
    pub retry: bool,
}

impl<'a> Hooks<'a> {
    /// The hooks of an attempt, whose status is given.
    pub(crate) fn new(
        (context, key): (&'a Context, &'a ApplicationKey),
        (attempt, status): (&'a str, &Value),
        desired: &'a [DesiredObject],
        manifests: Option<&'a Manifests<Stamped>>,
        mode: Mode<'a>,
    ) -> Self {
        let of_this = Attempt::of(status).is_some_and(|recorded| recorded.id == attempt);
        let recorded = outcomes(status).filter(|_| of_this);
        let ended =
            recorded.map(|outcome| ((outcome.id, outcome.phase), (outcome.succeeded, outcome.message.to_owned())));
        let ended = ended.collect();
        Self { context, key, attempt, desired, manifests, mode, ended, results: Vec::new(), retry: false }
    }

    /// The waves that have hooks of a phase.
    pub(crate) fn waves(&self, phase: HookPhase) -> Vec<i32> {
        let mut waves: Vec<i32> = self.of_phase(phase).map(|hook| hook.order.wave).collect();
        waves.sort_unstable();
        waves.dedup();
        waves
    }

    fn of_phase(&self, phase: HookPhase) -> impl Iterator<Item = &'a DesiredObject> {
        self.desired.iter().filter(move |object| object.role.runs_at(phase))
    }

    /// Whether there is a hook of a phase.
    pub(crate) fn has(&self, phase: HookPhase) -> bool {
        self.of_phase(phase).next().is_some()
    }

    /// Whether the attempt has failed already: a hook for that case has been started, and nothing else is done any more.
    pub(crate) fn is_failing(&self) -> bool {
        let recorded = self.ended.keys().any(|(_, phase)| *phase == HookPhase::SyncFail);
        let run = RunId { attempt: self.attempt.to_owned(), phase: HookPhase::SyncFail };
        let of_run = |live: &LiveObject| live.hook.as_ref().is_some_and(|hook| hook.run == run);
        recorded || (self.has(HookPhase::SyncFail) && live_hooks(self.context, self.key).iter().any(of_run))
    }

    /// Runs the hooks of a phase, wave by wave.
    pub(crate) async fn run_phase(&mut self, phase: HookPhase) -> Progress {
        for wave in self.waves(phase) {
            let progress = self.run(phase, wave).await;
            if progress != Progress::Done {
                return progress;
            }
        }
        Progress::Done
    }

    /// Runs the hooks of one wave of a phase, all at the same time.
    pub(crate) async fn run(&mut self, phase: HookPhase, wave: i32) -> Progress {
        let (mut waiting, mut failed) = (None, None);
        let hooks: Vec<_> = self.of_phase(phase).filter(|hook| hook.order.wave == wave).collect();
        for hook in hooks {
            match self.run_one(hook, phase).await {
                Progress::Done => {}
                Progress::Waiting(why) => waiting = waiting.or(Some(why)),
                Progress::Failed(why) => failed = failed.or(Some(why)),
                Progress::NeedsBodies => return Progress::NeedsBodies,
            }
        }
        // What runs is not left behind: another attempt would run beside it.
        waiting.map(Progress::Waiting).or_else(|| failed.map(Progress::Failed)).unwrap_or(Progress::Done)
    }

    async fn run_one(&mut self, hook: &DesiredObject, phase: HookPhase) -> Progress {
        let run = RunId { attempt: self.attempt.to_owned(), phase };
        let name = name_in_run(&hook.id.name, hook.generated, &run);
        let id = ObjectId { name, ..hook.id.clone() };
        match self.ended.get(&(id.clone(), phase)) {
            Some((true, _)) => return Progress::Done,
            Some((false, how)) => return Progress::Failed(format!("the {phase} hook {id} {how}")),
            None => {}
        }
        let live = self.context.state.live(|live| live.get(&id).cloned());
        match live {
            Some(live) => match live.hook.as_deref().filter(|own| own.run == run).cloned() {
                Some(own) => self.observed(hook, &id, phase, own.execution),
                None => self.make_way(&live).await,
            },
            None => match self.manifests.map(|manifests| manifests.get(&hook.id)) {
                None => Progress::NeedsBodies,
                Some(None) => Progress::Failed(format!("{id} is not in the render any more")),
                Some(Some(manifest)) => self.start(hook, &id, &run, manifest).await,
            },
        }
    }

    /// Takes down how far a hook has come.
    fn observed(&mut self, hook: &DesiredObject, id: &ObjectId, phase: HookPhase, execution: Execution) -> Progress {
        let said = |message: &str| if message.is_empty() { String::new() } else { format!(": {message}") };
        let (message, progress) = match &execution {
            Execution::Succeeded => ("succeeded".to_owned(), Progress::Done),
            Execution::Failed(why) => {
                let why = said(why);
                (format!("failed{why}"), Progress::Failed(format!("the {phase} hook {id} failed{why}")))
            }
            Execution::Waiting(what) => {
                let what = said(what);
                let sentence = format!("the {phase} hook {id} has not started to run{what}");
                (format!("has not started to run{what}"), Progress::Waiting(sentence))
            }
            Execution::Running(what) => {
                let what = said(what);
                (format!("running{what}"), Progress::Waiting(format!("the {phase} hook {id} is running{what}")))
            }
        };
        let status = if matches!(execution, Execution::Failed(_)) { "SyncFailed" } else { "Synced" };
        self.results.push(OperationResult {
            id: id.clone(),
            version: hook.api_version.rsplit('/').next().unwrap_or_default().to_owned(),
            status,
            message,
            hook: Some((phase, execution)),
        });
        progress
    }

    async fn start(&mut self, hook: &DesiredObject, id: &ObjectId, run: &RunId, manifest: &Manifest) -> Progress {
        let failed = |error: &dyn std::fmt::Display| {
            Progress::Failed(format!("the {} hook {id} cannot be created: {error}", run.phase))
        };
        let resource = match resource_of(self.context, manifest) {
            Ok(resource) => resource,
            Err(error) => return failed(&error),
        };
        let object = self.body(manifest, id, run);
        let create = || self.context.cluster.create(&resource, id.namespace.as_deref(), &object);
        let answer = match create().await.map_err(|error| error.about(id)) {
            Err(error) if may_create_namespace(&error, id, self.mode) => {
                match namespace::create(self.context, self.mode).await {
                    Ok(()) => create().await.map_err(|error| error.about(id)),
                    Err(error) => Err(error),
                }
            }
            answer => answer,
        };
        match answer {
            Ok(answer) => {
                tracing::info!(object = %id, phase = %run.phase, attempt = run.attempt, "hook started");
                let execution = LiveHook::of(&answer).map(|own| own.execution);
                if let Some(live) = LiveObject::reduce(&answer, &self.context.state.installation) {
                    self.context.queue.extend(self.context.state.applied(live));
                }
                self.observed(hook, id, run.phase, execution.unwrap_or(Execution::Waiting(String::new())))
            }
            Err(error) if error.reason() == "AlreadyExists" => self.replace_foreign(hook, id, run, manifest).await,
            Err(error) if error.is_transient() => {
                self.retry = true;
                Progress::Waiting(format!("{id} cannot be created now: {error}"))
            }
            Err(error) => failed(&error),
        }
    }

    /// The manifest as an object of its own in this run.
    fn body(&self, manifest: &Manifest, id: &ObjectId, run: &RunId) -> Value {
        let mut object = manifest.object.clone();
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(id.name);
        metadata["annotations"][ANNOTATION_TRACKING_ID] =
            json!(self.context.state.installation.tracking_id(self.key, id));
        metadata["annotations"][ANNOTATION_HOOK_RUN] = json!(run.to_string());
        let mut finalizers = metadata["finalizers"].as_array().cloned().unwrap_or_default();
        finalizers.push(json!(FINALIZER_HOOK));
        metadata["finalizers"] = Value::Array(finalizers);
        object
    }

    /// The name is taken by an object that we do not know: a hook that another tool ran goes, anything else stays.
    async fn replace_foreign(
        &mut self,
        wanted: &DesiredObject,
        id: &ObjectId,
        run: &RunId,
        manifest: &Manifest,
    ) -> Progress {
        let read = async {
            let resource = resource_of(self.context, manifest)?;
            let object = self.context.cluster.get(&resource, id.namespace.as_deref(), &id.name).await?;
            let Some(object) = object else { return Ok(Found::Going) };
            // Our own, the answer to whose creation was lost.
            if let Some(own) = LiveHook::of(&object).filter(|own| own.run == *run) {
                return Ok(Found::Own(own.execution));
            }
            let hook = [ANNOTATION_HOOK, ANNOTATION_HELM_HOOK].iter().any(|name| annotation(&object, name).is_some());
            let live = LiveObject::reduce(&object, &self.context.state.installation);
            let Some(live) = live.filter(|live| hook && live.claim == Claim::None) else { return Ok(Found::NoHook) };
            if !live.deleting {
                argo_cd::allow(self.context, self.key, &resource, id).await?;
                self.context.cluster.delete(&resource, &live, Propagation::Background).await?;
            }
            Ok::<Found, ClusterError>(Found::Going)
        };
        let found = read.await;
        // It does not carry our label: no watch tells when it is gone.
        self.retry |= !matches!(found, Ok(Found::NoHook | Found::Own(_)));
        match found {
            Ok(Found::Own(execution)) => self.observed(wanted, id, run.phase, execution),
            Ok(Found::Going) => Progress::Waiting(format!("{id} of an earlier sync is being deleted")),
            Ok(Found::NoHook) => Progress::Failed(format!(
                "the hook {id} cannot be created: an object of that name exists that is no hook; rename one of them"
            )),
            Err(error) => Progress::Waiting(format!("{id} of an earlier sync cannot be deleted: {error}")),
        }
    }

    /// An object of an earlier run has the name.
    async fn make_way(&mut self, live: &LiveObject) -> Progress {
        let id = &live.id;
        if live.hook.is_none() {
            return Progress::Failed(format!("{id} exists as an object that is no hook; rename one of them"));
        }
        match clear(self.context, live).await {
            Ok(()) => Progress::Waiting(format!("{id} of an earlier sync is being deleted")),
            Err(error) => {
                self.retry = true;
                Progress::Waiting(format!("{id} of an earlier sync cannot be deleted: {error}"))
            }
        }
    }
}

/// What has the name of a hook that could not be created.
enum Found {
    /// The hook itself.
    Own(Execution),
    /// Another tool's, which is being deleted or gone.
    Going,
    /// No hook, or somebody's.
    NoHook,
}

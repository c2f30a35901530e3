//! Which rule a kind has.

use serde_json::Value;

use super::{Health, conditions, daemon_set, deployment, job, pod, replica_set, stateful_set};
use crate::object::GroupKind;

/// Assesses an object whose present generation has been observed and that nobody deletes.
pub(super) type Assess = fn(&Value) -> Health;

/// The kinds of a group that share a rule.
pub(super) struct Rule {
    /// API group; `*.` in front stands for any first part.
    pub(super) group: &'static str,
    /// Kinds; an empty list stands for all kinds of the group.
    pub(super) kinds: &'static [&'static str],
    /// The rule.
    pub(super) assess: Assess,
}

impl Rule {
    pub(super) fn covers(&self, group_kind: &GroupKind) -> bool {
        let group = match self.group.strip_prefix('*') {
            Some(suffix) => group_kind.group.ends_with(suffix),
            None => group_kind.group == self.group,
        };
        group && (self.kinds.is_empty() || self.kinds.contains(&group_kind.kind.as_str()))
    }
}

const fn rule(group: &'static str, kinds: &'static [&'static str], assess: Assess) -> Rule {
    Rule { group, kinds, assess }
}

/// Every rule, built-in kinds first.
pub(super) const RULES: &[Rule] = &[
    rule("apps", &["Deployment"], deployment::assess),
    rule("apps", &["StatefulSet"], stateful_set::assess),
    rule("apps", &["DaemonSet"], daemon_set::assess),
    rule("apps", &["ReplicaSet"], replica_set::assess),
    rule("", &["ReplicationController"], replica_set::assess),
    rule("", &["Pod"], pod::assess),
    rule("", &["Node"], conditions::assess),
    rule("batch", &["Job"], job::assess),
];

/// The rule of a kind, if it has one of its own.
pub(super) fn rule_of(group_kind: &GroupKind) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.covers(group_kind))
}

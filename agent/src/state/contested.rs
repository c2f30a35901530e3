//! Objects that two Applications want: both are told.

use std::collections::{BTreeSet, HashSet};

use gitmoor_core::object::ObjectId;
use gitmoor_core::plan::DesiredObject;
use gitmoor_core::tracking::ApplicationKey;

use super::{Inner, State};

impl State {
    /// What an Application has and others want too. Costs nothing as long as nobody else wants anything of it.
    pub(crate) fn contested(&self, key: &ApplicationKey, desired: &[DesiredObject]) -> Vec<(ObjectId, ApplicationKey)> {
        let inner = self.lock();
        let rivals: Vec<_> = inner
            .applications
            .iter()
            .filter(|(_, tracked)| tracked.conflicts.contains(key) && !tracked.is_going())
            .collect();
        if rivals.is_empty() {
            return Vec::new();
        }
        let ours: HashSet<&ObjectId> = desired.iter().map(|object| &object.id).collect();
        let mut contested = Vec::new();
        for (rival, tracked) in rivals {
            let theirs = tracked.evaluation.as_ref().map(|evaluation| evaluation.wanted()).unwrap_or_default();
            let both = theirs.iter().filter(|object| ours.contains(&object.id));
            contested.extend(both.map(|object| (object.id.clone(), rival.clone())));
        }
        contested
    }

    /// The Applications whose objects others have begun or ceased to want since this was asked last.
    pub(crate) fn take_contested_news(&self) -> BTreeSet<ApplicationKey> {
        std::mem::take(&mut self.lock().contested_news)
    }
}

impl Inner {
    /// Remembers whose objects an Application wants; they have to say so, or to cease to.
    pub(super) fn contest(&mut self, key: &ApplicationKey, conflicts: BTreeSet<ApplicationKey>) {
        let Some(tracked) = self.applications.get_mut(key) else { return };
        let before = std::mem::replace(&mut tracked.conflicts, conflicts);
        self.contested_news.extend(before.symmetric_difference(&tracked.conflicts).cloned());
    }
}

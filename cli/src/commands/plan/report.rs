//! What a plan says, before it is put into words.

use gitmoor_core::{
    preview::{Change, Departure, What},
    tracking::ApplicationKey,
};

use super::points::Points;

/// All Applications that a change touches.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) applications: Vec<Touched>,
    /// How many Applications there are.
    pub(super) total: usize,
    /// How often a renderer was run.
    pub(super) renders: usize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Touched {
    pub(super) key: ApplicationKey,
    pub(super) fate: Fate,
    /// Files it reads that differ.
    pub(super) because: Vec<String>,
    pub(super) objects: Vec<Object>,
    /// Why what it wants cannot be told, or not all of it.
    pub(super) problems: Vec<String>,
    /// It has problems that it had not before.
    pub(super) broke: bool,
    pub(super) notes: Vec<String>,
}

/// What becomes of the Application itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    New,
    Stays,
    Goes,
}

/// An object, and what the rules of deletion say when it leaves.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) change: Change,
    pub(super) departure: Option<Departure>,
    /// What else is to be said of it.
    pub(super) remarks: Vec<String>,
}

/// How many objects fare how.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Count {
    pub(super) created: usize,
    pub(super) changed: usize,
    pub(super) moved: usize,
    pub(super) pruned: usize,
    pub(super) kept_back: usize,
}

impl Object {
    /// A change of which nothing else is to be said.
    pub(super) fn of(change: Change) -> Self {
        Self { change, departure: None, remarks: Vec::new() }
    }

    /// One word for it.
    pub(super) fn word(&self) -> &'static str {
        match (&self.change.what, &self.departure) {
            (What::Created, _) => "created",
            (What::Changed, _) => "changed",
            (What::MovedFrom(_), _) => "adopted",
            (What::MovedTo(_), _) => "moved",
            (What::HookGone, _) => "dropped",
            (What::Leaving, Some(Departure::Deleted) | None) => "pruned",
            (What::Leaving, Some(Departure::Blocked(_) | Departure::Held(_))) => "kept",
        }
    }

    /// What there is to be said of it besides.
    pub(super) fn remark(&self) -> Option<String> {
        let own = self.of_change();
        let all: Vec<String> = own.into_iter().chain(self.remarks.iter().cloned()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn of_change(&self) -> Option<String> {
        let names = |keys: &[ApplicationKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let remark = match (&self.change.what, &self.departure) {
            (_, Some(Departure::Blocked(why) | Departure::Held(why))) => why.clone(),
            (What::MovedFrom(key), _) => format!("from {key}, which wants it no more"),
            (What::MovedTo(key), _) => format!("to {key}"),
            (What::HookGone, _) => "a hook that will not run any more".to_owned(),
            (What::Created | What::Changed, _) if !self.change.contested.is_empty() => {
                let others = names(&self.change.contested);
                format!("{others} wants it too: whoever has it keeps it, the other one reports a conflict")
            }
            _ if self.change.hook => "a hook".to_owned(),
            _ => return None,
        };
        Some(remark)
    }
}

impl Touched {
    /// Nothing is to be said of it.
    pub(super) fn is_silent(&self) -> bool {
        self.fate == Fate::Stays && self.objects.is_empty() && self.problems.is_empty()
    }

    /// Its objects, counted.
    pub(super) fn count(&self) -> Count {
        let mut count = Count::default();
        for object in &self.objects {
            *match object.word() {
                "created" => &mut count.created,
                "changed" => &mut count.changed,
                "adopted" => &mut count.moved,
                "pruned" => &mut count.pruned,
                "kept" => &mut count.kept_back,
                // Counted where it arrives; a hook is no object that is kept.
                _ => continue,
            } += 1;
        }
        count
    }

    /// One line about it, without its name.
    pub(super) fn sentence(&self) -> String {
        let mut parts = match self.fate {
            Fate::New => vec!["new".to_owned()],
            Fate::Goes => vec!["goes".to_owned()],
            Fate::Stays => Vec::new(),
        };
        parts.extend(self.count().words());
        if !self.problems.is_empty() {
            parts.push("has problems".to_owned());
        }
        if parts.is_empty() { "no object differs".to_owned() } else { parts.join(", ") }
    }
}

impl Count {
    /// Adds another one.
    pub(super) fn add(&mut self, other: Self) {
        let Self { created, changed, moved, pruned, kept_back } = other;
        self.created += created;
        self.changed += changed;
        self.moved += moved;
        self.pruned += pruned;
        self.kept_back += kept_back;
    }

    /// Each number that is not zero.
    pub(super) fn words(self) -> Vec<String> {
        let Self { created, changed, moved, pruned, kept_back } = self;
        let named = [
            (created, "created"),
            (changed, "changed"),
            (moved, "moved"),
            (pruned, "pruned"),
            (kept_back, "kept back from pruning"),
        ];
        named.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}")).collect()
    }
}

impl Report {
    /// Whether a merge would have any effect.
    pub(super) fn changes_anything(&self) -> bool {
        self.applications.iter().any(|application| !application.objects.is_empty() || application.fate != Fate::Stays)
    }

    /// All objects, counted.
    pub(super) fn count(&self) -> Count {
        let mut count = Count::default();
        self.applications.iter().for_each(|application| count.add(application.count()));
        count
    }

    /// All of it in one sentence.
    pub(super) fn sentence(&self, points: &Points) -> String {
        let (touched, total) = (self.applications.len(), self.total);
        let words = self.count().words();
        let objects = if words.is_empty() { "no object changes".to_owned() } else { words.join(", ") };
        let (base, head) = (points.base.label(), points.head.label());
        format!("{base} -> {head}: {touched} of {total} Applications touched, {objects}; {} renders", self.renders)
    }
}

impl super::points::Point {
    /// Its name, and the beginning of the commit.
    pub(super) fn label(&self) -> String {
        match &self.commit {
            Some(id) => format!("{} ({})", self.name, id.get(..9).unwrap_or(id)),
            None => self.name.clone(),
        }
    }
}

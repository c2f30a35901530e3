//! What differs between two states of the files, for other commands.

use std::collections::BTreeSet;

use gitmoor_core::tracking::ApplicationKey;
use serde_json::Value;

use super::{
    build, json,
    report::{Fate, Report},
    text,
};
use crate::{
    failure::Failure,
    fleet::{Fleet, Ground, RenderArguments, Surveyor},
    terminal::Terminal,
};

/// The Applications that differ, with their objects.
pub(in crate::commands) struct Changes(Report);

impl Changes {
    /// Compares two fleets; renders what is not in memory.
    pub(in crate::commands) async fn between(
        arguments: &RenderArguments,
        surveyor: &Surveyor,
        grounds: (&Ground, &Ground),
        before: &Fleet,
        after: &Fleet,
    ) -> Result<Self, Failure> {
        let mut report = build::report(arguments, surveyor, grounds, before, after).await?;
        report.applications.retain(|touched| !touched.is_silent());
        Ok(Self(report))
    }

    /// Those that are there afterwards.
    pub(in crate::commands) fn staying(&self) -> BTreeSet<ApplicationKey> {
        self.0.applications.iter().filter(|touched| touched.fate != Fate::Goes).map(|it| it.key.clone()).collect()
    }

    /// Those that are not.
    pub(in crate::commands) fn going(&self) -> BTreeSet<ApplicationKey> {
        self.0.applications.iter().filter(|touched| touched.fate == Fate::Goes).map(|it| it.key.clone()).collect()
    }

    /// Objects by name, without their differences.
    pub(in crate::commands) fn print(&self, terminal: &mut Terminal) {
        text::print(&self.0, true, terminal);
    }

    /// The same for programs.
    pub(in crate::commands) fn json(&self) -> Vec<Value> {
        json::applications(&self.0)
    }
}

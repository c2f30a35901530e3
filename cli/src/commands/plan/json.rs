//! A plan for programs.

use gitmoor_core::preview::{Change, What};
use serde_json::{Value, json};

use super::{
    points::{Point, Points},
    report::{Fate, Object, Report, Touched},
};

/// The one document.
pub(super) fn document(report: &Report, points: &Points) -> Value {
    json!({
        "format": 1,
        "base": point(&points.base),
        "head": point(&points.head),
        "applications": applications(report),
        "total": report.total,
        "renders": report.renders,
    })
}

/// Each Application that is touched.
pub(super) fn applications(report: &Report) -> Vec<Value> {
    report.applications.iter().map(application).collect()
}

fn point(point: &Point) -> Value {
    json!({ "name": point.name, "commit": point.commit })
}

fn application(touched: &Touched) -> Value {
    let Touched { key, fate, because, objects, problems, broke, notes } = touched;
    let fate = match fate {
        Fate::New => "new",
        Fate::Stays => "stays",
        Fate::Goes => "goes",
    };
    let objects: Vec<Value> = objects.iter().map(object).collect();
    json!({
        "application": key.to_string(),
        "fate": fate,
        "because": because,
        "objects": objects,
        "problems": problems,
        "broke": broke,
        "notes": notes,
    })
}

fn object(object: &Object) -> Value {
    let Change { id, what, hook, difference, contested } = &object.change;
    let (from, to) = match what {
        What::MovedFrom(key) => (Some(key.to_string()), None),
        What::MovedTo(key) => (None, Some(key.to_string())),
        _ => (None, None),
    };
    json!({
        "group": id.group_kind.group,
        "kind": id.group_kind.kind,
        "namespace": id.namespace,
        "name": id.name,
        "action": object.word(),
        "remark": object.remark(),
        "from": from,
        "to": to,
        "hook": hook,
        "contestedBy": contested.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "difference": difference,
    })
}

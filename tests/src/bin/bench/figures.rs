//! What was measured, as a table for people and as JSON for machines.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::stage::Cost;

/// All of it, in order.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

/// One measured value.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    scenario: String,
    name: String,
    value: f64,
    unit: &'static str,
    /// The least that it can be, measured in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<f64>,
    /// `value` in units of `floor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    /// The most that the ratio, or without a floor the value, ought to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    aim: Option<f64>,
}

impl Figure {
    /// A value of a scenario.
    pub(crate) fn new(scenario: &str, name: &str, value: f64, unit: &'static str) -> Self {
        let (scenario, name) = (scenario.to_owned(), name.to_owned());
        Self { scenario, name, value, unit, floor: None, ratio: None, aim: None }
    }

    /// A time.
    pub(crate) fn time(scenario: &str, name: &str, value: Duration) -> Self {
        Self::new(scenario, name, value.as_secs_f64(), "s")
    }

    /// With the least that it can be.
    pub(crate) fn floor(self, floor: Duration) -> Self {
        let floor = floor.as_secs_f64();
        Self { floor: Some(floor), ratio: Some(self.value / floor), ..self }
    }

    /// With what it, or its ratio, ought to be at most.
    pub(crate) fn aim(self, aim: f64) -> Self {
        Self { aim: Some(aim), ..self }
    }
}

impl Figures {
    /// One more.
    pub(crate) fn push(&mut self, figure: Figure) {
        self.0.push(figure);
    }

    /// The scenario that was measured first under a name, and the value.
    pub(crate) fn first(&self, name: &str) -> Option<(&str, f64)> {
        let found = self.0.iter().find(|figure| figure.name == name)?;
        Some((&found.scenario, found.value))
    }

    /// What the agent has taken for `count` of something.
    pub(crate) fn cost(&mut self, scenario: &str, cost: &Cost, (count, each): (usize, &str)) {
        let per = |value: f64| value / count as f64;
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        self.push(Figure::time(scenario, "agent's own CPU time", cost.own_cpu));
        self.push(Figure::time(scenario, "CPU time of its children", cost.children_cpu));
        self.push(Figure::new(scenario, &format!("API requests per {each}"), per(cost.requests.count() as f64), ""));
        let writes = cost.requests.clone().writes().count();
        self.push(Figure::new(scenario, &format!("of them writes per {each}"), per(writes as f64), ""));
        self.push(Figure::new(scenario, "agent's resident memory at its peak", mebibytes(cost.peak_resident), "MiB"));
        self.push(
            Figure::new(scenario, "agent's private memory afterwards", mebibytes(cost.private), "MiB").aim(100.0),
        );
    }

    /// One JSON document: an array of figures.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(&self.0).unwrap_or_default()
    }

    /// A table.
    pub(crate) fn table(&self) -> String {
        let mut text =
            format!("{:<18} {:<38} {:>11} {:>9} {:>7}  aim", "scenario", "figure", "value", "floor", "ratio");
        let mut last = "";
        for Figure { scenario, name, value, unit, floor, ratio, aim } in &self.0 {
            let shown = if scenario == last { "" } else { scenario };
            let value = format!("{} {unit}", number(*value));
            let floor = floor.map(|floor| format!("{} {unit}", number(floor))).unwrap_or_default();
            let ratio_text = ratio.map(number).unwrap_or_default();
            let aim = aim.map(|aim| format!("<= {aim}{}", if ratio.is_some() { "x" } else { "" })).unwrap_or_default();
            let line = format!("{shown:<18} {name:<38} {:>11} {floor:>9} {ratio_text:>7}  {aim}", value.trim());
            // Writing to a String does not fail.
            let _ = write!(text, "\n{}", line.trim_end());
            last = scenario;
        }
        text
    }
}

fn number(value: f64) -> String {
    let decimals = match value {
        _ if value.fract().abs() < f64::EPSILON => 0,
        _ if value < 10.0 => 3,
        _ => 1,
    };
    format!("{value:.decimals$}")
}

/// The value in the middle.
pub(crate) fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_stands_beside_its_aim() {
        let mut figures = Figures::default();
        let time = Figure::time("cold", "to all", Duration::from_secs(3)).floor(Duration::from_secs(2)).aim(2.0);
        figures.push(time);
        figures.push(Figure::new("cold", "requests", 4.0, ""));
        let table = figures.table();
        let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[1..], ["cold to all 3 s 2 s 1.500 <= 2x", "requests 4"]);
    }
}

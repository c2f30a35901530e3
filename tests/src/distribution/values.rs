//! Whether a chart knows the values that it is given: helm takes a misspelt one in silence.

use serde_json::Value;

/// What a chart offers: its default values, and their text, where others stand in comments.
#[derive(Debug)]
pub struct Offered {
    /// The default values.
    pub values: Value,
    /// As they are written.
    pub text: String,
    /// All of its templates: some values stand in these alone.
    pub templates: String,
    /// The same of the charts that it depends on, by their names.
    pub dependencies: Vec<(String, Offered)>,
}

impl Offered {
    /// From the text of a `values.yaml`.
    pub fn read(text: String, templates: String, dependencies: Vec<(String, Offered)>) -> Self {
        let values = serde_yaml::from_str(&text).unwrap_or_default();
        Self { values, text, templates, dependencies }
    }

    /// Paths of given values that the chart does not have. Below an empty default anything may stand.
    pub fn unknown(&self, given: &Value) -> Vec<String> {
        let mut unknown = Vec::new();
        for (key, value) in given.as_object().into_iter().flatten() {
            match self.dependencies.iter().find(|(name, _)| name == key) {
                Some((_, dependency)) => {
                    let own = &self.values[key];
                    let of_both = dependency.unknown(value).into_iter().filter(|path| at(own, path).is_none());
                    unknown.extend(of_both.map(|path| format!("{key}.{path}")));
                }
                None => self.walk(key, value, self.values.get(key), key, &mut unknown),
            }
        }
        unknown
    }

    fn walk(&self, key: &str, given: &Value, default: Option<&Value>, path: &str, unknown: &mut Vec<String>) {
        match (given, default) {
            (_, None) if key != "global" && !self.mentions(key) && !self.uses(path) => unknown.push(path.to_owned()),
            (Value::Object(given), Some(Value::Object(default))) if !default.is_empty() && !is_kubernetes(key) => {
                for (key, value) in given {
                    self.walk(key, value, default.get(key), &format!("{path}.{key}"), unknown);
                }
            }
            _ => {}
        }
    }

    /// Whether a template reads it.
    fn uses(&self, path: &str) -> bool {
        let reads = format!(".Values.{path}");
        let ends = |rest: &str| !rest.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
        self.templates.split(&reads).skip(1).any(ends)
    }

    /// Whether a comment offers it.
    fn mentions(&self, key: &str) -> bool {
        self.text.lines().any(|line| {
            let offered = line.trim_start().trim_start_matches('#').trim_start();
            offered.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
        })
    }
}

/// Values that charts put into pods as they are: their fields are Kubernetes' own, which the API server knows.
fn is_kubernetes(key: &str) -> bool {
    ["ecurityContext", "esources", "Probe", "ffinity", "elector"].iter().any(|end| key.ends_with(end))
}

fn at<'v>(values: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(values, |value, key| value.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_value_is_found_and_what_charts_leave_open_is_not() {
        let text = "controller:\n  podSecurityContext: {fsGroup: 1}\n  replicas: 1\n  annotations: {}\n  # name: x\n  resources:\nglobal: {}\n";
        let dependency = Offered::read("image:\n  tag: 1\n".to_owned(), String::new(), Vec::new());
        let templates = "{{ .Values.controller.port }} {{ .Values.controler2 }}".to_owned();
        let chart = Offered::read(text.to_owned(), templates, vec![("sub".to_owned(), dependency)]);
        let given = serde_json::json!({
            "controller": {"port": 1, "replica": 1, "replicas": 2, "annotations": {"any": "thing"}, "name": "x", "resources": {"cpu": 1},
                           "podSecurityContext": {"runAsNonRoot": true}},
            "global": {"any": 1}, "sub": {"image": {"tag": 2, "tga": 3}}, "controler": {"replicas": 1},
        });
        assert_eq!(chart.unknown(&given), ["controler", "controller.replica", "sub.image.tga"]);
    }
}

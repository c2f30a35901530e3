//! Metrics as Prometheus reads them: the text format of OpenMetrics 1.0
//! (github.com/prometheus/OpenMetrics, "ABNF" and "Metric Types").

use std::collections::BTreeMap;

/// The samples of one scrape, by name with labels, as they were written.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    /// Reads a scrape. Every line has to be right; an error names the first that is not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(body) = text.strip_suffix("# EOF\n") else { return Err("it does not end with # EOF".to_owned()) };
        let (mut metrics, mut family) = (Self::default(), Family::default());
        for line in body.lines() {
            let result = match line.strip_prefix("# ") {
                Some(comment) => family.describe(comment),
                None => metrics.sample(line, &family),
            };
            result.map_err(|reason| format!("{reason}: {line}"))?;
        }
        Ok(metrics)
    }

    /// The sum of all samples of a name, whatever their labels.
    pub fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|(key, _)| key.split('{').next() == Some(name)).map(|(_, value)| value).sum()
    }

    /// How many samples there are.
    pub fn count(&self) -> usize {
        self.samples.len()
    }

    fn sample(&mut self, line: &str, family: &Family) -> Result<(), String> {
        let (key, value) = line.rsplit_once(' ').ok_or("no value")?;
        let (name, labels) = match key.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').ok_or("labels do not end")?),
            None => (key, ""),
        };
        let suffix = name.strip_prefix(&family.name).ok_or("not of the family described above it")?;
        let fits = match family.kind.as_str() {
            "counter" => matches!(suffix, "_total" | "_created"),
            "histogram" => matches!(suffix, "_bucket" | "_sum" | "_count" | "_created"),
            "gauge" => suffix.is_empty(),
            _ => false,
        };
        if !fits {
            return Err(format!("a {} has no such sample", family.kind));
        }
        labels_are_right(labels)?;
        let value: f64 = value.parse().map_err(|_| "the value is no number".to_owned())?;
        if self.samples.insert(key.to_owned(), value).is_some() {
            return Err("twice".to_owned());
        }
        Ok(())
    }
}

/// What the comments above samples say of them.
#[derive(Default)]
struct Family {
    name: String,
    kind: String,
}

impl Family {
    fn describe(&mut self, comment: &str) -> Result<(), String> {
        let mut words = comment.splitn(3, ' ');
        let (Some(what), Some(name), Some(text)) = (words.next(), words.next(), words.next()) else {
            return Err("a comment that says nothing".to_owned());
        };
        let right = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if !name.chars().all(right) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("not a name".to_owned());
        }
        if name != self.name {
            *self = Self { name: name.to_owned(), kind: String::new() };
        }
        match what {
            "HELP" | "UNIT" => Ok(()),
            "TYPE" if matches!(text, "counter" | "gauge" | "histogram") => {
                text.clone_into(&mut self.kind);
                Ok(())
            }
            _ => Err("not a comment of OpenMetrics".to_owned()),
        }
    }
}

/// `name="value"`, separated by commas; in values `\\`, `\"` and `\n` are escaped.
fn labels_are_right(labels: &str) -> Result<(), String> {
    let mut rest = labels;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or("a label without value")?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("`{name}` is no label"));
        }
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = &after[end.ok_or("a value does not end")? + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = "# HELP a_fetches Fetches.\n# TYPE a_fetches counter\na_fetches_total{result=\"x \\\" y\",b=\"\"} 2\n\
                         a_fetches_total{result=\"z\"} 3\n# EOF\n";

    #[test]
    fn samples_are_summed_by_name() {
        let metrics = Metrics::parse(RIGHT).unwrap();
        assert_eq!((metrics.sum("a_fetches_total"), metrics.count()), (5.0, 2));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (from, to) in [
            ("# EOF\n", ""),
            ("_total{result=\"z\"}", "{result=\"z\"}"),
            ("\"z\"} 3", "\"z\"} many"),
            ("result=\"z\"", "result=z"),
            ("# HELP", "# HELPS"),
            ("counter", "number"),
        ] {
            assert!(Metrics::parse(&RIGHT.replace(from, to)).is_err(), "{from} -> {to}");
        }
    }
}

//! Durations as Go writes them, which is how Kubernetes objects hold them.

use std::time::Duration;

/// A duration as Go's `time.ParseDuration` reads it: `1h30m`, `1.5h`, `90s`, `100ms`, `0`. `None` when it is none, or negative.
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number * seconds(&rest[..unit])?;
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(total).ok()
}

fn seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in
            [("1h0m0s", 3_600_000), ("1.5h", 5_400_000), ("15s", 15_000), ("0", 0), ("0s", 0), ("250ms", 250)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "1", "h", "-1s", "1d", "1h2"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

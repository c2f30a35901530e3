//! When a value is read again. Times are durations since any one fixed moment.

use std::time::Duration;

/// Lengths of a window; each is a multiple of the one before, so that windows of different lengths end together.
const WINDOWS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(300),
];

/// A duration as Go writes it: `1h30m`, `1.5h`, `90s`, `100ms`, `0`. `None` when it is none, or negative.
pub fn parse_duration(text: &str) -> Option<Duration> {
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

/// The window that due times of an interval are quantised to: at most a twelfth of it, so that what was made at
/// different times is soon read together.
pub fn window(interval: Duration) -> Duration {
    let fits = WINDOWS.iter().rev().find(|window| **window * 12 <= interval);
    fits.copied().unwrap_or_else(|| (interval / 12).max(Duration::from_millis(100)))
}

/// When something that was read at `read` is due again: an interval later, at the start of that window.
pub fn next_due(read: Duration, interval: Duration) -> Duration {
    let window = window(interval).as_millis().max(1);
    let due = (read + interval).as_millis();
    let start = due - due % window;
    Duration::from_millis(u64::try_from(start).unwrap_or(u64::MAX)).max(read + interval / 2)
}

/// How long a failure waits before it is tried again: 1, 2, 4, … seconds, at most 5 minutes or the interval.
/// `share` between 0 and 1 spreads those that failed together.
pub fn backoff(failures: u32, interval: Duration, share: f64) -> Duration {
    let longest = Duration::from_secs(300).min(interval.max(Duration::from_secs(1)));
    let wait = Duration::from_secs(1 << failures.saturating_sub(1).min(9)).min(longest);
    wait.mul_f64(0.75 + 0.5 * share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in
            [("1h0m0s", 3_600_000), ("1.5h", 5_400_000), ("15s", 15_000), ("0", 0), ("0s", 0), ("250ms", 250)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "1", "h", "-1s", "1d", "1h2"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_made_at_different_times_is_due_together() {
        let hour = Duration::from_secs(3600);
        assert_eq!(window(hour), Duration::from_secs(300));
        let first = next_due(Duration::from_secs(301), hour);
        assert_eq!(first, next_due(Duration::from_secs(599), hour));
        assert_eq!(next_due(first, hour), first + hour, "from then on exactly an interval apart");
        for seconds in [1, 3, 15, 60, 3600, 86_400] {
            let interval = Duration::from_secs(seconds);
            let read = Duration::from_millis(12_345_678);
            let due = next_due(read, interval);
            assert!(due > read && due <= read + interval && due + window(interval) > read + interval, "{seconds}");
        }
    }

    #[test]
    fn failures_wait_longer_and_not_beyond_the_interval() {
        let waits = |interval: u64| {
            let wait = |failures| backoff(failures, Duration::from_secs(interval), 0.5).as_secs();
            [1, 2, 3, 20].map(wait)
        };
        assert_eq!(waits(3600), [1, 2, 4, 300]);
        assert_eq!(waits(3), [1, 2, 3, 3]);
    }
}

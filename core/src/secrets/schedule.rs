//! When a value is read again. Times are durations since any one fixed moment.

use std::time::Duration;

/// Slots of all intervals that divide each other fall together within this.
const PHASE: Duration = Duration::from_secs(300);

/// When something that was read at `read` is due again: at the next slot. Everything of one interval has the same slots,
/// an interval apart, so that it is read together, whenever it was made; calls are spread by their rate, not by due times.
/// `phase` between 0 and 1 is an installation's own, so that not all of them ask at the full hour.
pub fn next_due(read: Duration, interval: Duration, phase: f64) -> Duration {
    let length = interval.as_nanos().max(1);
    let offset = PHASE.mul_f64(phase.clamp(0.0, 1.0)).as_nanos() % length;
    // A slot that is upon us is the one that was just served.
    let after = read.as_nanos() + length / 24;
    let slot = (after + length - offset) / length * length + offset;
    Duration::from_nanos(u64::try_from(slot).unwrap_or(u64::MAX))
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
    fn what_was_made_at_different_times_is_due_together() {
        let hour = Duration::from_secs(3600);
        let slot = next_due(Duration::from_secs(1_000_000), hour, 0.3);
        for seconds in [100, 900, 3000] {
            assert_eq!(next_due(slot + Duration::from_secs(seconds), hour, 0.3), slot + hour, "{seconds}");
        }
        for late in [0, 1, 140] {
            let served = slot + Duration::from_secs(late);
            assert_eq!(next_due(served, hour, 0.3), slot + hour, "from then on an interval apart");
        }
        assert_eq!(next_due(slot - Duration::from_millis(5), hour, 0.3), slot + hour, "not twice for one slot");
        assert_eq!(next_due(slot, hour / 2, 0.3), slot + hour / 2, "intervals that divide each other meet");
        for seconds in [1, 3, 15, 60, 3600, 86_400] {
            let interval = Duration::from_secs(seconds);
            let read = Duration::from_millis(12_345_678);
            let due = next_due(read, interval, 0.7);
            assert!(due > read && due <= read + interval + interval / 24, "{seconds}");
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

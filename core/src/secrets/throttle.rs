//! How fast AWS is asked: a token bucket whose rate halves when AWS throttles and recovers slowly.

use std::time::Duration;

/// A token bucket. Times are durations since any one fixed moment.
#[derive(Clone, Debug)]
pub struct Bucket {
    ceiling: f64,
    rate: f64,
    tokens: f64,
    filled: Duration,
    slowed: Option<Duration>,
}

/// A rate never falls below this many calls a second.
const FLOOR: f64 = 0.2;
/// Throttled calls that were under way together count once.
const SLOWED_ONCE_IN: Duration = Duration::from_secs(1);

impl Bucket {
    /// A full bucket for so many calls a second, as many of which may come at once.
    pub fn new(calls_per_second: f64) -> Self {
        let ceiling = calls_per_second.max(FLOOR);
        Self { ceiling, rate: ceiling, tokens: ceiling.max(1.0), filled: Duration::ZERO, slowed: None }
    }

    /// Takes a token that may not be there yet; gives how long to wait for it.
    pub fn take(&mut self, now: Duration) -> Duration {
        let since = now.saturating_sub(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * self.rate).min(self.rate.max(1.0));
        self.filled = now;
        self.tokens -= 1.0;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / self.rate) }
    }

    /// AWS has throttled a call.
    pub fn throttled(&mut self, now: Duration) {
        if self.slowed.is_none_or(|at| now.saturating_sub(at) >= SLOWED_ONCE_IN) {
            self.rate = (self.rate / 2.0).max(FLOOR);
            self.slowed = Some(now);
        }
        self.tokens = self.tokens.min(0.0);
        self.filled = self.filled.max(now);
    }

    /// AWS has answered a call.
    pub fn answered(&mut self) {
        self.rate = (self.rate + self.ceiling / 50.0).min(self.ceiling);
    }

    /// Calls a second, at present.
    pub fn rate(&self) -> f64 {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_stay_below_the_rate() {
        let mut bucket = Bucket::new(10.0);
        let now = Duration::from_secs(5);
        let waits: Vec<Duration> = (0..30).map(|_| bucket.take(now)).collect();
        assert_eq!(waits[9], Duration::ZERO);
        assert_eq!((waits[10].as_millis(), waits[29].as_millis()), (100, 2000));
        assert_eq!(bucket.take(now + Duration::from_secs(10)), Duration::ZERO);
    }

    #[test]
    fn throttling_halves_the_rate_once_and_answers_restore_it() {
        let mut bucket = Bucket::new(16.0);
        let now = Duration::from_secs(1);
        for _ in 0..5 {
            bucket.throttled(now);
        }
        assert!((bucket.rate() - 8.0).abs() < 1e-9, "those under way together count once");
        assert!(bucket.take(now) > Duration::ZERO, "nothing is left of the burst");
        bucket.throttled(now + Duration::from_secs(2));
        assert!((bucket.rate() - 4.0).abs() < 1e-9);
        for second in 4..100 {
            bucket.throttled(Duration::from_secs(second));
        }
        assert!((bucket.rate() - FLOOR).abs() < 1e-9);
        for _ in 0..60 {
            bucket.answered();
        }
        assert!((bucket.rate() - 16.0).abs() < 1e-9);
    }
}

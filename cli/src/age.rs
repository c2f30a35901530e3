//! Times as people read them.

use jiff::Timestamp;

/// The present time as it is noted in objects: RFC 3339, in seconds.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// How long ago that was, as kubectl shows ages: in the largest unit alone.
pub(crate) fn age(then: &str) -> Option<String> {
    let then: Timestamp = then.parse().ok()?;
    Some(span(now().as_second() - then.as_second()))
}

/// A length of time in its largest unit; a negative one is none.
pub(crate) fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_largest_unit_alone() {
        for (seconds, expected) in
            [(-5, "0s"), (119, "119s"), (120, "2m"), (7_199, "119m"), (7_200, "2h"), (172_800, "2d")]
        {
            assert_eq!(super::span(seconds), expected);
        }
    }
}

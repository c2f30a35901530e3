//! The clock: the only place that reads it for what is written down.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// Now, as RFC 3339 in UTC with seconds.
pub(crate) fn now() -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
    PRINTER.timestamp_to_string(&Timestamp::now())
}

/// Now with microseconds, as a Lease has it.
pub(crate) fn now_micros() -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    PRINTER.timestamp_to_string(&Timestamp::now())
}

/// Now, to compute with.
pub(crate) fn timestamp() -> Timestamp {
    Timestamp::now()
}

/// Now, in seconds since 1970.
pub(crate) fn unix_seconds() -> i64 {
    Timestamp::now().as_second()
}

/// Now, since 1970.
pub(crate) fn since_1970() -> std::time::Duration {
    std::time::Duration::try_from(Timestamp::now().as_duration()).unwrap_or_default()
}

/// How long ago a time was, written as RFC 3339; nothing when it cannot be read or is to come.
pub(crate) fn since(time: &str) -> std::time::Duration {
    let past = time.parse::<Timestamp>().ok().map(|time| Timestamp::now().duration_since(time));
    past.and_then(|past| std::time::Duration::try_from(past).ok()).unwrap_or_default()
}

/// How long ago a time was; nothing when it is to come.
pub(crate) fn ago(time: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(Timestamp::now().duration_since(time)).unwrap_or_default()
}

//! What a change would do: objects before and after, Application by Application.
//!
//! ```text
//! manifests before, after, who else has what -compare-> changes (made, changed, moved, leaving) -judge-> what is deleted
//!                                                    \-difference (masked)-> text for people
//! ```
//!
//! # Guarantees
//! Values of Secrets are in no difference: a value is `***`, and one that changes `*** (before)` and `*** (after)`.

mod compare;
mod departure;
mod difference;
mod masked;

#[cfg(test)]
mod tests;

pub use compare::{Change, Owners, Side, What, compare};
pub use departure::{Departure, LeavingApplication, departures, judged, leaving_application};
pub use difference::difference;
pub use masked::{CHANGED_FROM, CHANGED_TO, MASK, masked, masked_pair, shown};

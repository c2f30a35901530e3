//! Charts, as far as their content tells: what templates ask for, and what an index offers.

mod index;
mod traits;

pub use index::{Entry, IndexError, entries};
pub use traits::Traits;

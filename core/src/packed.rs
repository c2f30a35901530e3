//! Values that are kept for long and looked at seldom.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

/// A value as its JSON text: a tree of maps takes five to ten times as much memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed<T> {
    json: Box<str>,
    of: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned + Default> Packed<T> {
    /// Packs a value that JSON can express: whatever came from the API server, and what is made of that.
    pub fn of(value: &T) -> Self {
        Self { json: serde_json::to_string(value).unwrap_or_default().into(), of: PhantomData }
    }

    /// The value again.
    pub fn open(&self) -> T {
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_was_packed_comes_out_again() {
        let value = json!({"a": [1, 2.5, "ü\"\n", null, {}], "b": {"f:k{}": false, "": u64::MAX}});
        assert_eq!(Packed::of(&value).open(), value);
        assert_eq!(Packed::of(&Value::Null).open(), Value::Null);
    }
}

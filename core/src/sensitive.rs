//! Values that cannot be printed.

use std::fmt;

use zeroize::Zeroize;

/// A password, a token, a value of a Secret: shown as `***`, wiped from memory when dropped.
///
/// There is no `Display` and no `Serialize`: whoever needs the value says so with [`Sensitive::expose`].
#[derive(Clone, Default)]
pub struct Sensitive<T: Zeroize>(T);

impl<T: Zeroize> Sensitive<T> {
    /// Holds `value` from here on.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that has to send or write it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> From<T> for Sensitive<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Zeroize> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// For "did it change" between two values that are both held here; not for checking what a stranger sent.
impl<T: Zeroize + PartialEq> PartialEq for Sensitive<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Zeroize + Eq> Eq for Sensitive<T> {}

impl<T: Zeroize> Drop for Sensitive<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_value() {
        let password = Sensitive::new("hunter2".to_owned());
        assert_eq!(format!("{password:?} {:#?}", Some(&password)).matches("hunter2").count(), 0);
        assert_eq!(password.expose(), "hunter2");
    }
}

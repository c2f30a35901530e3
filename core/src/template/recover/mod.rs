//! Finding the placeholders again in a file that was initialised, and edited since.
//!
//! The file's template and the values that it was initialised with give the text that it started from,
//! and in that text the place of every value. That text is aligned with the present one; a value that
//! still stands where the alignment expects it is a placeholder again. Everything else is the user's.
//! So one mechanism serves a value that changed (fill the recovered template with the new values) and a
//! template that changed (merge the recovered template with the new one).
//!
//! Guarantees: filling what was recovered with the values it was recovered by gives the present text
//! back, byte for byte. A place counts only where its value stands unbroken, is not grown into a longer
//! word or number, and most of its line is still the template's: a place that is not certain belongs to
//! the user.
//!
//! Caveat: where the present text could have come from the template in two ways (two equal lines, one of
//! which was removed), the alignment picks one of them.

mod align;
mod fine;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, ops::Range};

use align::Alignment;

use super::{Found, Matcher, Occurrence, Position, Substitution, substitute};

/// A present text with the placeholders found again in it.
#[derive(Clone)]
pub struct Recovered<'p> {
    present: &'p [u8],
    places: Vec<Place>,
    /// Placeholders whose value the user has changed or overwritten: where they stand in the template
    /// (`before`), and near which place of the present text (`after`). Lines that are gone are not here.
    pub edited: Vec<Occurrence>,
    /// How many placeholders went with lines that are gone.
    pub removed: usize,
}

/// A value in the present text.
#[derive(Clone)]
struct Place {
    token: String,
    range: Range<usize>,
}

/// A value in the text that the template gave.
struct Written<'t> {
    token: &'t str,
    range: Range<usize>,
    in_template: Position,
}

/// Aligns `present` with what `template` was under `values`, and gives the placeholders that still stand.
pub fn recover<'p>(template: &[u8], values: &Matcher, present: &'p [u8]) -> Recovered<'p> {
    let (base, written) = initialised(template, values);
    let atoms: Vec<_> = written.iter().map(|written| written.range.clone()).collect();
    let alignment = Alignment::new(&base, &atoms, present);
    let mut recovered = Recovered { present, places: Vec::new(), edited: Vec::new(), removed: 0 };
    for Written { token, range, in_template } in written {
        if let Some(range) = alignment.place(&range) {
            recovered.places.push(Place { token: token.to_owned(), range });
        } else if alignment.is_gone(&range) {
            recovered.removed += 1;
        } else {
            let near = Position::START.after(&present[..alignment.near(range.start)]);
            recovered.edited.push(Occurrence { token: token.to_owned(), before: in_template, after: near });
        }
    }
    recovered
}

/// The text that the template gives, and where the values stand in it.
fn initialised<'v>(template: &[u8], values: &'v Matcher) -> (Vec<u8>, Vec<Written<'v>>) {
    let (mut text, mut written) = (Vec::with_capacity(template.len()), Vec::new());
    let (mut copied, mut position) = (0, Position::START);
    for found in values.tokens.find(template) {
        if let Found::Known(index, range) = found {
            let (token, value) = &values.pairs[index];
            let between = &template[copied..range.start];
            text.extend_from_slice(between);
            position = position.after(between);
            written.push(Written { token, range: text.len()..text.len() + value.len(), in_template: position });
            text.extend_from_slice(value.as_bytes());
            position = position.after(token.as_bytes());
            copied = range.end;
        }
    }
    text.extend_from_slice(&template[copied..]);
    (text, written)
}

impl Recovered<'_> {
    /// How many placeholders were found again.
    pub fn found(&self) -> usize {
        self.places.len()
    }

    /// The tokens that were found again, in the order of the text.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.token.as_str())
    }

    /// The present text with the placeholders back in their places.
    pub fn template(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.present.len());
        let mut copied = 0;
        for Place { token, range } in &self.places {
            text.extend_from_slice(&self.present[copied..range.start]);
            text.extend_from_slice(token.as_bytes());
            copied = range.end;
        }
        text.extend_from_slice(&self.present[copied..]);
        text
    }

    /// The present text with `values` in the recovered places, and in place of the tokens that stand in the
    /// user's own text. A recovered place whose token has no value there stays as it is. What is reported
    /// as replaced is what became another text.
    pub fn fill(&self, values: &Matcher) -> Substitution<'_> {
        let Filling { text, replaced, left_over, before: _, after: _ } = self.filling(values, values);
        let text = if replaced.is_empty() { Cow::Borrowed(self.present) } else { Cow::Owned(text) };
        Substitution { text, replaced, left_over }
    }

    /// The same for people: what becomes another text stands there as `shown` has it.
    pub fn fill_as(&self, values: &Matcher, shown: &Matcher) -> Vec<u8> {
        self.filling(values, shown).text
    }

    fn filling(&self, values: &Matcher, shown: &Matcher) -> Filling {
        let mut filling = Filling::default();
        let mut copied = 0;
        for Place { token, range } in &self.places {
            filling.text(&self.present[copied..range.start], shown);
            let present = &self.present[range.clone()];
            let is_same = values.value(token).is_none_or(|value| value.as_bytes() == present);
            let value = if is_same { present } else { shown.value(token).map_or(present, str::as_bytes) };
            filling.place(token, present, value);
            copied = range.end;
        }
        filling.text(&self.present[copied..], shown);
        filling
    }
}

/// A text that is put together piece by piece, with the positions so far.
struct Filling {
    text: Vec<u8>,
    replaced: Vec<Occurrence>,
    left_over: Vec<Occurrence>,
    before: Position,
    after: Position,
}

impl Default for Filling {
    fn default() -> Self {
        let (replaced, left_over) = (Vec::new(), Vec::new());
        Self { text: Vec::new(), replaced, left_over, before: Position::START, after: Position::START }
    }
}

impl Filling {
    fn text(&mut self, piece: &[u8], values: &Matcher) {
        let piece_values = substitute(piece, values);
        let (before, after) = (self.before, self.after);
        let moved = |Occurrence { token, before: there, after: then }| Occurrence {
            token,
            before: before.plus(there),
            after: after.plus(then),
        };
        self.replaced.extend(piece_values.replaced.into_iter().map(moved));
        self.left_over.extend(piece_values.left_over.into_iter().map(moved));
        self.before = self.before.after(piece);
        self.after = self.after.after(&piece_values.text);
        self.text.extend_from_slice(&piece_values.text);
    }

    fn place(&mut self, token: &str, present: &[u8], value: &[u8]) {
        if present != value {
            self.replaced.push(Occurrence { token: token.to_owned(), before: self.before, after: self.after });
        }
        self.before = self.before.after(present);
        self.after = self.after.after(value);
        self.text.extend_from_slice(value);
    }
}

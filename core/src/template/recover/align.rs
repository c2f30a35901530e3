//! Which bytes of a text are still there in a later one.
//!
//! Lines first; where lines differ, lines that are equal but for white space and comment signs; where
//! those differ too, bytes (`fine`).

use std::ops::Range;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::fine;

/// How far around a value its surroundings count.
const NEAR: usize = 200;

/// Bytes that stand in both texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) base: usize,
    pub(super) present: usize,
    pub(super) length: usize,
}

/// What of a base text stands where in the present one.
pub(super) struct Alignment<'t> {
    base: &'t [u8],
    atoms: &'t [Range<usize>],
    present: &'t [u8],
    /// In the order of both texts; those that touch in both are one.
    segments: Vec<Segment>,
}

/// A stretch of both texts that belongs together.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) base: Range<usize>,
    pub(super) present: Range<usize>,
}

impl<'t> Alignment<'t> {
    /// `atoms` are the ranges of `base` that are to be found whole, in their order.
    pub(super) fn new(base: &'t [u8], atoms: &'t [Range<usize>], present: &'t [u8]) -> Self {
        let mut alignment = Self { base, atoms, present, segments: Vec::new() };
        let whole = Stretch { base: 0..base.len(), present: 0..present.len() };
        alignment.by_lines(&whole, <[u8]>::to_vec, |alignment, stretch, same| {
            if same {
                alignment.push(stretch.base.start, stretch.present.start, stretch.base.len());
            } else {
                alignment.by_lines(stretch, essence, |alignment, stretch, _| alignment.by_bytes(stretch));
            }
        });
        alignment
    }

    /// Splits a stretch into pairs of lines that `key` says are the same, and what stands between them.
    fn by_lines(
        &mut self,
        stretch: &Stretch,
        key: impl Fn(&[u8]) -> Vec<u8>,
        mut take: impl FnMut(&mut Self, &Stretch, bool),
    ) {
        let old = Lines::new(self.base, &stretch.base, &key);
        let new = Lines::new(self.present, &stretch.present, &key);
        let (mut old_end, mut new_end) = (0, 0);
        for operation in capture_diff_slices(Algorithm::Patience, &old.keys, &new.keys) {
            let DiffOp::Equal { old_index, new_index, len } = operation else { continue };
            let between = Stretch { base: old.bytes(old_end..old_index), present: new.bytes(new_end..new_index) };
            if !between.base.is_empty() && !between.present.is_empty() {
                take(self, &between, false);
            }
            for line in 0..len {
                let base = old.bytes(old_index + line..old_index + line + 1);
                let present = new.bytes(new_index + line..new_index + line + 1);
                take(self, &Stretch { base, present }, true);
            }
            (old_end, new_end) = (old_index + len, new_index + len);
        }
        let rest = Stretch { base: old.bytes(old_end..old.count()), present: new.bytes(new_end..new.count()) };
        if !rest.base.is_empty() && !rest.present.is_empty() {
            take(self, &rest, false);
        }
    }

    fn by_bytes(&mut self, stretch: &Stretch) {
        let overlaps = |atom: &&Range<usize>| atom.start < stretch.base.end && stretch.base.start < atom.end;
        let first = self.atoms.partition_point(|atom| atom.end <= stretch.base.start);
        let atoms: Vec<_> = self.atoms[first..].iter().take_while(overlaps).cloned().collect();
        for Segment { base, present, length } in fine::align(self.base, &atoms, self.present, stretch) {
            self.push(base, present, length);
        }
    }

    fn push(&mut self, base: usize, present: usize, length: usize) {
        match self.segments.last_mut() {
            Some(last) if last.base + last.length == base && last.present + last.length == present => {
                last.length += length;
            }
            _ if length > 0 => self.segments.push(Segment { base, present, length }),
            _ => {}
        }
    }

    /// Where the range of the base stands in the present text, if it does, whole and in its place.
    pub(super) fn place(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let segment = self.segment_with(range)?;
        let start = segment.present + (range.start - segment.base);
        let place = start..start + range.len();
        (self.is_whole(range, &place) && self.is_at_home(range, &place)).then_some(place)
    }

    /// The segment that holds the range. For an empty one: with a byte at each side, where there is one.
    fn segment_with(&self, range: &Range<usize>) -> Option<Segment> {
        if self.base.is_empty() && self.present.is_empty() {
            return Some(Segment { base: 0, present: 0, length: 0 });
        }
        let index = self.segments.partition_point(|segment| segment.base + segment.length < range.end.max(1));
        let segment = *self.segments.get(index)?;
        let Segment { base, present, length } = segment;
        if !range.is_empty() {
            return (base <= range.start && range.end <= base + length).then_some(segment);
        }
        let starts = base < range.start || (range.start == 0 && base == 0 && present == 0);
        let ends =
            range.end < base + length || (range.end == self.base.len() && present + length == self.present.len());
        (starts && ends).then_some(segment)
    }

    /// Whether nothing grew onto the value that makes a longer word or number of it.
    fn is_whole(&self, range: &Range<usize>, place: &Range<usize>) -> bool {
        let value = &self.base[range.clone()];
        let before =
            |text: &[u8], at: usize| -> Vec<u8> { text[at.saturating_sub(2)..at].iter().rev().copied().collect() };
        let after = |text: &[u8], at: usize| -> Vec<u8> { text[at..text.len().min(at + 2)].to_vec() };
        let grown = |edge: Option<&u8>, was: Vec<u8>, is: Vec<u8>| {
            edge.is_some_and(|edge| was.first() != is.first() && continues(*edge, &is))
        };
        !grown(value.first(), before(self.base, range.start), before(self.present, place.start))
            && !grown(value.last(), after(self.base, range.end), after(self.present, place.end))
    }

    /// Whether at least half of what stands around the value in its lines still stands around it.
    fn is_at_home(&self, range: &Range<usize>, place: &Range<usize>) -> bool {
        let (total, kept) = self.surroundings(range, &line_around(self.present, place));
        total <= 2 * kept
    }

    /// Whether the lines in which the range stands are gone, or became others.
    pub(super) fn is_gone(&self, range: &Range<usize>) -> bool {
        let (total, kept) = self.surroundings(range, &(0..self.present.len()));
        total == 0 || 2 * kept < total
    }

    /// How many bytes stand around the range in its lines, white space and values apart, and how many of
    /// those stand in `there`.
    fn surroundings(&self, range: &Range<usize>, there: &Range<usize>) -> (usize, usize) {
        let line = line_around(self.base, range);
        // A line may be a whole file.
        let near = line.start.max(range.start.saturating_sub(NEAR))..line.end.min(range.end + NEAR);
        let mut counts = (0, 0);
        for at in near.filter(|at| !self.base[*at].is_ascii_whitespace() && !self.is_in_atom(*at)) {
            counts.0 += 1;
            counts.1 += usize::from(self.present_of(at).is_some_and(|at| there.contains(&at)));
        }
        counts
    }

    fn is_in_atom(&self, at: usize) -> bool {
        let index = self.atoms.partition_point(|atom| atom.end <= at);
        self.atoms[index..].iter().take_while(|atom| atom.start <= at).any(|atom| atom.contains(&at))
    }

    fn present_of(&self, at: usize) -> Option<usize> {
        let index = self.segments.partition_point(|segment| segment.base + segment.length <= at);
        let segment = self.segments.get(index)?;
        (segment.base <= at).then(|| segment.present + (at - segment.base))
    }

    /// The place of the present text up to which everything before `at` is accounted for.
    pub(super) fn near(&self, at: usize) -> usize {
        let index = self.segments.partition_point(|segment| segment.base < at);
        let Some(segment) = index.checked_sub(1).and_then(|index| self.segments.get(index)) else { return 0 };
        segment.present + segment.length.min(at - segment.base)
    }
}

/// Whether text that follows (or, reversed, precedes) `edge` makes one word or number with it.
fn continues(edge: u8, text: &[u8]) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    match text {
        [first, ..] if is_word(edge) && is_word(*first) => true,
        [b'.', second, ..] => edge.is_ascii_digit() && second.is_ascii_digit(),
        _ => false,
    }
}

/// The lines that the range touches, without their last line break.
fn line_around(text: &[u8], range: &Range<usize>) -> Range<usize> {
    let start = text[..range.start].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = text[range.end..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| range.end + at);
    start..end
}

/// A line without what reformatting and commenting out change.
fn essence(line: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = line.iter().filter(|byte| !byte.is_ascii_whitespace()).copied().collect();
    let start = text.iter().position(|byte| !matches!(byte, b'#' | b'/')).unwrap_or(text.len());
    text[start..].to_vec()
}

struct Lines {
    keys: Vec<Vec<u8>>,
    /// Where each line starts, and where the last one ends.
    starts: Vec<usize>,
}

impl Lines {
    fn new(text: &[u8], range: &Range<usize>, key: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let mut starts = vec![range.start];
        let mut keys = Vec::new();
        for line in text[range.clone()].split_inclusive(|byte| *byte == b'\n') {
            keys.push(key(line));
            starts.push(starts[starts.len() - 1] + line.len());
        }
        Self { keys, starts }
    }

    fn count(&self) -> usize {
        self.keys.len()
    }

    fn bytes(&self, lines: Range<usize>) -> Range<usize> {
        self.starts[lines.start]..self.starts[lines.end]
    }
}

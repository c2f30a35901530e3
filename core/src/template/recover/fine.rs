//! Alignment of a few lines, byte by byte, in which a value counts as one unbreakable unit.

use std::ops::Range;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::align::{Segment, Stretch};

/// The largest table of the exact alignment; beyond it words are aligned instead of bytes.
const LARGEST_TABLE: usize = 4 * 1024 * 1024;

/// The segments in which the stretch of `present` is the stretch of `base`. `atoms` are the values that
/// the stretch of `base` holds, wholly or in part.
pub(super) fn align(base: &[u8], atoms: &[Range<usize>], present: &[u8], stretch: &Stretch) -> Vec<Segment> {
    if atoms.is_empty() {
        return Vec::new();
    }
    let units = units(atoms, &stretch.base);
    let start = common_start(base, &units, present, &stretch.present);
    let end = common_end(base, &units[start.units..], present, start.bytes..stretch.present.end);
    let between = start.bytes..end.bytes;
    let middle = &units[start.units..units.len() - end.units];

    let mut segments = one_by_one(&units[..start.units], stretch.present.start);
    segments.extend(if middle.len().saturating_mul(between.len()) <= LARGEST_TABLE {
        best(base, middle, present, &between)
    } else {
        words(base, middle, present, &between)
    });
    segments.extend(one_by_one(&units[units.len() - end.units..], end.bytes));
    segments
}

/// A byte, or a whole value.
struct Unit {
    range: Range<usize>,
    weight: u32,
}

impl Unit {
    fn byte(at: usize) -> Self {
        Self { range: at..at + 1, weight: 2 }
    }

    fn value(range: Range<usize>) -> Self {
        let weight = u32::try_from(range.len()).unwrap_or(u32::MAX / 4).saturating_mul(2).saturating_add(3);
        Self { range, weight }
    }
}

fn units(atoms: &[Range<usize>], stretch: &Range<usize>) -> Vec<Unit> {
    let mut units = Vec::with_capacity(stretch.len());
    let mut at = stretch.start;
    for atom in atoms.iter().filter(|atom| stretch.start <= atom.start && atom.end <= stretch.end && !atom.is_empty()) {
        units.extend((at..atom.start).map(Unit::byte));
        units.push(Unit::value(atom.clone()));
        at = atom.end;
    }
    units.extend((at..stretch.end).map(Unit::byte));
    units
}

struct Common {
    units: usize,
    /// Up to where, or from where, the present text is covered.
    bytes: usize,
}

fn common_start(base: &[u8], units: &[Unit], present: &[u8], within: &Range<usize>) -> Common {
    let mut common = Common { units: 0, bytes: within.start };
    for unit in units {
        if !present[common.bytes..within.end].starts_with(&base[unit.range.clone()]) {
            break;
        }
        common = Common { units: common.units + 1, bytes: common.bytes + unit.range.len() };
    }
    common
}

fn common_end(base: &[u8], units: &[Unit], present: &[u8], within: Range<usize>) -> Common {
    let mut common = Common { units: 0, bytes: within.end };
    for unit in units.iter().rev() {
        if !present[within.start..common.bytes].ends_with(&base[unit.range.clone()]) {
            break;
        }
        common = Common { units: common.units + 1, bytes: common.bytes - unit.range.len() };
    }
    common
}

fn one_by_one(units: &[Unit], present: usize) -> Vec<Segment> {
    let mut at = present;
    let segment = |unit: &Unit| {
        let segment = Segment { base: unit.range.start, present: at, length: unit.range.len() };
        at += unit.range.len();
        segment
    };
    units.iter().map(segment).collect()
}

/// The heaviest common subsequence: a value outweighs the bytes that could be matched instead of it.
fn best(base: &[u8], units: &[Unit], present: &[u8], within: &Range<usize>) -> Vec<Segment> {
    let text = &present[within.clone()];
    let columns = text.len() + 1;
    // Row by row from the end: what can still be won from here on.
    let mut table = vec![0_u32; (units.len() + 1) * columns];
    let matches = |unit: &Unit, at: usize| text[at..].starts_with(&base[unit.range.clone()]);
    for (row, unit) in units.iter().enumerate().rev() {
        for at in (0..columns).rev() {
            let mut won = table[(row + 1) * columns + at];
            if at + 1 < columns {
                won = won.max(table[row * columns + at + 1]);
            }
            if matches(unit, at) {
                won = won.max(unit.weight + table[(row + 1) * columns + at + unit.range.len()]);
            }
            table[row * columns + at] = won;
        }
    }
    let (mut segments, mut row, mut at) = (Vec::new(), 0, 0);
    while row < units.len() && at < columns {
        let unit = &units[row];
        let won = table[row * columns + at];
        if matches(unit, at) && won == unit.weight + table[(row + 1) * columns + at + unit.range.len()] {
            segments.push(Segment { base: unit.range.start, present: within.start + at, length: unit.range.len() });
            at += unit.range.len();
            row += 1;
        } else if won == table[(row + 1) * columns + at] {
            row += 1;
        } else {
            at += 1;
        }
    }
    segments
}

/// For long stretches: a value is found where it is made of whole words.
fn words(base: &[u8], units: &[Unit], present: &[u8], within: &Range<usize>) -> Vec<Segment> {
    let (Some(first), Some(last)) = (units.first(), units.last()) else { return Vec::new() };
    let old = split(base, first.range.start..last.range.end);
    let new = split(present, within.clone());
    let text = |source: &'_ [u8], words: &[Range<usize>]| -> Vec<Vec<u8>> {
        words.iter().map(|word| source[word.clone()].to_vec()).collect()
    };
    capture_diff_slices(Algorithm::Myers, &text(base, &old), &text(present, &new))
        .into_iter()
        .flat_map(|operation| match operation {
            DiffOp::Equal { old_index, new_index, len } => (0..len)
                .map(|word| Segment {
                    base: old[old_index + word].start,
                    present: new[new_index + word].start,
                    length: old[old_index + word].len(),
                })
                .collect(),
            _ => Vec::new(),
        })
        .collect()
}

fn split(text: &[u8], range: Range<usize>) -> Vec<Range<usize>> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let mut words: Vec<Range<usize>> = Vec::new();
    for at in range {
        match words.last_mut() {
            Some(word) if is_word(text[at]) && is_word(text[at - 1]) => word.end = at + 1,
            _ => words.push(at..at + 1),
        }
    }
    words
}

//! Names in values: expanded once, transitively, with every cycle shown.

use super::{Entry, Problem, ProblemKind, parse::Definition};
use crate::{
    setup_conf::Place,
    template::{Found, Occurrence, Tokens},
};

/// All expanded values together stay below this; a few lines that double each other would not.
const LONGEST_EXPANSION: usize = 16 * 1024 * 1024;

/// Expands every value. Gives the entries in the definitions' order and the placeholders in values that
/// have no value; what cannot be expanded is added to `problems`.
pub(super) fn expand(definitions: Vec<Definition>, problems: &mut Vec<Problem>) -> (Vec<Entry>, Vec<Occurrence>) {
    let Ok(tokens) = Tokens::new(definitions.iter().map(|definition| definition.token.as_str())) else {
        // Parsing lets no empty name through, and the file is smaller than the automaton's limit.
        return (Vec::new(), Vec::new());
    };
    let found: Vec<Vec<Found>> =
        definitions.iter().map(|definition| tokens.find(definition.value.as_bytes())).collect();
    let mentions: Vec<Vec<usize>> = found.iter().map(|found| known(found)).collect();
    let left_over = left_over(&definitions, &found);

    let (order, cycles) = dependencies_first(&mentions);
    for cycle in &cycles {
        let tokens = cycle.iter().map(|index| definitions[*index].token.clone()).collect();
        problems.push(Problem { place: definitions[cycle[0]].place, kind: ProblemKind::Cycle { tokens } });
    }
    let values = if cycles.is_empty() { values(&definitions, &found, &order, problems) } else { Vec::new() };
    let entries = definitions
        .into_iter()
        .zip(mentions)
        .zip(values)
        .map(|((Definition { token, place, value: _, value_at: _ }, mentions), value)| Entry {
            token,
            value,
            place,
            mentions,
        })
        .collect();
    (entries, left_over)
}

fn known(found: &[Found]) -> Vec<usize> {
    let mut indices: Vec<usize> = found
        .iter()
        .filter_map(|found| match found {
            Found::Known(index, _) => Some(*index),
            Found::LeftOver(_) => None,
        })
        .collect();
    indices.sort_unstable();
    indices.dedup();
    indices
}

fn left_over(definitions: &[Definition], found: &[Vec<Found>]) -> Vec<Occurrence> {
    let mut left_over = Vec::new();
    for (definition, found) in definitions.iter().zip(found) {
        for place in found {
            if let Found::LeftOver(range) = place {
                let position = definition.value_at.after(&definition.value.as_bytes()[..range.start]);
                let token = definition.value[range.clone()].to_owned();
                left_over.push(Occurrence { token, before: position, after: position });
            }
        }
    }
    left_over
}

/// An order in which every value comes behind those it mentions, and the cycles that prevent one; each
/// starts and ends with the same index. Depth first without recursion: a file may be a long chain.
fn dependencies_first(mentions: &[Vec<usize>]) -> (Vec<usize>, Vec<Vec<usize>>) {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        OnPath,
        Done,
    }
    let mut states = vec![State::New; mentions.len()];
    let (mut order, mut cycles) = (Vec::new(), Vec::new());
    for root in 0..mentions.len() {
        if states[root] != State::New {
            continue;
        }
        states[root] = State::OnPath;
        let mut path = vec![(root, mentions[root].iter())];
        while let Some((node, rest)) = path.last_mut() {
            let node = *node;
            let Some(next) = rest.next().copied() else {
                states[node] = State::Done;
                order.push(node);
                path.pop();
                continue;
            };
            match states[next] {
                State::New => {
                    states[next] = State::OnPath;
                    path.push((next, mentions[next].iter()));
                }
                State::OnPath => {
                    let way = path.iter().map(|(node, _)| *node).skip_while(|node| *node != next);
                    cycles.push(way.chain([next]).collect());
                }
                State::Done => {}
            }
        }
    }
    (order, cycles)
}

fn values(
    definitions: &[Definition],
    found: &[Vec<Found>],
    order: &[usize],
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let mut values = vec![String::new(); definitions.len()];
    let mut budget = LONGEST_EXPANSION;
    for index in order {
        let Definition { token, value: written, place, value_at: _ } = &definitions[*index];
        let replaced: Vec<_> = found[*index]
            .iter()
            .filter_map(|found| match found {
                Found::Known(mentioned, range) => Some((*mentioned, range.clone())),
                Found::LeftOver(_) => None,
            })
            .collect();
        let inserted: usize = replaced.iter().map(|(mentioned, _)| values[*mentioned].len()).sum();
        if inserted > budget {
            problems.push(too_long(token, *place));
            continue;
        }
        budget -= inserted;
        let mut value = String::with_capacity(written.len() + inserted);
        let mut copied = 0;
        for (mentioned, range) in replaced {
            value.push_str(&written[copied..range.start]);
            value.push_str(&values[mentioned]);
            copied = range.end;
        }
        value.push_str(&written[copied..]);
        values[*index] = value;
    }
    values
}

fn too_long(token: &str, place: Place) -> Problem {
    Problem { place, kind: ProblemKind::TooLong { token: token.to_owned() } }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::setup_conf::SetupConf;

    fn value_of_last(text: &str) -> String {
        SetupConf::parse(text.as_bytes(), &[]).unwrap().entries().last().unwrap().value.clone()
    }

    #[test]
    fn names_in_values_are_expanded_transitively() {
        for (text, expected) in [
            ("<<__a__>>=1\n<<__b__>>=<<__a__>>", "1"),
            ("<<__c__>>=3<<__b__>>\n<<__b__>>=2<<__a__>>2\n<<__a__>>=1\n<<__d__>>=<<__c__>>.<<__c__>>", "3212.3212"),
            ("<<__a__>>=ü\n<<__b__>>=ö<<__a__>>ö", "öüö"),
            ("<<__a__>>=x&\\1\n<<__b__>>=<<__nobody__>>", "<<__nobody__>>"),
            // What an expansion puts together is not looked at again.
            ("<<__o__>>=<<\n<<__x__>>=no\n<<__b__>>=<<__o__>>__x__>>", "<<__x__>>"),
        ] {
            assert_eq!(value_of_last(text), expected, "{text}");
        }
    }

    #[test]
    fn a_cycle_is_shown() {
        for (text, expected) in [
            ("<<__a__>>=<<__a__>>", "1:1: values that contain each other cannot be expanded: <<__a__>> -> <<__a__>>"),
            (
                "<<__x__>>=<<__a__>>\n<<__a__>>=<<__b__>>\n<<__b__>>=-<<__c__>>\n<<__c__>>=<<__a__>>",
                "2:1: values that contain each other cannot be expanded: \
                 <<__a__>> -> <<__b__>> -> <<__c__>> -> <<__a__>>",
            ),
        ] {
            assert_eq!(SetupConf::parse(text.as_bytes(), &[]).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn placeholders_without_value_in_values_are_found() {
        let conf = SetupConf::parse("# x\n<<__a__>>=ü <<__nobody__>>".as_bytes(), &[]).unwrap();
        let left_over = conf.left_over();
        assert_eq!(left_over.len(), 1);
        assert_eq!((left_over[0].token.as_str(), left_over[0].before.to_string()), ("<<__nobody__>>", "2:13".into()));
    }

    #[test]
    fn growth_without_measure_is_an_error() {
        let mut text = "<<__0__>>=0123456789\n".to_owned();
        for index in 1..40 {
            let previous = format!("<<__{}__>>", index - 1);
            writeln!(text, "<<__{index}__>>={}", previous.repeat(10)).unwrap();
        }
        let problems = SetupConf::parse(text.as_bytes(), &[]).unwrap_err();
        assert!(problems.to_string().contains("gets too long"), "{problems}");
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let mut text = "<<__0__>>=end\n".to_owned();
        for index in 1..20_000 {
            writeln!(text, "<<__{index}__>>=<<__{}__>>", index - 1).unwrap();
        }
        assert_eq!(value_of_last(&text), "end");
    }
}

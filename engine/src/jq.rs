//! jq path expressions, evaluated in a child process.
//!
//! An expression comes from whoever may write an Application, and jq is a whole language: it can loop, recurse and
//! allocate without end. So it runs in the same program again, with an empty environment, two seconds of time and a
//! bounded memory. One child answers all expressions of an Application.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use gitmoor_core::ignore::ValuePath;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Ctx, Vars, data, unwrap_valr};
use jaq_json::Val;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::process::{self, Invocation, Limits, ProcessError};

/// The hidden subcommand that has to end in [`child_main`].
pub const SUBCOMMAND: &str = "jq-paths";

/// Bytes of an expression.
const LONGEST: usize = 8 << 10;
/// Paths that one expression may give.
const MOST_PATHS: usize = 10_000;

/// Expressions about one object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Query {
    /// The object.
    pub object: Value,
    /// jq path expressions, such as `.spec.template.spec.containers[].image`.
    pub expressions: Vec<String>,
}

/// An expression could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum JqError {
    /// It is none.
    #[error("`{expression}` is no jq path expression: {reason}")]
    Malformed {
        /// The expression.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It does not end, or needs too much.
    #[error("the jq expressions do not end within {} seconds, or need more than {} MiB: {reason}", TIME.as_secs(), MEMORY >> 20)]
    Exhausted {
        /// How it ended.
        reason: String,
    },
}

const TIME: Duration = Duration::from_secs(2);
const MEMORY: u64 = 256 << 20;

#[derive(Serialize, Deserialize)]
enum Answer {
    Paths(Vec<Vec<ValuePath>>),
    Malformed { expression: String, reason: String },
}

/// The paths that the expressions name in each object. What an expression cannot reach in an object names nothing.
///
/// # Errors
/// When an expression is none, does not end in time, or needs too much memory.
pub async fn paths(program: PathBuf, queries: &[Query]) -> Result<Vec<Vec<ValuePath>>, JqError> {
    let exhausted = |reason: String| JqError::Exhausted { reason };
    let input = serde_json::to_vec(queries).map_err(|error| exhausted(error.to_string()))?;
    let invocation = Invocation {
        program,
        arguments: vec![SUBCOMMAND.into()],
        environment: Vec::new(),
        folder: "/".into(),
        stdin: Some(input),
        limits: Limits { time: TIME, cpu_seconds: TIME.as_secs(), memory: MEMORY, file_size: 0, ..Limits::default() },
    };
    let output = process::run(invocation).await.map_err(|error| exhausted(ended(&error)))?;
    match serde_json::from_slice(&output.stdout).map_err(|error| exhausted(error.to_string()))? {
        Answer::Paths(paths) => Ok(paths),
        Answer::Malformed { expression, reason } => Err(JqError::Malformed { expression, reason }),
    }
}

/// How the child ended, without what it said: that may quote the object.
fn ended(error: &ProcessError) -> String {
    match error {
        ProcessError::Failed { status, .. } => status.to_string(),
        other => other.category().to_owned(),
    }
}

/// The child: queries on stdin, paths on stdout.
pub fn child_main() -> ExitCode {
    let mut input = Vec::new();
    let read = std::io::stdin().read_to_end(&mut input).ok().and_then(|_| serde_json::from_slice(&input).ok());
    let Some(queries): Option<Vec<Query>> = read else { return ExitCode::FAILURE };
    let answer = match queries.iter().map(answer).collect() {
        Ok(paths) => Answer::Paths(paths),
        Err(malformed) => malformed,
    };
    let written = serde_json::to_vec(&answer).is_ok_and(|answer| std::io::stdout().write_all(&answer).is_ok());
    if written { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn answer(query: &Query) -> Result<Vec<ValuePath>, Answer> {
    let object = query.object.to_string();
    let mut found = Vec::new();
    for expression in &query.expressions {
        let malformed = |reason: String| Answer::Malformed { expression: expression.clone(), reason };
        if expression.len() > LONGEST {
            return Err(malformed(format!("it has more than {LONGEST} bytes")));
        }
        let input = jaq_json::read::parse_single(object.as_bytes()).map_err(|error| malformed(error.to_string()))?;
        found.extend(evaluate(expression, input).map_err(malformed)?);
    }
    Ok(found)
}

fn evaluate(expression: &str, input: Val) -> Result<Vec<ValuePath>, String> {
    // The line end closes a comment.
    let code = format!("path({expression}\n)");
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let program = File { code: code.as_str(), path: () };
    let modules = Loader::new(definitions).load(&arena, program).map_err(|_| "it cannot be parsed".to_owned())?;
    let filter = jaq_core::Compiler::default().with_funs(functions).compile(modules);
    let filter = filter.map_err(|errors| undefined(&errors))?;
    let context = Ctx::<data::JustLut<Val>>::new(&filter.lut, Vars::new([]));
    let outputs = filter.id.run((context, input)).map(unwrap_valr).take(MOST_PATHS);
    // Where the object has no such field there is nothing to ignore.
    Ok(outputs.map_while(Result::ok).filter_map(|path| serde_json::from_str(&path.to_string()).ok()).collect())
}

fn undefined<S: std::fmt::Display, P, R>(errors: &[(P, Vec<(S, R)>)]) -> String {
    let names: Vec<String> = errors.iter().flat_map(|(_, found)| found).map(|(name, _)| name.to_string()).collect();
    format!("{} is not defined", names.join(", "))
}

#[cfg(test)]
mod tests {
    use gitmoor_core::ignore::Part;
    use serde_json::json;

    use super::*;

    fn found(expression: &str) -> Result<Vec<String>, String> {
        let object = json!({"spec": {"replicas": 2, "containers": [
            {"name": "web", "image": "web:1"}, {"name": "proxy", "image": "proxy:1"},
        ]}});
        let query = Query { object, expressions: vec![expression.to_owned()] };
        let shown = |path: ValuePath| {
            let part = |part: Part| match part {
                Part::Index(index) => index.to_string(),
                Part::Key(key) => key,
            };
            path.into_iter().map(part).collect::<Vec<_>>().join("/")
        };
        match answer(&query) {
            Ok(paths) => Ok(paths.into_iter().map(shown).collect()),
            Err(Answer::Malformed { reason, .. }) => Err(reason),
            Err(Answer::Paths(_)) => unreachable!(),
        }
    }

    #[test]
    fn expressions_name_paths() {
        for (expression, paths) in [
            (".spec.replicas", vec!["spec/replicas"]),
            (".spec.containers[].image", vec!["spec/containers/0/image", "spec/containers/1/image"]),
            (".spec.containers[] | select(.name == \"proxy\")", vec!["spec/containers/1"]),
            (".spec.containers[] | select(.name | test(\"^w\")) | .image", vec!["spec/containers/0/image"]),
            (".spec.containers[1:][].image # the rest", vec![]),
            (".spec.replicas, .spec[\"containers\"][0].name", vec!["spec/replicas", "spec/containers/0/name"]),
            (".spec.volumes[].name", vec![]),
            ("..|.image?", vec!["image"]),
        ] {
            let found = found(expression).unwrap();
            for path in paths {
                assert!(found.iter().any(|found| found.ends_with(path)), "{expression}: {found:?}");
            }
        }
    }

    #[test]
    fn what_is_no_expression_is_said() {
        assert_eq!(found(".spec.[").unwrap_err(), "it cannot be parsed");
        assert_eq!(found("nonsense(.a)").unwrap_err(), "nonsense is not defined");
        assert!(found(&".a|".repeat(5000)).is_err());
    }
}

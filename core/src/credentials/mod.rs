//! Credentials by declaration: `credentials.yaml` says what is generated and where it goes.
//!
//! ```text
//! text -Credentials::read-> values (a graph), Secrets, plain values
//!   + what is sealed already + what is asked for -plan-> what is written, what is generated
//!   + inputs + randomness -Values::new-> values -> Secrets to seal, plain values to put into files
//! ```
//!
//! Nobody can read a sealed value again. So a value that several keys share is renewed in all of them or in none, and
//! [`plan`] works out which that are.

mod declaration;
mod generate;
mod generator;
mod plan;
mod template;
mod values;

#[cfg(test)]
mod tests;

pub use declaration::{Credentials, Plain, Problem, SecretDeclaration};
pub use generate::{GenerateError, Random, SystemRandom};
pub use generator::{Algorithm, Fallback, Generator, Input, Part, RandomText, Reference};
pub use plan::{Plan, PlanError, Request, Situation, Unasked, plan};
pub use template::{Filter, Template, TemplateError};
pub use values::{Given, Values};

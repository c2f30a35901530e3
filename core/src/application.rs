//! The Application, as its users write it.

//! A verb that did not do what it was asked: the code, what happened, and the way out.

use super::{Format, Global};
use crate::exit::Exit;

/// Why a verb ends with another code than 0.
#[derive(Debug)]
pub(super) struct Failure {
    /// The code.
    pub(super) exit: Exit,
    /// What happened.
    pub(super) text: String,
    /// What the operator can do.
    pub(super) way_out: Option<String>,
}

impl Failure {
    /// A failure without advice.
    pub(super) fn new(exit: Exit, text: impl ToString) -> Failure {
        Failure {
            exit,
            text: text.to_string(),
            way_out: None,
        }
    }

    /// The same with advice.
    pub(super) fn way_out(mut self, text: impl Into<String>) -> Failure {
        self.way_out = Some(text.into());
        self
    }

    /// Tells it on stderr, and on stdout too if JSON is asked for.
    pub(super) fn tell(&self, global: &Global) {
        super::talk(format_args!("baton: {}", self.text));
        if let Some(way_out) = &self.way_out {
            super::talk(format_args!("way out: {way_out}"));
        }
        if global.format != Format::Table {
            let value = serde_json::json!({
                "schema": "baton.failure/1", "exit_code": self.exit.code(),
                "error": self.text, "way_out": self.way_out,
            });
            super::print(&value.to_string());
        }
    }
}

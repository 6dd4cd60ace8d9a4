//! The way back: in an upgrade by its own means, later by an upgrade to what forwarded before.

use super::Driver;
use super::jobs::Source;
use crate::exit::Exit;
use crate::receipt::Receipt;
use crate::state::{Event, State};

impl Driver {
    /// In the upgrade: back by one swap, or by ending the newer one. Later: an upgrade to the
    /// binary that forwarded before.
    pub(super) fn on_rollback(&mut self, id: u64, revision: Option<u64>, argv: Vec<String>) {
        let open = matches!(
            self.machine.state,
            State::Plan
                | State::Export
                | State::Spawn
                | State::Attach
                | State::Migrate
                | State::Warm
                | State::Swap(_)
                | State::Soak
        );
        // What is asked for is under way: the answer is the same receipt.
        let returning = matches!(
            self.machine.state,
            State::Prepare { .. } | State::Back(_) | State::Leaving { .. } | State::Ending { .. }
        );
        if (open || returning) && revision.is_none() {
            if let Some(record) = &mut self.record {
                record.watchers.push(id);
                if let Some(from) = &record.from {
                    let text = format!(
                        "back to {} (generation {})",
                        from.version.clone().unwrap_or_default(),
                        from.generation.unwrap_or(0)
                    );
                    self.tell("rollback", None, &text);
                }
            }
            if open {
                self.event(Event::Rollback);
            }
            return;
        }
        if self.machine.state != State::Forwarding || self.record.is_some() {
            return self.busy(id);
        }
        match self.former(revision) {
            Ok((sha256, name)) => {
                self.begin_upgrade(id, "rollback", Source::Kept(sha256), name, None, argv)
            }
            Err(why) => self.say(
                id,
                Exit::Refused,
                why,
                Some(format!("baton history {}", self.paths.prefix)),
            ),
        }
    }

    /// The binary that forwarded before the newest commit, or after the named receipt.
    fn former(&self, revision: Option<u64>) -> Result<(String, String), String> {
        use crate::state::Verdict::{Committed, TookOver};
        let named = |receipt: &Receipt| {
            let program = match receipt.verdict {
                Committed | TookOver if revision.is_some() => receipt.to.clone(),
                _ => receipt.from.clone(),
            };
            program.map(|program| {
                (
                    program.binary_sha256,
                    program
                        .version
                        .unwrap_or_else(|| "the former binary".into()),
                )
            })
        };
        if let Some(number) = revision {
            let entry = self
                .history
                .read(number)
                .map_err(|error| error.to_string())?;
            return named(&entry.receipt)
                .ok_or_else(|| format!("receipt #{number} names no binary"));
        }
        for number in self.history.numbers().into_iter().rev() {
            // One that cannot be read may be the newest commit: an older one is not taken in its place.
            let entry = self.history.read(number).map_err(|error| {
                let prefix = &self.paths.prefix;
                format!("{error}; or name the receipt whose binary is meant: baton rollback {prefix} NUMBER")
            })?;
            if entry.receipt.verdict == Committed {
                return named(&entry.receipt)
                    .ok_or_else(|| format!("receipt #{number} names no binary"));
            }
        }
        Err("there is no earlier version: nothing was committed yet".to_owned())
    }
}

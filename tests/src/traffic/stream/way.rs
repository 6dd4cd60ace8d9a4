//! One end of a run: what it sends, and what arrived there.

use super::StreamError;
use crate::traffic::frame::{self, Kind, Mac, Seen, Sums};
use crate::traffic::pace::Pacer;
use crate::traffic::socket::{Received, Sender, Sink};
use crate::traffic::tally::Tally;

/// One end: its sockets and its address on the link.
#[derive(Debug)]
pub struct End {
    /// Sends.
    pub sender: Sender,
    /// Receives.
    pub sink: Sink,
    /// The interface's own address.
    pub mac: Mac,
}

/// One end with the counts of the direction it sends, and of the direction it receives.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) end: End,
    pub(super) batch: Vec<Vec<u8>>,
    pub(super) sent: Vec<u64>,
    pub(super) refused: u64,
    pub(super) arrived: Tally,
    pub(super) steady: Lane,
    pub(super) seldom: Lane,
}

/// Flows that share a rate, in turn.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) pacer: Pacer,
    first: u32,
    count: u32,
    cursor: u32,
}

impl Lane {
    pub(super) fn new(first: u32, count: u32, rate: u64, start_ns: u64) -> Lane {
        Lane {
            pacer: Pacer::new(if count == 0 { 0 } else { rate }, start_ns),
            first,
            count,
            cursor: 0,
        }
    }

    pub(super) fn flow(&mut self) -> u32 {
        let flow = self.first + self.cursor;
        self.cursor = (self.cursor + 1) % self.count;
        flow
    }
}

impl Way {
    /// Sends the first so many frames of the batch.
    pub(super) fn flush(&mut self, used: usize) -> Result<(), StreamError> {
        let refused = self.end.sender.send(&mut self.batch[..used]);
        self.refused += refused.map_err(|source| StreamError::Send {
            end: self.name,
            source,
        })?;
        Ok(())
    }
}

/// What the bytes are, unless they are damaged.
pub(super) fn judge_bytes(received: &Received<'_>, tally: &mut Tally) -> Option<Seen> {
    let Some(seen) = frame::read(received.bytes) else {
        tally.bad_checksum(); // the filter let it through, so it was one of ours
        return None;
    };
    match (seen.sums, received.unfinished) {
        (Sums::Right, _) => Some(seen),
        (Sums::Unfinished, true) => {
            tally.unfinished();
            Some(seen)
        }
        _ => {
            tally.bad_checksum();
            None
        }
    }
}

//! What the traffic program prints: one JSON object a line.

use serde::{Deserialize, Serialize};

/// A line to the program's standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Begin the sequenced stream (all flows are open by then).
    Start,
    /// Note the time and the counts under a name.
    Mark {
        /// The name.
        name: String,
    },
    /// Stop sending, drain, judge, print the report, end.
    Stop,
}

/// A line from the program's standard output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Every flow has been opened and learned.
    Ready {
        /// How many.
        flows: u64,
        /// How long it took.
        milliseconds: u64,
    },
    /// The sequenced stream runs.
    Started,
    /// A mark was set.
    Marked(Mark),
    /// The judgement; the last line.
    Report(Box<Report>),
}

/// Counts at a named moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The name.
    pub name: String,
    /// Wall clock.
    pub at_ns: u64,
    /// Packets sent so far, both directions.
    pub sent: u64,
    /// Packets received so far, both directions.
    pub received: u64,
    /// Longest time without a packet since the mark before, client to server.
    pub gap_up_ns: u64,
    /// The same, server to client.
    pub gap_down_ns: u64,
}

/// The judgement of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Length of the sequenced stream.
    pub seconds: f64,
    /// Packets/s asked for, both directions together.
    pub rate_asked: u64,
    /// Packets/s reached.
    pub rate_reached: u64,
    /// Flows that carry the rate.
    pub flows: u64,
    /// Further flows, refreshed seldom.
    pub sessions: u64,
    /// Flows whose outside address or port changed: their session was lost.
    pub moved: u64,
    /// Client to server.
    pub up: Direction,
    /// Server to client.
    pub down: Direction,
    /// Marks set in the run.
    pub marks: Vec<Mark>,
}

/// One direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction {
    /// Packets the sender numbered.
    pub sent: u64,
    /// Of those, packets the kernel refused at once (the neighbour's queue was full).
    pub refused: u64,
    /// Packets due in a pause of the generator too long to make up for; never numbered.
    pub forgiven: u64,
    /// What arrived.
    pub arrived: Arrived,
    /// Packets the sink's ring had no room for.
    pub ring_drops: u64,
}

/// What arrived at one end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrived {
    /// Different packets.
    pub received: u64,
    /// Sent and never received.
    pub lost: u64,
    /// Received again.
    pub duplicated: u64,
    /// Received after a higher number of the same flow.
    pub reordered: u64,
    /// Received by the wrong address, port or flow.
    pub misdelivered: u64,
    /// Received with a wrong checksum; not counted as received.
    pub bad_checksums: u64,
    /// Received with an unfinished checksum, marked so by the kernel.
    pub unfinished_checksums: u64,
    /// First arrival, wall clock.
    pub first_ns: Option<u64>,
    /// Last arrival.
    pub last_ns: Option<u64>,
    /// Longest time without a packet since the last mark.
    pub gap_ns: u64,
    /// Longest time without a packet (the sender's batches included).
    pub gap_max_ns: u64,
    /// Longest time from sending to arrival.
    pub delay_max_ns: u64,
    /// Some of the flows that lost, with the first number missing.
    pub losers: Vec<(u32, u64)>,
}

impl Report {
    /// Sent, both directions.
    pub fn sent(&self) -> u64 {
        self.up.sent + self.down.sent
    }

    /// A count of arrivals, both directions.
    pub fn both(&self, count: impl Fn(&Arrived) -> u64) -> u64 {
        count(&self.up.arrived) + count(&self.down.arrived)
    }

    /// Whether nothing at all went wrong.
    pub fn is_clean(&self) -> bool {
        self.sent() > 0
            && self.moved == 0
            && self.both(|a| a.lost + a.duplicated + a.reordered + a.misdelivered + a.bad_checksums)
                == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_as_they_were_written() {
        let mark = Command::Mark {
            name: "upgrade".into(),
        };
        let line = serde_json::to_string(&mark).expect("plain data");
        assert_eq!(line, r#"{"command":"mark","name":"upgrade"}"#);
        assert_eq!(
            serde_json::from_str::<Command>(&line).expect("our own line"),
            mark
        );
        let event = Event::Report(Box::default());
        let line = serde_json::to_string(&event).expect("plain data");
        assert_eq!(
            serde_json::from_str::<Event>(&line).expect("our own line"),
            event
        );
    }

    #[test]
    fn a_run_that_sent_nothing_is_not_clean() {
        let mut report = Report::default();
        assert!(!report.is_clean());
        report.up.sent = 1;
        report.up.arrived.received = 1;
        assert!(report.is_clean());
        report.down.arrived.reordered = 1;
        assert!(!report.is_clean());
    }
}

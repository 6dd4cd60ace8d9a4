//! Before the stream: every flow says hello until the server has seen it.

use std::time::{Duration, Instant};

use super::{Stream, StreamError};
use crate::traffic::frame::{self, Kind, Probe};
use crate::traffic::pace::BATCH;
use crate::traffic::report::Event;

impl Stream {
    /// Opens every flow: says hello on those that the server has not seen, again and again until the deadline.
    pub fn open(&mut self) -> Result<Event, StreamError> {
        let started = Instant::now();
        let flows = self.learned.len() as u64;
        let mut retry = Duration::from_millis(100);
        while started.elapsed() < self.plan.open_within {
            self.hello_round()?;
            let wait = Instant::now();
            while self.opened < flows && wait.elapsed() < retry {
                std::thread::sleep(Duration::from_millis(2));
                self.receive();
            }
            if self.opened == flows {
                return Ok(Event::Ready {
                    flows,
                    milliseconds: started.elapsed().as_millis() as u64,
                });
            }
            retry = (retry * 2).min(Duration::from_secs(1));
        }
        let missing = self.learned.iter().position(Option::is_none).unwrap_or(0) as u32;
        Err(StreamError::NotOpened {
            learned: self.opened,
            flows,
            waited: started.elapsed(),
            missing,
        })
    }

    fn hello_round(&mut self) -> Result<(), StreamError> {
        let missing = self
            .learned
            .iter()
            .enumerate()
            .filter(|(_, known)| known.is_none());
        let missing: Vec<u32> = missing.map(|(flow, _)| flow as u32).collect();
        for batch in missing.chunks(BATCH) {
            for (buffer, &flow) in self.client.batch.iter_mut().zip(batch) {
                let header = self.plan.header(self.client.end.mac, self.gateway, flow);
                let probe = Probe {
                    kind: Kind::Hello,
                    flow,
                    seq: 0,
                    sent_ns: 0,
                };
                frame::write(buffer, &header, &probe, self.plan.checksum);
            }
            self.client.flush(batch.len())?;
            self.receive();
            std::thread::sleep(HELLO_BREATH);
        }
        self.client.refused = 0; // what was refused here is simply said again
        Ok(())
    }
}

/// Pause between two batches of hellos: 64,000 new sessions a second.
const HELLO_BREATH: Duration = Duration::from_micros(500);

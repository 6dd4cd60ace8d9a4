//! Both ends of a run: opens the flows, sends at the asked rate in both directions, counts, judges.
//!
//! ```text
//! open (hello until every flow is learned) -> wait for start -> run -> last round of the seldom flows -> drain -> judge
//! ```
//! The *seldom* flows (`sessions`) are refreshed every [`Plan::refresh`] and once more at the end, in both directions:
//! each of them is thereby shown to have survived.

mod opening;
mod plan;
mod way;

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::traffic::frame::{self, HEADERS, Header, Kind, Mac, Probe};
use crate::traffic::pace::BATCH;
use crate::traffic::report::{Command, Direction, Event, Mark, Report};
use crate::traffic::socket::SocketError;
use crate::traffic::tally::Tally;

pub use plan::{Plan, SOURCES, TARGET_PORT};
pub use way::End;

use plan::answer;
use way::{Lane, Way, judge_bytes};

/// What can go wrong in a run.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// An end could not be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The kernel would not send.
    #[error("{end}: sending failed: {source}")]
    Send {
        /// Which end.
        end: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Some flows did not come through.
    #[error(
        "opened {learned} of {flows} flows within {waited:?}; the first missing is flow {missing}"
    )]
    NotOpened {
        /// Flows that the server has seen.
        learned: u64,
        /// Flows there are.
        flows: u64,
        /// How long it was tried.
        waited: Duration,
        /// The first one not seen.
        missing: u32,
    },
}

/// A run in progress.
#[derive(Debug)]
pub struct Stream {
    plan: Plan,
    client: Way,
    server: Way,
    /// Where the server sends to, by flow, learned from what it received.
    learned: Vec<Option<Header>>,
    opened: u64,
    moved: u64,
    marks: Vec<Mark>,
    gateway: Mac,
}

impl Stream {
    /// A run over two open ends; `gateway` is the client's neighbour.
    pub fn new(plan: Plan, client: End, server: End, gateway: Mac) -> Stream {
        let flows = (plan.flows + plan.sessions) as usize;
        let way = |name, kind, end| Way {
            name,
            kind,
            end,
            batch: vec![vec![0; HEADERS + plan.payload]; BATCH],
            sent: vec![0; flows],
            refused: 0,
            arrived: Tally::new(flows),
            steady: Lane::new(0, 0, 0, 0),
            seldom: Lane::new(0, 0, 0, 0),
        };
        let client = way("client", Kind::Up, client);
        let server = way("server", Kind::Down, server);
        Stream {
            plan,
            client,
            server,
            learned: vec![None; flows],
            opened: 0,
            moved: 0,
            marks: Vec::new(),
            gateway,
        }
    }

    /// Runs from now until the length is over or `Stop` comes, then judges.
    pub fn run(
        mut self,
        commands: &Receiver<Command>,
        mut tell: impl FnMut(Event),
    ) -> Result<Report, StreamError> {
        let start_ns = monotonic_ns();
        self.set_lanes(start_ns);
        tell(Event::Started);
        let end_ns = self
            .plan
            .length
            .map_or(u64::MAX, |length| start_ns + length.as_nanos() as u64);
        let mut told = start_ns;
        loop {
            let now = monotonic_ns();
            if now >= end_ns {
                break;
            }
            self.turn(now)?;
            if now - told > COMMAND_EVERY_NS {
                told = now;
                match commands.try_recv() {
                    Ok(Command::Mark { name }) => tell(Event::Marked(self.mark(name))),
                    Ok(Command::Stop) | Err(TryRecvError::Disconnected)
                        if self.plan.length.is_none() =>
                    {
                        break;
                    }
                    Ok(Command::Stop) => break,
                    Ok(Command::Start) | Err(_) => {}
                }
            }
            self.rest(end_ns);
        }
        let ran = monotonic_ns() - start_ns;
        self.last_round()?;
        self.drain();
        Ok(self.judge(ran))
    }

    /// Receives until all that was sent has arrived, and what comes twice had its time; or until nothing has come for
    /// as long as the plan waits.
    fn drain(&mut self) {
        let sent: u64 = [&self.client, &self.server]
            .iter()
            .flat_map(|way| &way.sent)
            .sum();
        let (mut received, mut since) = (0, Instant::now());
        loop {
            self.receive();
            let now = self.client.arrived.received() + self.server.arrived.received();
            let patience = if now >= sent {
                SETTLED
            } else {
                self.plan.drain
            };
            if now != received {
                (received, since) = (now, Instant::now());
            } else if since.elapsed() >= patience {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn set_lanes(&mut self, start_ns: u64) {
        let (flows, sessions) = (self.plan.flows, self.plan.sessions);
        let each = self.plan.rate / 2;
        let refresh = (f64::from(sessions) / self.plan.refresh.as_secs_f64()).ceil() as u64;
        // Half a batch apart, so that the two directions do not send at the same instant.
        let apart = BATCH as u64 * 500_000_000 / each.max(1);
        for (way, start) in [
            (&mut self.client, start_ns),
            (&mut self.server, start_ns + apart.min(1_000_000)),
        ] {
            way.steady = Lane::new(0, flows, each, start);
            way.seldom = Lane::new(flows, sessions, refresh, start);
        }
    }

    fn turn(&mut self, now: u64) -> Result<(), StreamError> {
        let at = wall_ns();
        for up in [true, false] {
            for steady in [true, false] {
                let way = if up {
                    &mut self.client
                } else {
                    &mut self.server
                };
                let lane = if steady {
                    &mut way.steady
                } else {
                    &mut way.seldom
                };
                let due = lane.pacer.due(now);
                if due > 0 {
                    self.send(up, steady, due, at)?;
                }
            }
            self.receive();
        }
        Ok(())
    }

    fn send(
        &mut self,
        up: bool,
        steady: bool,
        due: usize,
        sent_ns: u64,
    ) -> Result<(), StreamError> {
        let way = if up {
            &mut self.client
        } else {
            &mut self.server
        };
        let mut used = 0;
        for _ in 0..due {
            let flow = if steady {
                way.steady.flow()
            } else {
                way.seldom.flow()
            };
            let header = match up {
                true => Some(self.plan.header(way.end.mac, self.gateway, flow)),
                false => self.learned[flow as usize],
            };
            let Some(header) = header else { continue };
            let seq = &mut way.sent[flow as usize];
            let probe = Probe {
                kind: way.kind,
                flow,
                seq: *seq,
                sent_ns,
            };
            *seq += 1;
            frame::write(&mut way.batch[used], &header, &probe, self.plan.checksum);
            used += 1;
        }
        way.flush(used)
    }

    /// Everything that has arrived at both ends.
    fn receive(&mut self) {
        let (learned, opened, moved) = (&mut self.learned, &mut self.opened, &mut self.moved);
        let server = &mut self.server;
        server.end.sink.drain(DRAIN, |received| {
            let Some(seen) = judge_bytes(&received, &mut server.arrived) else {
                return;
            };
            let Probe {
                kind,
                flow,
                seq,
                sent_ns,
            } = seen.probe;
            let (true, Some(known)) = (kind != Kind::Down, learned.get_mut(flow as usize)) else {
                server.arrived.misdelivered();
                return;
            };
            let back = answer(&seen.header);
            match known {
                None => *opened += 1,
                Some(known) => *moved += u64::from(*known != back),
            }
            *known = Some(back);
            if kind == Kind::Up {
                server.arrived.count(flow, seq, sent_ns, received.at_ns);
            }
        });
        let (client, plan, gateway) = (&mut self.client, &self.plan, self.gateway);
        client.end.sink.drain(DRAIN, |received| {
            let Some(seen) = judge_bytes(&received, &mut client.arrived) else {
                return;
            };
            let Probe {
                kind,
                flow,
                seq,
                sent_ns,
            } = seen.probe;
            let expected = answer(&plan.header(client.end.mac, gateway, flow));
            let here = seen.header;
            let right = (here.src, here.src_port, here.dst, here.dst_port)
                == (
                    expected.src,
                    expected.src_port,
                    expected.dst,
                    expected.dst_port,
                );
            if kind == Kind::Down && right {
                client.arrived.count(flow, seq, sent_ns, received.at_ns);
            } else {
                client.arrived.misdelivered();
            }
        });
    }

    /// Every seldom flow once more, both ways, at the steady rate.
    fn last_round(&mut self) -> Result<(), StreamError> {
        let sessions = self.plan.sessions as usize;
        for done in (0..sessions).step_by(BATCH) {
            for up in [true, false] {
                self.send(up, false, BATCH.min(sessions - done), wall_ns())?;
            }
            self.receive();
            let pause = 2 * BATCH as u64 * 1_000_000_000 / self.plan.rate.max(1);
            std::thread::sleep(Duration::from_nanos(pause.min(10_000_000)));
        }
        Ok(())
    }

    fn rest(&self, end_ns: u64) {
        let ways = [&self.client, &self.server];
        let next = ways
            .iter()
            .flat_map(|w| [w.steady.pacer.next_ns(), w.seldom.pacer.next_ns()])
            .min();
        let next = next.unwrap_or(u64::MAX).min(end_ns);
        let pause = next.saturating_sub(monotonic_ns()).min(LONGEST_REST_NS);
        if pause > 0 {
            std::thread::sleep(Duration::from_nanos(pause));
        }
    }

    fn mark(&mut self, name: String) -> Mark {
        let mark = Mark {
            name,
            at_ns: wall_ns(),
            sent: self.client.sent.iter().sum::<u64>() + self.server.sent.iter().sum::<u64>(),
            received: self.client.arrived.received() + self.server.arrived.received(),
            gap_up_ns: self.server.arrived.take_gap_ns(),
            gap_down_ns: self.client.arrived.take_gap_ns(),
        };
        self.marks.push(mark.clone());
        mark
    }

    fn judge(mut self, ran_ns: u64) -> Report {
        let flows = self.plan.flows as usize;
        // The seldom flows come on top of the rate that was asked for.
        let steady: u64 = [&self.client, &self.server]
            .iter()
            .flat_map(|way| &way.sent[..flows])
            .sum();
        let drops = (self.server.end.sink.drops(), self.client.end.sink.drops());
        let direction = |from: &Way, to: &Way, ring_drops| Direction {
            sent: from.sent.iter().sum(),
            refused: from.refused,
            forgiven: from.steady.pacer.forgiven() + from.seldom.pacer.forgiven(),
            arrived: to.arrived.judge(&from.sent),
            ring_drops,
        };
        let up = direction(&self.client, &self.server, drops.0);
        let down = direction(&self.server, &self.client, drops.1);
        let seconds = ran_ns as f64 / 1e9;
        Report {
            seconds,
            rate_asked: self.plan.rate,
            rate_reached: (steady as f64 / seconds) as u64,
            flows: u64::from(self.plan.flows),
            sessions: u64::from(self.plan.sessions),
            moved: self.moved,
            up,
            down,
            marks: self.marks,
        }
    }
}

fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .expect("the clock every Linux has");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

fn wall_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

/// Most packets taken from one ring before anything else gets its turn.
const DRAIN: usize = 1_024;
const COMMAND_EVERY_NS: u64 = 5_000_000;
/// How long a second copy of the last packet is waited for.
const SETTLED: Duration = Duration::from_millis(500);
/// The rings are looked at this often even if nothing is to be sent.
const LONGEST_REST_NS: u64 = 5_000_000;

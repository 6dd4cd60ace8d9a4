//! The whole gateway in one process: frames in at one port, frames out at the other, everything
//! between as in a running instance, the memory private.
//!
//! ```text
//!  10.0.0.7  10.0.0.8 ── inside 10.0.0.1/16 [gateway] outside 203.0.113.2/24 ── 203.0.113.1 ── 198.51.100.9
//! ```

mod errors;
mod fast;
mod frames;
mod local;
mod nat;
mod sessions;

use crate::Gateway;
use crate::session::SessionV2;
use baton::bench::{Bench, End};
use baton::prelude::{Mac, PortId};
use frames::{Heard, Wire, hear};

const INSIDE: [u8; 6] = [2, 0, 0, 0, 1, 0];
const OUTSIDE: [u8; 6] = [2, 0, 0, 0, 2, 0];
const HOST: [u8; 6] = [2, 0, 0, 0, 1, 7];
const ROUTER: [u8; 6] = [2, 0, 0, 0, 2, 1];
/// What hosts inside send, and the router outside.
const FROM_HOST: Wire = Wire {
    from: HOST,
    to: INSIDE,
    ttl: 64,
};
const FROM_ROUTER: Wire = Wire {
    from: ROUTER,
    to: OUTSIDE,
    ttl: 64,
};
const SECOND: u64 = 1_000_000_000;

const BASE: &str = r#"
[instance]
file-prefix = "lab"
lcores      = "0"
shards      = SHARDS
mbufs       = 4096

[[port]]
name    = "inside"
vdev    = "net_ring0,queues=SHARDS,mac=02:00:00:00:01:00"
address = ["10.0.0.1/16"]
rxd     = 256
txd     = 256

[[port]]
name    = "outside"
vdev    = "net_ring1,queues=SHARDS,mac=02:00:00:00:02:00"
address = ["203.0.113.2/24"]
rxd     = 256
txd     = 256

[[route]]
prefix = "0.0.0.0/0"
via    = "203.0.113.1"

[gateway.nat]
inside     = ["inside"]
outside    = "outside"
pool       = ["203.0.113.16/31"]
sessions   = 1024

[[gateway.nat.forward]]
protocol = "tcp"
outside  = "203.0.113.2:443"
inside   = "10.0.0.8:8443"
"#;

/// A gateway with a hand on each of its ports and on its clock.
struct Lab {
    bench: Bench<Gateway<SessionV2>>,
    inside: Vec<End>,
    outside: Vec<End>,
    now: u64,
}

impl Lab {
    /// A gateway that knows its neighbours.
    fn new(shards: u16, change: impl Fn(String) -> String) -> Lab {
        let text = change(BASE.replace("SHARDS", &shards.to_string()));
        let bench = Bench::new(&text).unwrap();
        let ends = |port| (0..shards).map(|queue| bench.end_of(port, queue)).collect();
        let mut lab = Lab {
            inside: ends(0),
            outside: ends(1),
            bench,
            now: 1_000 * SECOND,
        };
        for (port, address, mac) in [
            (0, [10, 0, 0, 7], HOST),
            (0, [10, 0, 0, 8], HOST),
            (1, [203, 0, 113, 1], ROUTER),
        ] {
            lab.bench.learn(PortId(port), address.into(), Mac(mac));
        }
        // The first tick is a tick after the shard came.
        lab.step();
        lab.wait(0, 1);
        lab
    }

    fn one_shard() -> Lab {
        Lab::new(1, |text| text)
    }

    fn step(&mut self) {
        // Twice: what one shard gives to another arrives in the next round.
        for _ in 0..2 {
            self.now += 1_000;
            self.bench.round_at(self.now);
        }
    }

    fn drain(&mut self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let take = |ends: &mut Vec<End>| ends.iter_mut().flat_map(End::take).collect();
        (take(&mut self.inside), take(&mut self.outside))
    }

    /// Lets time pass, with a tick each millisecond of `ticks`.
    fn wait(&mut self, seconds: u64, ticks: u64) {
        self.now += seconds * SECOND;
        for _ in 0..ticks {
            self.now += 1_000_000;
            self.bench.round_at(self.now);
        }
        self.drain();
    }

    /// Sends frames in at a port and gives what leaves by (inside, outside).
    fn put(&mut self, outside: bool, frames: &[Vec<u8>]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        for frame in frames {
            let end = if outside {
                &mut self.outside[0]
            } else {
                &mut self.inside[0]
            };
            end.send(frame);
        }
        self.step();
        self.drain()
    }

    /// A frame from inside that must leave outside.
    fn out(&mut self, frame: Vec<u8>) -> Heard {
        let (inside, outside) = self.put(false, &[frame]);
        assert_eq!((inside.len(), outside.len()), (0, 1), "{:?}", self.drops());
        hear(&outside[0])
    }

    /// A frame from outside that must arrive inside.
    fn back(&mut self, frame: Vec<u8>) -> Heard {
        let (inside, outside) = self.put(true, &[frame]);
        assert_eq!((inside.len(), outside.len()), (1, 0), "{:?}", self.drops());
        hear(&inside[0])
    }

    /// A frame from inside that must come back inside.
    fn turn(&mut self, frame: Vec<u8>) -> Heard {
        let (inside, outside) = self.put(false, &[frame]);
        assert_eq!((inside.len(), outside.len()), (1, 0), "{:?}", self.drops());
        hear(&inside[0])
    }

    /// A frame that must be dropped for this reason, with no answer.
    fn refused(&mut self, outside: bool, frame: Vec<u8>, why: &str) {
        let before = self.dropped(why);
        let sent = self.put(outside, &[frame]);
        assert_eq!(sent, (vec![], vec![]), "it was answered");
        assert_eq!(self.dropped(why), before + 1, "{:?}", self.drops());
    }

    /// Drop counters that are not zero.
    fn drops(&self) -> Vec<(String, u64)> {
        let all = self.bench.drops();
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    fn dropped(&self, why: &str) -> u64 {
        let all = self.bench.drops();
        let found = all.iter().find(|(name, _)| name == why);
        found
            .unwrap_or_else(|| panic!("no reason {why}: {all:?}"))
            .1
    }
}

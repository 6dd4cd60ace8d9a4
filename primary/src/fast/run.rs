//! Stage 3 of the fast path: a run of common packets of one direction, planned, computed, let out.
//!
//! What is planned is done (F1), and done before the next packet is taken that is not common (F2). Inside of
//! a run a packet changes nothing that is asked for another, but for a connection's state, which is asked for
//! when its turn has come.

use super::lanes::Lanes;
use crate::gateway::Gateway;
use crate::session::SessionLayout;
use crate::state::State;
use crate::translate::Sender;
use baton::prelude::{Burst, PortId, Shard};
use baton_datapath::parse::TCP;
use baton_shared_state::BURST;
use core::ops::Range;
use std::net::Ipv4Addr;

impl<S: SessionLayout> Gateway<S> {
    /// Sends the packets of one direction from lane `at` on, as long as they are the common case; gives the
    /// first lane that is not. None of them changes what is asked for the others, but for a connection's state.
    #[inline]
    pub(super) fn send_run<const OUT: bool>(
        &mut self,
        shard: &mut Shard<Self>,
        burst: &mut Burst,
        lanes: &mut Lanes,
        at: usize,
    ) -> usize {
        let len = burst.len().min(BURST);
        let end = self.plan::<OUT>(shard, lanes, at..len);
        lanes.changes.compute(&lanes.heads, at..end, self.fast.path);
        lanes.count(shard, at..end);
        let mut from = at;
        while from < end {
            let (port, len) = match OUT {
                true => (self.fast.outside, end - from),
                false => lanes.of_one_port(from..end),
            };
            let gate = self.fast.gates.get(usize::from(port.0));
            let own = gate.map_or(0, |gate| gate.mac);
            lanes.let_out(shard, burst, from..from + len, (port, own));
            from += len;
        }
        end
    }

    /// What is done to the packets of one direction at `range`, up to the first that is not the common case. Their
    /// connections are followed: what is planned is done.
    #[inline(never)]
    fn plan<const OUT: bool>(
        &mut self,
        shard: &mut Shard<Self>,
        lanes: &mut Lanes,
        range: Range<usize>,
    ) -> usize {
        let run = if OUT { lanes.out } else { lanes.inwards };
        let mut recalled = run & lanes.recalled(&self.fast.flows);
        let (outside, outside_mtu) = (self.fast.outside, self.mtu(self.fast.outside));
        for at in range.start..range.end.min(BURST) {
            if recalled >> at & 1 == 0
                && (run >> at & 1 == 0 || self.find::<OUT>(&shard.state, lanes, at).is_none())
            {
                return at;
            }
            let (common, becomes) = (lanes.heads.known(at), lanes.becomes(at));
            let dst = match OUT {
                true => common.far(),
                false => becomes.outside().address(),
            };
            let Some((port, mac)) = self.exit(&shard.state, lanes.hops[at], dst) else {
                return at;
            };
            let fits = match OUT {
                true => port == outside && common.ip_len <= outside_mtu,
                false => common.ip_len <= self.mtu(port),
            };
            if !fits {
                return at;
            }
            lanes.macs[at] = mac;
            if !OUT {
                lanes.ports[at] = port;
            }
            if common.protocol() == TCP {
                let sender = if OUT { Sender::Inside } else { Sender::Remote };
                let known = (becomes.state(), becomes.flags());
                self.follow(shard, lanes.sessions[at], known, common.flags, sender);
                recalled = run & lanes.recalled(&self.fast.flows);
            }
        }
        range.end
    }

    /// The way to `dst` over a next hop, if there is one: the port, and the next Ethernet address.
    #[inline(always)]
    fn exit(&self, state: &State<S>, hop: u16, dst: Ipv4Addr) -> Option<(PortId, u64)> {
        let (port, mac) = match state.routes.router(hop) {
            Some(router) => (router.port, state.neighbours.get_asked(router)?),
            None => {
                let port = state.routes.hop(hop)?.port;
                (port, self.on_link(state, port, dst)?)
            }
        };
        Some((port, in_frame(mac)))
    }

    /// The Ethernet address of a neighbour that is no router.
    #[inline(never)]
    fn on_link(&self, state: &State<S>, port: PortId, address: Ipv4Addr) -> Option<u64> {
        state.neighbours.get_word(port, address)
    }

    /// The largest packet that may leave by a port; none may by one that does not exist.
    #[inline(always)]
    fn mtu(&self, port: PortId) -> u16 {
        let gate = self.fast.gates.get(usize::from(port.0));
        gate.map_or(0, |gate| gate.mtu)
    }
}

/// An Ethernet address, whose first byte is the highest of 48 bits, as a [`baton_datapath::common::mac_word`].
#[inline(always)]
fn in_frame(mac: u64) -> u64 {
    mac.swap_bytes() >> 16
}

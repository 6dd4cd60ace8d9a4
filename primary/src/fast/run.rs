//! Stage 3 of the fast path: a run of common packets of one direction, planned, computed, let out.
//!
//! What is planned is done (F1), and done before the next packet is taken that is not common (F2). Inside of
//! a run a packet changes nothing that is asked for another, but for a connection's state, which is asked for
//! when its turn has come.

use super::lanes::Lanes;
use super::{Way, key};
use crate::gateway::Gateway;
use crate::session::{Beginning, SessionKey, SessionLayout};
use crate::state::{State, leads_from_outside};
use crate::translate::Sender;
use baton::prelude::{Burst, NextHop, PortId, Shard};
use baton_datapath::common::{Common, RawEnd};
use baton_datapath::parse::TCP;
use baton_shared_state::BURST;
use baton_shared_state::table::NO_ID;
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
        let end = match OUT {
            true => self.plan_outwards(shard, lanes, at..len),
            false => self.plan_inwards(shard, lanes, at..len),
        };
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

    /// What is done to the packets from inside at `range`, up to the first that is not the common case. Their
    /// connections are followed: what is planned is done.
    #[inline(never)]
    fn plan_outwards(
        &mut self,
        shard: &mut Shard<Self>,
        lanes: &mut Lanes,
        range: Range<usize>,
    ) -> usize {
        let Some(gate) = self.fast.gates.get(usize::from(self.fast.outside.0)) else {
            return range.start;
        };
        let mtu = gate.mtu;
        let end = self.confirm(&shard.state, lanes, range.clone());
        // Many packets in a row may have the same router. At first it is that of no number at all.
        let mut last = (u32::MAX, 0);
        for at in range.start..end.min(BURST) {
            let (common, session) = (lanes.heads.known(at), lanes.candidates[at]);
            shard.state.sessions.prefetch_count(session);
            let hop = lanes.hops[at];
            let mac = match u32::from(hop) == last.0 {
                true => last.1,
                false => match self.router(&shard.state, hop) {
                    Some(mac) => {
                        last = (hop.into(), mac);
                        mac
                    }
                    None => match self.on_link(&shard.state, hop, common.far()) {
                        Some(mac) => mac,
                        None => return at,
                    },
                },
            };
            if common.ip_len > mtu {
                return at;
            }
            lanes.macs[at] = mac;
            let known = S::beginning(shard.state.sessions.first_word(session));
            lanes.changes.set(at, known.outside());
            self.follow_tcp(shard, session, known, &common, Sender::Inside);
        }
        end
    }

    /// Compares the rows of the packets from inside at `range`, up to the first that has none; the candidates
    /// of those before it are their sessions. What was compared for a run that ended early is so still, unless
    /// a row has ended.
    #[inline(always)]
    fn confirm(&self, state: &State<S>, lanes: &mut Lanes, range: Range<usize>) -> usize {
        let ended = state.sessions.ended();
        let before = match lanes.compared {
            (upto, then) if then == ended => upto,
            _ => 0,
        };
        let end = self.compare(state, lanes, range.start.max(before)..range.end);
        lanes.compared = (end, ended);
        end
    }

    #[inline(always)]
    fn compare(&self, state: &State<S>, lanes: &mut Lanes, range: Range<usize>) -> usize {
        for at in range.start..range.end.min(BURST) {
            if lanes.ways[at] != Way::Out {
                return at;
            }
            let (hash, candidate) = (lanes.hashes[at], lanes.candidates[at]);
            state.sessions.prefetch_first_word(candidate);
            let key = key(&lanes.heads.known(at));
            let Some(session) = state.sessions.confirm(hash, &key, candidate, lanes.ended) else {
                return at;
            };
            lanes.candidates[at] = session;
        }
        range.end
    }

    /// The same for those from outside.
    #[inline(never)]
    fn plan_inwards(
        &mut self,
        shard: &mut Shard<Self>,
        lanes: &mut Lanes,
        range: Range<usize>,
    ) -> usize {
        for at in range.start..range.end.min(BURST) {
            if lanes.ways[at] != Way::In {
                return at;
            }
            let (state, common) = (&shard.state, lanes.heads.known(at));
            let lane = (lanes.hashes[at], lanes.candidates[at]);
            let Some((session, key)) = from_outside(state, lane, &key(&common)) else {
                return at;
            };
            let inside = key.inside().address;
            if self.own.get(inside).is_some() {
                return at;
            }
            let hop = state.routes.hop(state.routes.number(u32::from(inside)));
            let exit = hop.and_then(|hop| self.exit(state, hop, inside));
            let Some((port, mac)) = exit.filter(|exit| common.ip_len <= self.mtu(exit.0)) else {
                return at;
            };
            (lanes.ports[at], lanes.macs[at]) = (port, mac);
            let new = RawEnd::new(key.inside_addr, key.inside_port);
            lanes.changes.set(at, new);
            let known = S::beginning(state.sessions.first_word(session));
            lanes.candidates[at] = session;
            self.follow_tcp(shard, session, known, &common, Sender::Remote);
        }
        range.end
    }

    /// Follows a packet's connection, if it has one.
    #[inline(always)]
    fn follow_tcp(
        &mut self,
        shard: &mut Shard<Self>,
        session: u32,
        known: Beginning,
        common: &Common,
        sender: Sender,
    ) {
        if common.protocol() == TCP {
            let known = (known.state(), known.flags());
            self.follow(shard, session, known, common.flags, sender);
        }
    }

    /// The Ethernet address of the router on the outside link that a next hop is, if it is one, and known.
    #[inline(always)]
    fn router(&self, state: &State<S>, hop: u16) -> Option<u64> {
        let router = state.routes.router(hop)?;
        let mac = state.neighbours.get_asked(router)?;
        (router.port == self.fast.outside).then(|| in_frame(mac))
    }

    /// The Ethernet address of a destination that is itself on the outside link, if it is known.
    #[inline(never)]
    fn on_link(&self, state: &State<S>, hop: u16, dst: Ipv4Addr) -> Option<u64> {
        let (port, mac) = self.exit(state, state.routes.hop(hop)?, dst)?;
        (port == self.fast.outside).then_some(mac)
    }

    /// The way to `dst` over a next hop, if there is one: the port, and the next Ethernet address.
    #[inline(always)]
    fn exit(&self, state: &State<S>, hop: NextHop, dst: Ipv4Addr) -> Option<(PortId, u64)> {
        let next = hop.via.unwrap_or(dst);
        let mac = state.neighbours.get_word(hop.port, next)?;
        Some((hop.port, in_frame(mac)))
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

/// The session of a packet from outside, and its key.
#[inline(always)]
fn from_outside<S: SessionLayout>(
    state: &State<S>,
    (hash, candidate): (u64, u32),
    asked: &SessionKey,
) -> Option<(u32, SessionKey)> {
    if candidate == NO_ID {
        return None;
    }
    let likely = state.sessions.get(candidate);
    if let Some((key, session)) = likely
        && leads_from_outside(&key, &session, asked)
    {
        return Some((candidate, key));
    }
    let same = |id| state.is_from_outside(id, asked);
    let id = state.from_outside.find(hash, same)?;
    let (key, _) = state.sessions.get(id)?;
    Some((id, key))
}

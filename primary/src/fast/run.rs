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
use baton_datapath::common::{Common, Ethernet, RawEnd};
use baton_datapath::parse::TCP;
use baton_shared_state::BURST;
use baton_shared_state::table::NO_ID;
use core::ops::Range;
use std::net::Ipv4Addr;

/// The way to a next hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exit {
    pub(super) ethernet: Ethernet,
    pub(super) port: PortId,
    mtu: u16,
}

/// Where a packet goes that has no exit yet.
pub(super) const NOWHERE: Exit = Exit {
    ethernet: Ethernet::NONE,
    port: PortId(u16::MAX),
    mtu: 0,
};

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
            let port = lanes.exits[from].port;
            let same = lanes.exits[from..end].iter();
            let to = from + same.take_while(|exit| exit.port == port).count();
            lanes.let_out(shard, burst, from..to);
            from = to;
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
        let end = self.confirm(&shard.state, lanes, range.clone());
        let mut last = (u32::MAX, 0);
        for at in range.start..end.min(BURST) {
            let (common, session) = (lanes.heads.known(at), lanes.candidates[at]);
            shard.state.sessions.prefetch_count(session);
            let known = self.exit_at(&shard.state, lanes, at, &mut last);
            let exit = &lanes.exits[at];
            if !known || exit.port != self.fast.outside || common.ip_len > exit.mtu {
                return at;
            }
            let known = S::beginning(shard.state.sessions.first_word(session));
            lanes.changes.set(at, known.outside());
            self.follow_tcp(shard, session, known, &common, Sender::Inside);
        }
        end
    }

    /// Compares the rows of the packets from inside at `range`, up to the first that has none; the candidates
    /// of those before it are their sessions.
    #[inline(always)]
    fn confirm(&self, state: &State<S>, lanes: &mut Lanes, range: Range<usize>) -> usize {
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
            let Some(exit) = exit.filter(|exit| common.ip_len <= exit.mtu) else {
                return at;
            };
            lanes.exits[at] = exit;
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

    /// Finds the way of lane `at`; `last` is the lane of a router's, and its number: many packets in a row have the same.
    #[inline(always)]
    fn exit_at(
        &self,
        state: &State<S>,
        lanes: &mut Lanes,
        at: usize,
        last: &mut (u32, usize),
    ) -> bool {
        let number = lanes.hops[at];
        if u32::from(number) == last.0 {
            lanes.exits[at] = lanes.exits[last.1 % BURST];
            return true;
        }
        let Some(hop) = state.routes.hop(number) else {
            return false;
        };
        let Some(exit) = self.exit(state, hop, lanes.heads.known(at).far()) else {
            return false;
        };
        lanes.exits[at] = exit;
        if hop.via.is_some() {
            *last = (number.into(), at);
        }
        true
    }

    /// The way to `dst` over a next hop, if there is one.
    #[inline(always)]
    fn exit(&self, state: &State<S>, hop: NextHop, dst: Ipv4Addr) -> Option<Exit> {
        let mac = state
            .neighbours
            .get_word(hop.port, hop.via.unwrap_or(dst))?;
        let gate = self.fast.gates.get(usize::from(hop.port.0))?;
        Some(Exit {
            // Its first byte is the highest of 48 bits; in a frame it comes first.
            ethernet: Ethernet::new(mac.swap_bytes() >> 16, gate.mac),
            port: hop.port,
            mtu: gate.mtu,
        })
    }
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

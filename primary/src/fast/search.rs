//! Stage 2 of the fast path for flows that are not in the flow cache: sessions by index, key and record, and their
//! next hops by the routes. What is found is remembered.

use super::flows::{Flow, FlowKey};
use super::lanes::{Each, Lanes};
use super::{TRANSLATED, key};
use crate::gateway::Gateway;
use crate::session::{SessionKey, SessionLayout};
use crate::state::{State, leads_from_outside};
use baton_datapath::common::RawEnd;
use baton_shared_state::BURST;
use baton_shared_state::lpm::NO_ROUTE;
use baton_shared_state::table::NO_ID;
use std::net::Ipv4Addr;
use zerocopy::IntoBytes;

impl<S: SessionLayout> Gateway<S> {
    /// The likely rows of the lanes at the bits of `unknown`, and the next hops of those from inside.
    #[inline(never)]
    pub(super) fn look_up(&self, state: &State<S>, lanes: &mut Lanes, unknown: u32) {
        for at in Each(unknown & lanes.out) {
            let far = lanes.heads.known(at).far();
            if self.own.get(far).is_some() {
                lanes.out &= !(1 << at);
            }
            state.sessions.prefetch_hash(out_hash(state, lanes, at));
            state.routes.prefetch(far.into());
        }
        for at in Each(unknown & lanes.inwards) {
            if self.own.get(lanes.heads.known(at).near()) != Some(TRANSLATED) {
                lanes.inwards &= !(1 << at);
            }
            state.from_outside.prefetch(in_hash(state, lanes, at));
        }
        look_up_outwards(state, lanes, unknown & lanes.out);
        for at in Each(unknown & lanes.inwards) {
            let candidate = state.from_outside.candidate(in_hash(state, lanes, at));
            state.sessions.prefetch(candidate);
            lanes.sessions[at] = candidate;
        }
    }

    /// What there is to know of a lane's flow, if its session is there at its turn.
    #[inline(never)]
    pub(super) fn find<const OUT: bool>(
        &mut self,
        state: &State<S>,
        lanes: &mut Lanes,
        at: usize,
    ) -> Option<()> {
        let key = key(&lanes.heads.known(at));
        let candidate = lanes.sessions[at];
        let flow = if OUT {
            let hash = out_hash(state, lanes, at);
            let session = state.sessions.confirm(hash, &key, candidate, lanes.ended)?;
            Flow {
                becomes: S::beginning(state.sessions.first_word(session)),
                session,
                hop: lanes.hops[at],
            }
        } else {
            let hash = in_hash(state, lanes, at);
            let (session, inside) = from_outside(state, (hash, candidate), &key)?;
            let address = inside.inside().address;
            if self.own.get(address).is_some() {
                return None;
            }
            let known = S::beginning(state.sessions.first_word(session));
            let inside = RawEnd::new(inside.inside_addr, inside.inside_port);
            Flow {
                becomes: known.with_end(inside),
                session,
                hop: state.routes.number(address.into()),
            }
        };
        let flow_key = FlowKey::of(&lanes.heads.known(at));
        self.fast.flows.remember(flow_key, flow);
        lanes.set(at, flow);
        Some(())
    }
}

/// The hash of a packet from inside.
#[inline(always)]
fn out_hash<S: SessionLayout>(state: &State<S>, lanes: &Lanes, at: usize) -> u64 {
    state.sessions.hash(&key(&lanes.heads.known(at)))
}

/// The hash of a packet from outside.
#[inline(always)]
fn in_hash<S: SessionLayout>(state: &State<S>, lanes: &Lanes, at: usize) -> u64 {
    let key = key(&lanes.heads.known(at));
    state.from_outside.hash(key.as_bytes())
}

/// Those from inside, in bulk.
fn look_up_outwards<S: SessionLayout>(state: &State<S>, lanes: &mut Lanes, out: u32) {
    let mut hashes = [0; BURST];
    let (mut ids, mut hops) = ([NO_ID; BURST], [NO_ROUTE; BURST]);
    let mut addresses = [0; BURST];
    let len = out.count_ones() as usize;
    for (to, at) in Each(out).enumerate() {
        hashes[to] = out_hash(state, lanes, at);
        addresses[to] = Ipv4Addr::into(lanes.heads.known(at).far());
    }
    state.sessions.candidates(&hashes[..len], &mut ids[..len]);
    state
        .routes
        .lookup_burst(&addresses[..len], &mut hops[..len]);
    for (from, at) in Each(out).enumerate() {
        state.sessions.prefetch_first_word(ids[from]);
        state.sessions.prefetch_count(ids[from]);
        (lanes.sessions[at], lanes.hops[at]) = (ids[from], hops[from]);
    }
}

/// The session of a packet from outside, and its key.
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

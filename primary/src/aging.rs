//! What: the work of each millisecond: sessions that were silent for too long end, and the routers
//! of static routes are kept known.
//!
//! A timer wheel has each session it knows at the second in which it ends if it stays silent; a packet does not touch
//! it. It learns of a session when this process opens it or shortens its life, and of what others did, before
//! us or while another tenant had the shard, by a cursor that goes round the shard's places in some
//! seconds: it asks about those that the wheel does not know, and once about all when we get the shard.
//! Sessions whose outside address is no longer ours end when it meets them: the config may be younger
//! than the state.

use crate::gateway::Gateway;
use crate::links::{Own, Target};
use crate::session::{SessionKey, SessionLayout};
use crate::state::State;
use baton::prelude::Shard;
use baton_datapath::tcp_state::Timeouts;
use baton_shared_state::timer::{Next, Rows, Wheel};

/// Places that the cursor passes in a tick, at least.
const STEP: u32 = 64;
/// Ticks in which it goes round a large table once.
const ROUND: u32 = 8_192;
/// Sessions that the wheel looks at in a tick, at least.
const LOOKS: u32 = 64;
/// Ticks in which it could look at a large table once.
const LOOKS_ROUND: u32 = 4_096;
/// Sessions ended in a tick at most: each costs some cache misses more than a look.
const ENDS: usize = 64;
/// Seconds after which a binding without sessions is given back.
const IDLE_BINDING_S: u32 = 60;
/// Seconds between two questions to a router that is known.
const REFRESH_S: u32 = 30;

const TRANSLATED: Target = Target::Own { translated: true };

/// What of this is private to the process: the wheel, and where the cursors stand.
#[derive(Debug)]
pub(crate) struct Aging {
    /// Places of sessions; a tick is a second.
    wheel: Wheel,
    sessions: u32,
    /// As [`baton::table::Table::gains`] said last, and places that the cursor has to look at since, known or not:
    /// whoever had the shard meanwhile may have shortened a session's life, or made another in its place.
    gains: u32,
    recheck: u32,
    bindings: u32,
    expired: Vec<u32>,
    asked_s: u32,
}

impl Aging {
    /// For a shard of so many sessions. What a running table has beyond that is taken at the first tick.
    pub(crate) fn new(sessions: u32) -> Aging {
        Aging {
            wheel: Wheel::new(sessions, 0),
            sessions: 0,
            gains: 0,
            recheck: 0,
            bindings: 0,
            expired: Vec::with_capacity(ENDS),
            asked_s: 0,
        }
    }

    /// As if another tenant had had the shard, and the wheel had been told long ago that `place` is due at `deadline`.
    #[cfg(test)]
    pub(crate) fn was_away(&mut self, place: u32, deadline: u64) {
        self.wheel.rearm(place, deadline);
        self.gains = self.gains.wrapping_sub(1);
    }

    /// The session at `place` ends at `deadline` (seconds) unless it is heard of.
    #[inline]
    pub(crate) fn watch(&mut self, place: u32, deadline: u64) {
        if place < self.wheel.ids() {
            self.wheel.insert(place, deadline);
        }
    }
}

/// How long sessions live.
struct Lives<'a, S: SessionLayout> {
    state: &'a State<S>,
    timeouts: Timeouts,
    own: &'a Own,
    now_s: u32,
    expired: &'a mut Vec<u32>,
}

impl<S: SessionLayout> Lives<'_, S> {
    /// The second in which a session ends if it stays silent.
    fn deadline(&self, id: u32, key: &SessionKey, session: &S) -> u64 {
        let known = session.known();
        if self.own.get(known.outside.address) != Some(TRANSLATED) {
            return 0;
        }
        let timeout = self.timeouts.of(key.protocol, known.state);
        u64::from(self.state.sessions.last_seen(id)) + u64::from(timeout) + 1
    }
}

impl<S: SessionLayout> Rows for Lives<'_, S> {
    fn look(&mut self, place: u32) -> Next {
        let id = self.state.sessions.id_at(place);
        let Some((key, session)) = self.state.sessions.get(id) else {
            return Next::Expired;
        };
        let deadline = self.deadline(id, &key, &session);
        if deadline > self.now_s.into() {
            return Next::At(deadline);
        }
        if self.expired.len() >= ENDS {
            return Next::At(u64::from(self.now_s) + 1);
        }
        self.expired.push(id);
        Next::Expired
    }

    fn prefetch(&mut self, place: u32) {
        self.state
            .sessions
            .prefetch(self.state.sessions.id_at(place));
    }
}

impl<S: SessionLayout> Gateway<S> {
    /// Ends the sessions and bindings that are due.
    pub(crate) fn age(&mut self, shard: &mut Shard<Self>) {
        self.age_sessions(shard);
        self.age_bindings(shard);
    }

    fn age_sessions(&mut self, shard: &mut Shard<Self>) {
        let Some(translator) = &mut self.nat else {
            return;
        };
        let (now_s, state) = (shard.now_s(), &mut shard.state);
        let (aging, capacity) = (&mut self.aging, state.sessions.capacity());
        if aging.wheel.ids() < capacity {
            aging.wheel = Wheel::new(capacity, now_s.into());
        }
        let gains = state.sessions.gains();
        if core::mem::replace(&mut aging.gains, gains) != gains {
            aging.recheck = capacity;
        }
        let mut lives = Lives {
            state,
            timeouts: translator.nat.timeouts,
            own: &self.own,
            now_s,
            expired: &mut aging.expired,
        };
        aging
            .wheel
            .advance(now_s.into(), LOOKS.max(capacity / LOOKS_ROUND), &mut lives);
        for _ in 0..STEP.max(capacity / ROUND).min(capacity) {
            let place = aging.sessions;
            aging.sessions = if place + 1 < capacity { place + 1 } else { 0 };
            if aging.recheck == 0 && aging.wheel.contains(place) {
                continue;
            }
            aging.recheck = aging.recheck.saturating_sub(1);
            let id = lives.state.sessions.id_at(place);
            if let Some((key, session)) = lives.state.sessions.get(id) {
                let deadline = lives.deadline(id, &key, &session);
                aging.wheel.insert(place, deadline);
            }
        }
        for id in aging.expired.drain(..) {
            self.fast.forget(state, id);
            state.close(id, &mut translator.pool);
        }
    }

    /// Bindings end with their last session; this finds those that a death left without one.
    fn age_bindings(&mut self, shard: &mut Shard<Self>) {
        let Some(translator) = &mut self.nat else {
            return;
        };
        let (now_s, state) = (shard.now_s(), &mut shard.state);
        let mut expired = core::mem::take(&mut self.aging.expired);
        self.aging.bindings = state
            .bindings
            .scan(self.aging.bindings, STEP, |id, _, binding| {
                let silent = now_s.saturating_sub(state.bindings.last_seen(id));
                if binding.sessions == 0 && silent > IDLE_BINDING_S {
                    expired.push(id);
                }
            });
        for id in expired.drain(..) {
            state.unbind_idle(id, &mut translator.pool);
        }
        self.aging.expired = expired;
    }

    /// Shard 0 asks for routers that are not known, and now and then for those that are.
    pub(crate) fn ask_routers(&mut self, shard: &mut Shard<Self>) {
        if shard.index() != 0 {
            return;
        }
        let refresh = shard.now_s().saturating_sub(self.aging.asked_s) >= REFRESH_S;
        if refresh {
            self.aging.asked_s = shard.now_s();
        }
        for at in 0..self.routers.len() {
            let (port, address) = self.routers[at];
            if refresh || shard.state.neighbours.get(port, address).is_none() {
                self.ask(shard, port, address);
            }
        }
    }
}

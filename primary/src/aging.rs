//! What: the work of each millisecond: sessions that were silent for too long end, and the routers
//! of static routes are kept known.
//!
//! A cursor goes round the shard's ids in small steps; a round takes some seconds, which is how
//! much later than its timeout a session may end. Sessions whose outside address is no longer ours
//! end, too: the config may be younger than the state.

use crate::gateway::Gateway;
use crate::links::Target;
use crate::session::SessionLayout;
use baton::prelude::Shard;

/// Ids looked at in a tick, at least.
const STEP: u32 = 64;
/// Ticks in which a large table is gone through once.
const ROUND: u32 = 8_192;
/// Sessions ended in a tick, at most: each costs some cache misses.
const ENDED: usize = 64;
/// Seconds after which a binding without sessions is given back.
const IDLE_BINDING_S: u32 = 60;
/// Seconds between two questions to a router that is known.
const REFRESH_S: u32 = 30;

const TRANSLATED: Target = Target::Own { translated: true };

/// Where the cursors stand.
#[derive(Debug, Default)]
pub(crate) struct Aging {
    sessions: u32,
    bindings: u32,
    expired: Vec<u32>,
    asked_s: u32,
}

impl<S: SessionLayout> Gateway<S> {
    /// Ends what is due among the next few sessions.
    pub(crate) fn age(&mut self, shard: &mut Shard<Self>) {
        let Some(translator) = &mut self.nat else {
            return;
        };
        let now_s = shard.now_s();
        let state = &mut shard.state;
        let mut expired = std::mem::take(&mut self.aging.expired);
        expired.reserve(ENDED);
        let step = STEP.max(state.sessions.capacity() / ROUND);
        let timeouts = translator.nat.timeouts;
        let own = &self.own;
        self.aging.sessions = state
            .sessions
            .scan(self.aging.sessions, step, |id, key, session| {
                let silent = now_s.saturating_sub(state.sessions.last_seen(id));
                let known = session.known();
                let timeout = timeouts.of(key.protocol, known.state);
                let ours = own.get(known.outside.address) == Some(TRANSLATED);
                if (silent > timeout || !ours) && expired.len() < ENDED {
                    expired.push(id);
                }
            });
        for id in expired.drain(..) {
            state.close(id, &mut translator.pool);
        }
        self.aging.bindings = state
            .bindings
            .scan(self.aging.bindings, STEP, |id, _, binding| {
                let silent = now_s.saturating_sub(state.bindings.last_seen(id));
                if binding.sessions == 0 && silent > IDLE_BINDING_S && expired.len() < ENDED {
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

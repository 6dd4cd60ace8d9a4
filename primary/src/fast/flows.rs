//! What: the flow cache: what the fast path has found out about each flow of its shard lately, in each direction, in
//! one line of memory. A packet of such a flow needs no index, no key, no record and no route.
//!
//! ```text
//!   a set is a cache line of two entries; who finds no room there may be in the other line of its pair
//!   | SessionKey, its first byte of padding 1 from outside: 16 | first word: 8 | session: 4 | next hop: 2 | age: 2 |
//! ```
//! A flow's set follows from the words of its frames as they lie there, so that it can be asked for before they are
//! understood: [`FlowCache::home_of`].
//!
//! The first word is a record's ([`Beginning`]); of a flow from outside, it has the inside end in place of the outside.
//!
//! Invariants:
//!
//! - C1 an entry counts in the age that it was made in. An age ends, and all entries with it, when routes
//!   change, and when we get the shard: others may have changed what is behind an entry;
//! - C2 an entry goes when its session ends or its record changes. Only its owner does that to a session;
//! - C3 neighbours are not in here: the next hop is, who is asked for at the packet's turn.
//!
//! It is private to the process, says nothing that the tables do not, and is empty after a takeover.

use crate::session::{Beginning, SessionKey};
use baton_datapath::common::Common;
use baton_shared_state::simd::prefetch;
use baton_shared_state::sys::memory::prefer_huge_pages;
use baton_shared_state::table::mix;
use core::hash::{BuildHasher, Hasher};
use std::hash::RandomState;

/// Entries at most: 32 MiB.
const MOST: usize = 1 << 20;
/// One in so many flows that find no room takes another's: where there are more flows than entries, most would be
/// overwritten before they are asked for again.
const STUBBORN: u32 = 8;
/// The bit above a key's protocol, as in [`Common::second`].
const FROM_OUTSIDE: u32 = 40;
/// Any number with many bits: addresses must not be zeros where they are multiplied.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
const HOP: u32 = 32;
const AGE: u32 = 48;
/// Of an entry that does not count.
const NEVER: u64 = 0;
const LAST_AGE: u64 = 0xffff;

/// What packets of a flow are known by: their key, and which way they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowKey([u64; 2]);

impl FlowKey {
    /// Of packets from the inside end of a key; with `inwards` of those to an outside end, which the key has in
    /// place of the inside.
    #[inline(always)]
    pub(crate) fn new(key: &SessionKey, inwards: bool) -> FlowKey {
        let [first, second]: [u64; 2] = zerocopy::transmute!(*key);
        FlowKey([first, second | u64::from(inwards) << FROM_OUTSIDE])
    }

    /// Of a packet.
    #[inline(always)]
    pub(crate) fn of(common: &Common) -> FlowKey {
        FlowKey([common.addresses, common.second])
    }

    /// The addresses as they lie in a frame, the source first; the ports likewise, and the protocol above them.
    fn in_frame(self) -> (u64, u64) {
        let FlowKey([addresses, second]) = self;
        let (ports, protocol) = (second as u32, second & 0xff_0000_0000);
        match second >> FROM_OUTSIDE {
            0 => (addresses, u64::from(ports) | protocol),
            _ => (
                addresses.rotate_left(32),
                u64::from(ports.rotate_left(16)) | protocol,
            ),
        }
    }
}

/// What is known of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// The new near end of its packets; the session's TCP state and flags.
    pub(crate) becomes: Beginning,
    pub(crate) session: u32,
    /// The number of its next hop.
    pub(crate) hop: u16,
}

/// What ends an age when it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// [`baton::table::Table::gains`] of the sessions.
    pub(crate) gains: u32,
    /// [`baton::routes::Routes::changes`].
    pub(crate) routes: (u32, u32),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: FlowKey,
    becomes: Beginning,
    /// Session, next hop and age.
    rest: u64,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Set([Entry; 2]);

const _: () = assert!(size_of::<Set>() == 64);

/// Not all zeros: that would be memory which nothing has touched yet.
const EMPTY: Entry = Entry {
    key: FlowKey([u64::MAX; 2]),
    becomes: Beginning(0),
    rest: NEVER,
};

impl Entry {
    /// Zero if it is of this key and age.
    #[inline(always)]
    fn differs(&self, FlowKey([first, second]): FlowKey, age: u64) -> u64 {
        let FlowKey(key) = self.key;
        key[0] ^ first | key[1] ^ second | self.rest >> AGE ^ age
    }
}

/// The flows of a shard that were met lately.
pub(crate) struct FlowCache {
    /// A power of two.
    sets: Vec<Set>,
    /// Keeps others from choosing flows of one set.
    seed: u64,
    age: u64,
    known: Known,
    forgotten: u32,
    refused: u32,
}

impl core::fmt::Debug for FlowCache {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "FlowCache({} sets)", self.sets.len())
    }
}

impl FlowCache {
    /// For a shard of so many sessions, both directions of each.
    pub(crate) fn new(sessions: u32) -> FlowCache {
        let entries = (sessions as usize * 2).clamp(4, MOST).next_power_of_two();
        let mut sets = Vec::with_capacity(entries / 2);
        // Small pages do as well, only slower.
        let _ = prefer_huge_pages(sets.spare_capacity_mut());
        // Touched here: while packets wait is no time for page faults.
        sets.resize(entries / 2, Set([EMPTY; 2]));
        FlowCache {
            sets,
            seed: RandomState::new().build_hasher().finish(),
            age: NEVER + 1,
            known: Known::default(),
            forgotten: 0,
            refused: 0,
        }
    }

    /// Begins another age if what is known now is not what was known (C1).
    #[inline]
    pub(crate) fn renew(&mut self, known: Known) {
        if self.known != known {
            self.known = known;
            self.begin_age();
        }
    }

    #[cold]
    #[inline(never)]
    fn begin_age(&mut self) {
        self.age += 1;
        if self.age > LAST_AGE {
            self.age = NEVER + 1;
            self.sets.fill(Set([EMPTY; 2]));
        }
    }

    /// The set of a flow, by its addresses as they lie in a frame, and its ports with the protocol above them; that is
    /// on its way into the processor's cache. Any other words have some set, too.
    #[inline(always)]
    pub(crate) fn home_of(&self, addresses: u64, ports: u64) -> u32 {
        let set = self.home((addresses, ports));
        prefetch(&raw const self.sets[set]);
        set as u32
    }

    #[inline(always)]
    fn home(&self, (addresses, ports): (u64, u64)) -> usize {
        mix(addresses ^ ODD, ports ^ self.seed) as usize & (self.sets.len() - 1)
    }

    /// Brings the set that is left when the home set has no room into the processor's cache.
    #[inline(always)]
    pub(crate) fn prefetch_further(&self, home: u32) {
        prefetch(&raw const self.sets[home as usize ^ 1]);
    }

    /// Whether a flow is in its home set; then, what is known of it.
    #[inline(always)]
    pub(crate) fn recall(&self, home: u32, key: FlowKey) -> (bool, Flow) {
        self.recall_in(home as usize, key)
    }

    /// The same for the set that is left when the home set has no room.
    #[inline(always)]
    pub(crate) fn recall_further(&self, home: u32, key: FlowKey) -> (bool, Flow) {
        self.recall_in(home as usize ^ 1, key)
    }

    #[inline(always)]
    fn recall_in(&self, set: usize, key: FlowKey) -> (bool, Flow) {
        let Set(entries) = &self.sets[set];
        // No branch: which of the two it is, nobody can foresee.
        let entry = &entries[usize::from(entries[0].differs(key, self.age) != 0)];
        let flow = Flow {
            becomes: entry.becomes,
            session: entry.rest as u32,
            hop: (entry.rest >> HOP) as u16,
        };
        (entry.differs(key, self.age) == 0, flow)
    }

    /// Keeps what was found out about a flow in this age, if there is room.
    pub(crate) fn remember(&mut self, key: FlowKey, flow: Flow) {
        if let Some((set, place)) = self.place_for(key) {
            self.sets[set].0[place] = Entry {
                key,
                becomes: flow.becomes,
                rest: u64::from(flow.session) | u64::from(flow.hop) << HOP | self.age << AGE,
            };
        }
    }

    /// Where a flow is or may be put: its set, and the place there.
    fn place_for(&mut self, key: FlowKey) -> Option<(usize, usize)> {
        let home = self.home(key.in_frame());
        let both = [home, home ^ 1];
        let find = |is: &dyn Fn(&Entry) -> bool| {
            let mut sets = both.into_iter();
            sets.find_map(|set| Some((set, self.sets[set].0.iter().position(is)?)))
        };
        let free = find(&|entry| entry.key == key)
            .or_else(|| find(&|entry| entry.rest >> AGE != self.age));
        free.or_else(|| {
            self.refused = self.refused.wrapping_add(1);
            let another = (self.refused / STUBBORN) as usize;
            let place = (both[another / 2 % 2], another % 2);
            self.refused.is_multiple_of(STUBBORN).then_some(place)
        })
    }

    /// Forgets a flow (C2).
    pub(crate) fn forget(&mut self, key: FlowKey) {
        self.forgotten = self.forgotten.wrapping_add(1);
        let home = self.home(key.in_frame());
        for set in [home, home ^ 1] {
            let Set(entries) = &mut self.sets[set];
            let same = entries.iter_mut().filter(|entry| entry.key == key);
            same.for_each(|entry| *entry = EMPTY);
        }
    }

    /// How often it was told to forget a flow. While that stays, what was recalled is so still.
    #[inline(always)]
    pub(crate) fn forgotten(&self) -> u32 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_datapath::rewrite::End;

    /// More flows than a cache of 64 entries has room for, each with something known of it.
    fn flow(n: u32) -> (FlowKey, Flow) {
        let end = |port| End {
            address: std::net::Ipv4Addr::from(n),
            port,
        };
        let key = FlowKey::new(&SessionKey::new(17, end(1), end(2)), false);
        let flow = Flow {
            becomes: Beginning(u64::from(n) << 20 | 5),
            session: n,
            hop: n as u16,
        };
        (key, flow)
    }

    fn recall(cache: &FlowCache, (key, _): &(FlowKey, Flow)) -> Option<Flow> {
        let (addresses, ports) = key.in_frame();
        let home = cache.home_of(addresses, ports);
        let found = [cache.recall(home, *key), cache.recall_further(home, *key)];
        let mut known = found.into_iter().filter(|(known, _)| *known);
        known.next().map(|(_, flow)| flow)
    }

    fn known(cache: &FlowCache, flows: &[(FlowKey, Flow)]) -> usize {
        let found = flows.iter().filter_map(|flow| {
            let found = recall(cache, flow)?;
            assert_eq!(found, flow.1, "another flow's");
            Some(())
        });
        found.count()
    }

    #[test]
    fn what_is_recalled_is_what_was_remembered_last() {
        let mut cache = FlowCache::new(32);
        let flows: Vec<_> = (0..1_000).map(flow).collect();
        for (at, &(key, flow)) in flows.iter().enumerate() {
            cache.remember(key, flow);
            known(&cache, &flows[..=at]);
        }
        let all = known(&cache, &flows);
        assert!((57..=64).contains(&all), "{all} of 64");
        assert!(known(&cache, &flows[500..]) > 20, "new flows find no room");
        let mut one = *flows
            .iter()
            .find(|one| recall(&cache, one).is_some())
            .unwrap();
        one.1.hop = 7;
        cache.remember(one.0, one.1);
        assert_eq!(recall(&cache, &one), Some(one.1));
        cache.forget(one.0);
        assert_eq!(recall(&cache, &one), None);
        assert_eq!(cache.forgotten(), 1);
    }

    #[test]
    fn the_two_directions_of_a_key_are_two_flows() {
        let mut cache = FlowCache::new(32);
        let (out, flow) = flow(3);
        let FlowKey([first, second]) = out;
        let inwards = FlowKey([first, second | 1 << FROM_OUTSIDE]);
        let (addresses, ports) = out.in_frame();
        let protocol = ports & 0xff_0000_0000;
        let ports = u64::from((ports as u32).rotate_left(16));
        let turned = (addresses.rotate_left(32), ports | protocol);
        assert_eq!(inwards.in_frame(), turned, "the near end is the receiver");
        cache.remember(out, flow);
        assert_eq!(recall(&cache, &(out, flow)), Some(flow));
        assert_eq!(recall(&cache, &(inwards, flow)), None);
    }

    #[test]
    fn an_age_ends_for_all_and_none_comes_back_when_ages_are_counted_anew() {
        let mut cache = FlowCache::new(32);
        let flows: Vec<_> = (0..32).map(flow).collect();
        let mut routes = 0;
        let mut renew = |cache: &mut FlowCache| {
            routes += 1;
            let routes = (routes, 0);
            cache.renew(Known { gains: 1, routes });
        };
        for _ in 0..3 {
            for &(key, flow) in &flows {
                cache.remember(key, flow);
            }
            assert!(known(&cache, &flows) > 24);
            for _ in 0..LAST_AGE {
                renew(&mut cache);
                assert_eq!(known(&cache, &flows), 0, "age {}", cache.age);
            }
        }
    }
}

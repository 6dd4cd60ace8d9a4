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
//! It is private to the process, says nothing that the tables do not, and is empty after a takeover. It takes 64 to
//! 128 bytes for each session that its shard has room for, at most 32 MiB; of a process that is about to take over, as well.

use crate::session::{Beginning, SessionKey};
use baton_datapath::common::Common;
use baton_shared_state::BURST;
use baton_shared_state::simd::prefetch;
use baton_shared_state::sys::memory::prefer_huge_pages;
use baton_shared_state::table::NO_ID;
use baton_shared_state::table::mix;
use core::hash::{BuildHasher, Hasher};
use std::hash::RandomState;

/// Entries at most: 32 MiB.
const MOST: usize = 1 << 20;
/// One in so many flows that find no room takes another's: where there are more flows than entries, most would be
/// overwritten before they are asked for again.
const STUBBORN: u32 = 8;
/// Sessions that are remembered to have been forgotten.
const LATELY: usize = 8;
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
    /// How often a session was told to be forgotten, and the last of them: number `n` at `n % LATELY`.
    forgotten: u32,
    lately: [u32; LATELY],
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
            lately: [NO_ID; LATELY],
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
        self.age = self.age % LAST_AGE + 1;
        // Ages come again. Until this one does each set is emptied once: by a few at each, as all of them at
        // once would take milliseconds.
        let some = self.sets.len().div_ceil(LAST_AGE as usize);
        let sets = self.sets.chunks_mut(some).nth(self.age as usize - 1);
        sets.unwrap_or_default().fill(Set([EMPTY; 2]));
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

    /// Forgets flows of a session (C2).
    pub(crate) fn forget(&mut self, session: u32, flows: &[FlowKey]) {
        self.lately[self.forgotten as usize % LATELY] = session;
        self.forgotten = self.forgotten.wrapping_add(1);
        for key in flows {
            let home = self.home(key.in_frame());
            for set in [home, home ^ 1] {
                let Set(entries) = &mut self.sets[set];
                let same = entries.iter_mut().filter(|entry| entry.key == *key);
                same.for_each(|entry| *entry = EMPTY);
            }
        }
    }

    /// How often it was told to forget.
    #[inline(always)]
    pub(crate) fn forgotten(&self) -> u32 {
        self.forgotten
    }

    /// A bit for each of `sessions` that was forgotten since [`FlowCache::forgotten`] was `then`; all bits if there are
    /// too many to know.
    #[inline(always)]
    pub(crate) fn forgotten_since(&self, then: u32, sessions: &[u32; BURST]) -> u32 {
        match self.forgotten.wrapping_sub(then) {
            0 => 0,
            n => self.forgotten_of(n, sessions),
        }
    }

    #[inline(never)]
    fn forgotten_of(&self, n: u32, sessions: &[u32; BURST]) -> u32 {
        if n as usize > LATELY {
            return !0;
        }
        let ids =
            (1..=n).map(|back| self.lately[self.forgotten.wrapping_sub(back) as usize % LATELY]);
        ids.fold(0, |all, id| {
            let same = sessions.iter().enumerate();
            same.fold(all, |bits, (at, session)| {
                bits | u32::from(*session == id) << at
            })
        })
    }
}

#[cfg(test)]
mod tests;

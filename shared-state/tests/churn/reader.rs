//! The reader: looks up, compares with what it may see, says that it holds nothing.

use std::time::{Duration, Instant};

use core::ops::RangeInclusive;

use baton_shared_state::acl::{Acl, Key4};
use baton_shared_state::lifeline::Lifeline;
use baton_shared_state::lpm::{Lpm, NO_ROUTE};
use baton_shared_state::lpm6::Lpm6;
use baton_shared_state::rcu::{Qsbr, Reader};
use baton_shared_state::table::{Index, Keys, NO_ID, Records};

use crate::memory::{Key, Memory, Tables, Value, plan};
use crate::oracle::{COVERS, KEYS, Kind, Oracle, Stats, is_there};
use crate::process::Parent;
use crate::writer::{
    action_of, address_of, address6_of, hash_of, header_of, hop_of, key_of, value_of,
};

/// Longer than any test goes on.
const MOST: Duration = Duration::from_secs(400);

/// Looks until the writer says stop, or is gone.
pub(crate) fn run(parent: Parent, slot: u16) {
    let memory = Memory::open(parent.pid, &parent.numbers);
    let _life = Lifeline::hold(memory.arena(), slot).expect("a lifeline");
    let stats = memory.stats(slot);
    stats.set_mapped_at(memory.tables().as_ptr().addr() as u64);
    let qsbr = Qsbr::attach(memory.qsbr()).expect("words of readers");
    let mut views = Views::open(&memory, stats);
    let reader = qsbr.reader(slot).expect("a slot");
    reader.online();
    let deadline = Instant::now() + MOST;
    for burst in 0u64.. {
        // Now and then it has rows in its hands while others run.
        let slow = burst.is_multiple_of(20);
        views.burst(Kind::ALL[burst as usize % 4], slow, || memory.is_held(slot));
        reader.quiescent();
        if burst.is_multiple_of(64) {
            pause(&reader, burst);
            assert!(Instant::now() < deadline, "nobody says stop");
            let orphan = nix::unistd::getppid().as_raw() as u32 != parent.pid;
            if memory.is_stopped() || orphan {
                return;
            }
        }
    }
}

/// Now and then a reader has nothing to do: it goes offline, or only gives way.
fn pause(reader: &Reader, burst: u64) {
    if burst.is_multiple_of(256) {
        reader.offline();
        std::thread::yield_now();
        reader.online();
    } else {
        std::thread::yield_now();
    }
}

/// The structures as this process maps them, and what it found there last.
struct Views {
    oracle: Oracle,
    stats: Stats,
    keys: Keys<Key>,
    records: Records<Value>,
    index: Index,
    routes: Lpm,
    routes6: Lpm6,
    rules: Acl,
    addresses: [u32; KEYS],
    addresses6: [[u8; 16]; KEYS],
    headers: [Key4; KEYS],
    last: [[u64; KEYS]; 4],
}

type Windows = [RangeInclusive<u64>; KEYS + COVERS];

impl Views {
    fn open(memory: &Memory, stats: Stats) -> Views {
        let tables = Tables::over(memory.tables());
        let total = plan().total();
        Views {
            oracle: memory.oracle(),
            stats,
            keys: Keys::new(tables.keys, total).expect("keys"),
            records: Records::new(tables.records, total).expect("records"),
            index: Index::attach(tables.index).expect("an index"),
            routes: Lpm::attach(tables.routes).expect("routes"),
            routes6: Lpm6::attach(tables.routes6).expect("routes"),
            rules: Acl::attach(tables.rules).expect("rules"),
            addresses: core::array::from_fn(address_of),
            addresses6: core::array::from_fn(address6_of),
            headers: core::array::from_fn(header_of),
            last: [[0; KEYS]; 4],
        }
    }

    fn burst(&mut self, kind: Kind, slow: bool, is_held: impl Fn() -> bool) {
        let before = self.oracle.before(kind);
        match kind {
            Kind::Table => self.rows(&before, slow, is_held),
            Kind::Routes => {
                let mut found = [0; KEYS];
                self.routes.lookup_burst(&self.addresses, &mut found);
                self.hops(kind, &before, &found);
            }
            Kind::Routes6 => {
                let mut found = [0; KEYS];
                self.routes6.lookup_burst(&self.addresses6, &mut found);
                self.hops(kind, &before, &found);
            }
            Kind::Rules => {
                let mut found = [0; KEYS];
                self.rules.classify4(&self.headers, &mut found);
                let windows = self.oracle.after(kind, &before);
                for (key, action) in found.into_iter().enumerate() {
                    let gives = |number: u64| match is_there(number) {
                        true => action_of(key, number),
                        false => 0,
                    };
                    let may = windows[key].clone().any(|number| gives(number) == action);
                    assert!(
                        may,
                        "rule {key}: action {action:#x}, changes {:?}",
                        windows[key]
                    );
                }
                self.count(kind, &windows, found.map(u64::from));
            }
        }
    }

    /// Finds rows, reads them, and reads them again at the end of the burst: they are in its hands until then.
    fn rows(&mut self, before: &[u64; KEYS + COVERS], slow: bool, is_held: impl Fn() -> bool) {
        let shard = self.index.shard(0);
        let keys: [Key; KEYS] = core::array::from_fn(key_of);
        let mut ids = [NO_ID; KEYS];
        let same = |i: usize, id: u32| self.keys.is(id, &keys[i]);
        shard.find_burst(hash_of, |id| self.touch(id), same, &mut ids);
        let records = self.records;
        let read = |id: &u32| (*id != NO_ID).then(|| records.read(*id));
        let found: Vec<Option<Value>> = ids.iter().map(read).collect();
        let windows = self.oracle.after(Kind::Table, before);
        for (key, value) in found.iter().enumerate() {
            let gives = |number: u64| is_there(number).then(|| value_of(key, number));
            let may = windows[key].clone().any(|number| gives(number) == *value);
            assert!(may, "row {key}: {value:x?}, changes {:?}", windows[key]);
        }
        self.count(
            Kind::Table,
            &windows,
            core::array::from_fn(|key| found[key].map_or(0, |value| value[1])),
        );
        if slow {
            std::thread::yield_now();
        }
        loop {
            let again: Vec<Option<Value>> = ids.iter().map(read).collect();
            assert_eq!(again, found, "a row was used again in a reader's hands");
            // Told to stay, it stays: with rows in its hands.
            if !is_held() || found.iter().all(Option::is_none) {
                return;
            }
            self.stats.count_look_in_hold();
        }
    }

    fn touch(&self, id: u32) {
        if id < self.keys.count() {
            self.keys.prefetch(id);
        }
    }

    /// Each hop is that of the key's own rule, or where there may be none that of the cover.
    fn hops(&mut self, kind: Kind, before: &[u64; KEYS + COVERS], found: &[u16; KEYS]) {
        let windows = self.oracle.after(kind, before);
        for (key, found) in found.iter().enumerate() {
            let cover = KEYS + key % COVERS;
            let gives = |place: usize, number: u64| is_there(number).then(|| hop_of(place, number));
            let mut own = windows[key].clone().map(|number| gives(key, number));
            let mut above = windows[cover].clone().map(|number| gives(cover, number));
            let may_be_above = own.clone().any(|hop| hop.is_none())
                && above.any(|hop| hop.unwrap_or(NO_ROUTE) == *found);
            let may = may_be_above || own.any(|hop| hop == Some(*found));
            assert!(
                may,
                "{kind:?} {key}: hop {found}, changes {:?} and {:?}",
                windows[key], windows[cover]
            );
        }
        self.count(kind, &windows, found.map(u64::from));
    }

    /// Counts lookups, those that ran beside a change, and those that found something else than the last time.
    fn count(&mut self, kind: Kind, windows: &Windows, found: [u64; KEYS]) {
        let last = &mut self.last[kind as usize];
        let beside = windows[..KEYS].iter().filter(|w| w.start() != w.end());
        let changes = found.iter().zip(&*last).filter(|(now, last)| now != last);
        let counts = [KEYS, beside.count(), changes.count()].map(|n| n as u64);
        self.stats.count(kind, counts);
        *last = found;
    }
}

//! The writer of all structures, and the changes it makes.

use std::time::Instant;

use baton_shared_state::acl::{Acl, AclError, AclWriter, Family, Key4, Prefix, Rule, RuleId};
use baton_shared_state::lifeline::{Lifelines, Status};
use baton_shared_state::lpm::{Lpm, LpmError, LpmWriter};
use baton_shared_state::lpm6::{Lpm6, Lpm6Error, Lpm6Writer};
use baton_shared_state::rcu::{DeferQueue, Qsbr};
use baton_shared_state::table::{IdSpace, Index, Keys, Records};
use zerocopy::IntoBytes;

use crate::memory::{DEFERRED, GROUPS, Key, LINES, Memory, SEED, Tables, Value};
use crate::memory::{index_lines, plan, rule_sizes};
use crate::oracle::{COVERS, KEYS, Kind, Oracle, is_there};

/// Ids beyond those that the keys need: so few that each is used again at once.
const SPARE_IDS: u32 = 4;

pub(crate) struct Writer {
    oracle: Oracle,
    qsbr: Qsbr,
    queue: DeferQueue,
    lifelines: Lifelines,
    ids: IdSpace,
    keys: Keys<Key>,
    records: Records<Value>,
    index: Index,
    rows: [Option<u32>; KEYS],
    routes: LpmWriter,
    routes6: Lpm6Writer,
    rules: AclWriter,
    rule_ids: [Option<RuleId>; KEYS],
    /// The token after which what rests of the rules may be used again.
    rules_wait: Option<u64>,
    made: [u64; 4],
    random: u64,
    deadline: Instant,
}

impl Writer {
    pub(crate) fn create(memory: &Memory, deadline: Instant) -> Writer {
        let tables = Tables::over(memory.tables());
        let qsbr = Qsbr::create(memory.qsbr()).expect("words of readers");
        let queue = DeferQueue::create(memory.queue(), DEFERRED).expect("a queue");
        let ids = IdSpace::create(tables.ids, plan()).expect("ids");
        while ids.shard(0).available() > KEYS as u32 + SPARE_IDS {
            ids.shard(0).alloc();
        }
        let mut routes = Lpm::create(tables.routes, GROUPS).expect("a table");
        let mut routes6 = Lpm6::create(tables.routes6, LINES).expect("a table");
        routes.recycle_by(qsbr);
        routes6.recycle_by(qsbr);
        let rules = Acl::create(tables.rules, Family::V4, rule_sizes());
        let total = plan().total();
        Writer {
            oracle: memory.oracle(),
            qsbr,
            queue,
            lifelines: Lifelines::open(memory.arena()).expect("lifelines"),
            ids,
            keys: Keys::new(tables.keys, total).expect("keys"),
            records: Records::new(tables.records, total).expect("records"),
            index: Index::create(tables.index, 1, index_lines(), SEED).expect("an index"),
            rows: [None; KEYS],
            routes,
            routes6,
            rules: rules.expect("a classifier"),
            rule_ids: [None; KEYS],
            rules_wait: None,
            made: [0; 4],
            random: 1,
            deadline,
        }
    }

    /// Changes of a structure so far.
    pub(crate) fn made(&self, kind: Kind) -> u64 {
        self.made[kind as usize]
    }

    pub(crate) fn is_online(&self, slot: u16) -> bool {
        self.qsbr.is_online(slot)
    }

    pub(crate) fn is_dead(&self, slot: u16) -> bool {
        self.lifelines.status(slot) == Status::Dead
    }

    /// Makes a change somewhere if there is room for it; what waits for readers does not hold the rest up.
    pub(crate) fn change(&mut self) {
        let r = self.draw();
        let key = (r >> 8) as usize % KEYS;
        // A cover changes seldom: it is under a quarter of the keys.
        let cover = (r >> 20).is_multiple_of(16);
        let place = if cover { KEYS + key % COVERS } else { key };
        let made = match r % 32 {
            0 => self.change_rule(key),
            1..=8 => self.change_route(place),
            9..=16 => self.change_route6(place),
            _ => self.change_row(key),
        };
        if !made && r >> 60 == 0 {
            assert!(Instant::now() < self.deadline, "the readers never move on");
            std::thread::yield_now();
        }
    }

    /// Makes a change of a row if there is room for it now.
    pub(crate) fn change_if_possible(&mut self) {
        let key = self.draw() as usize % KEYS;
        self.change_row(key);
        std::thread::yield_now();
    }

    /// Changes rows while a reader is inside a burst; how many it was until nothing was free any more.
    pub(crate) fn change_rows_until_none_is_free(&mut self) -> u32 {
        let mut made = 0;
        loop {
            // A row that is there goes and comes again, so that both kinds of room are used up.
            let there = (0..KEYS).find(|key| self.rows[*key].is_some());
            let key = there.unwrap_or(0);
            if !(self.change_row(key) && self.change_row(key)) {
                return made;
            }
            made += 2;
            let most = 2 * (DEFERRED + SPARE_IDS + KEYS as u32);
            assert!(
                made < most,
                "{made} changes, and nothing waits for the reader"
            );
        }
    }

    /// Does `step` until it says that it is done.
    pub(crate) fn until(&mut self, what: &str, mut step: impl FnMut(&mut Writer) -> bool) {
        while !step(self) {
            assert!(Instant::now() < self.deadline, "never: {what}");
            std::thread::yield_now();
        }
    }

    /// With all readers gone: nothing waits any more, and everything is free that should be.
    pub(crate) fn settle(&mut self) {
        self.until("everything that waits is given back", |writer| {
            writer.reclaim();
            writer.queue.waiting() == 0 && writer.routes.resting() == 0
        });
        let used = self.rows.iter().flatten().count() as u32;
        let free = self.ids.shard(0).available();
        assert_eq!(used + free, KEYS as u32 + SPARE_IDS, "no id is lost");
        assert_eq!(self.rules.audit(), 0);
    }

    /// Gives back what readers are through with; who is dead is taken offline on the way.
    fn reclaim(&mut self) {
        let lifelines = self.lifelines;
        let is_dead = |slot| lifelines.status(slot) == Status::Dead;
        let ids = self.ids.shard(0);
        self.queue.reclaim(&self.qsbr, is_dead, |id| ids.free(id));
        self.routes.reclaim(is_dead);
        self.routes6.reclaim(is_dead);
    }

    /// A row comes or goes; false if there is no room.
    fn change_row(&mut self, key: usize) -> bool {
        self.reclaim();
        let oracle = self.oracle;
        let made = oracle.change(Kind::Table, key, |number| match self.rows[key] {
            Some(id) => self.remove_row(key, id),
            None => self.insert_row(key, number),
        });
        self.made[Kind::Table as usize] += u64::from(made);
        made
    }

    fn insert_row(&mut self, key: usize, number: u64) -> bool {
        let Some(id) = self.ids.shard(0).alloc() else {
            return false;
        };
        self.records.write(id, &value_of(key, number));
        self.keys.publish(id, &key_of(key));
        let inserted = self.index.shard(0).insert(hash_of(key), id);
        inserted.expect("room in the index");
        self.rows[key] = Some(id);
        true
    }

    /// Its id may be used again when no reader has the row in its hands.
    fn remove_row(&mut self, key: usize, id: u32) -> bool {
        if self.queue.waiting() == DEFERRED.into() {
            return false;
        }
        self.index.shard(0).remove(hash_of(key), id);
        self.keys.unpublish(id);
        let deferred = self.queue.defer_free(&self.qsbr, id);
        deferred.expect("room was seen above");
        self.rows[key] = None;
        true
    }

    /// A route comes or goes; false if all groups are in use or rest.
    fn change_route(&mut self, place: usize) -> bool {
        self.reclaim();
        let (prefix, depth) = route_of(place);
        let made = self.oracle.change(Kind::Routes, place, |number| {
            if !is_there(number) {
                let gone = self.routes.delete(prefix, depth);
                assert!(gone.expect("a prefix").is_some());
                return true;
            }
            match self.routes.insert(prefix, depth, hop_of(place, number)) {
                Err(LpmError::Full { resting: 1.., .. }) => false,
                other => other.is_ok() || panic!("{other:?}"),
            }
        });
        self.made[Kind::Routes as usize] += u64::from(made);
        made
    }

    /// The same for IPv6; false if the lines it needs rest.
    fn change_route6(&mut self, place: usize) -> bool {
        self.reclaim();
        let (prefix, depth) = route6_of(place);
        let made = self.oracle.change(Kind::Routes6, place, |number| {
            let hop = hop_of(place, number);
            let made = if is_there(number) {
                self.routes6.insert(prefix, depth, hop)
            } else {
                let gone = self.routes6.delete(prefix, depth);
                gone.map(|hop| assert!(hop.is_some()))
            };
            match made {
                Err(Lpm6Error::Full { resting: 1.., .. }) => false,
                other => other.is_ok() || panic!("{other:?}"),
            }
        });
        self.made[Kind::Routes6 as usize] += u64::from(made);
        made
    }

    /// A rule comes or goes; false while the readers have to move on first.
    fn change_rule(&mut self, key: usize) -> bool {
        let lifelines = self.lifelines;
        if let Some(token) = self.rules_wait {
            let is_dead = |slot| lifelines.status(slot) == Status::Dead;
            if !self.qsbr.check(token, is_dead) {
                return false;
            }
            // Nothing was changed since: all that rests is out of every reader's sight.
            self.rules.quiesced().expect("no damage");
            self.rules_wait = None;
        }
        let standing = self.rule_ids[key];
        let made = self.oracle.change(Kind::Rules, key, |number| {
            let made = match standing {
                Some(id) => self.rules.remove(id).map(|_| None),
                None => self.rules.add(&rule_of(key, number)).map(Some),
            };
            match made {
                Err(AclError::Full { resting: 1.., .. }) => false,
                other => {
                    self.rule_ids[key] = other.expect("room");
                    true
                }
            }
        });
        if !made {
            self.rules_wait = Some(self.qsbr.start());
        }
        self.made[Kind::Rules as usize] += u64::from(made);
        made
    }

    /// splitmix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

pub(crate) fn key_of(key: usize) -> Key {
    [key as u64, !(key as u64)]
}

pub(crate) fn hash_of(key: usize) -> u64 {
    baton_shared_state::table::hash_bytes(SEED, key_of(key).as_bytes())
}

pub(crate) fn value_of(key: usize, number: u64) -> Value {
    let mixed = (key as u64) << 32 ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [key as u64, number, mixed, number]
}

/// Next hops tell the last changes of one place apart, and covers from keys.
pub(crate) fn hop_of(place: usize, number: u64) -> u16 {
    let cover = u16::from(place >= KEYS);
    (number % 8192) as u16 * 2 + cover
}

/// The address that readers look up for a key: under a cover, and under a rule of its own.
pub(crate) fn address_of(key: usize) -> u32 {
    let (cover, i) = (key % COVERS, key / COVERS);
    // The first twelve share three blocks, the others have one each.
    let inside = if i < 12 {
        (i / 4) << 8 | (i % 4) << 6
    } else {
        i << 8
    };
    (0x0a00_0000 | cover << 16 | inside | 5) as u32
}

pub(crate) fn route_of(place: usize) -> (u32, u8) {
    if place >= KEYS {
        return (0x0a00_0000 | ((place - KEYS) as u32) << 16, 19);
    }
    let depth = match place / COVERS {
        i @ 0..12 => 26 + (i as u8 % 3) * 3,
        _ => 24,
    };
    (address_of(place) & u32::MAX << (32 - depth), depth)
}

pub(crate) fn address6_of(key: usize) -> [u8; 16] {
    let (cover, i) = ((key % COVERS) as u128, (key / COVERS) as u128);
    (0x2001_0db8 << 96 | cover << 84 | i << 80 | 0x1234_5678).to_be_bytes()
}

pub(crate) fn route6_of(place: usize) -> ([u8; 16], u8) {
    if place >= KEYS {
        let cover = (place - KEYS) as u128;
        return ((0x2001_0db8 << 96 | cover << 84).to_be_bytes(), 44);
    }
    let depth = [48, 56, 64, 128, 50][place / COVERS % 5];
    let address = u128::from_be_bytes(address6_of(place));
    ((address & u128::MAX << (128 - depth)).to_be_bytes(), depth)
}

pub(crate) fn header_of(key: usize) -> Key4 {
    let key = key as u32;
    Key4 {
        src: 0x0a00_0000 | key << 8 | 9,
        dst: 0x0a01_0000 | key,
        sport: 1000,
        dport: key as u16 * 10 + 2,
        proto: 6,
        _pad: [0; 3],
    }
}

fn rule_of(key: usize, number: u64) -> Rule {
    let header = header_of(key);
    Rule {
        src: Prefix::v4(header.src, 24),
        dst: Prefix::v4(header.dst, 32),
        dport: (header.dport - 2, header.dport + 3),
        proto: 6,
        proto_mask: 0xff,
        priority: key as i32,
        action: action_of(key, number),
        ..Rule::ANY
    }
}

pub(crate) fn action_of(key: usize, number: u64) -> u32 {
    (key as u32) << 24 | (number as u32 & 0xff_ffff)
}

//! An instance with a session table, as a gateway would have it: nine sessions, in one or two generations.

use std::path::Path;
use std::process::{Command, Output};

use baton_schema::{Loss, Migrate, Policy, Record, Schema};
use baton_shared_state::Region;
use baton_shared_state::arena::{Arena, ArenaSpec, Memory};
use baton_shared_state::directory::{Directory, ZoneEntry, ZoneSpec};
use baton_shared_state::ledger::{Ledger, TenantName, claim_first, lcore_slot};
use baton_shared_state::sys;
use baton_shared_state::table::{
    Hot, Hot32, Hot64, HotWords, IdPlan, IdSpace, Index, Keys, Records, hash_bytes,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub(crate) const CAPACITY: u32 = 512;
pub(crate) const SESSIONS: u32 = 9;
const SEED: u64 = 7;

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "nat.session.key", version = 1)]
#[repr(C)]
pub(crate) struct Key {
    #[field(kind = "ipv4")]
    pub(crate) inside_addr: [u8; 4],
    #[field(kind = "port")]
    pub(crate) inside_port: [u8; 2],
    #[field(kind = "port")]
    pub(crate) remote_port: [u8; 2],
    #[field(kind = "protocol")]
    pub(crate) protocol: u8,
    pub(crate) _pad: [u8; 3],
}

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "nat.session", version = 1)]
#[repr(C)]
pub(crate) struct SessionV1 {
    #[field(names("none", "syn_sent", "established"))]
    pub(crate) state: u8,
    pub(crate) flags: u8,
    pub(crate) _pad: [u8; 2],
    pub(crate) binding: u32,
}

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "nat.session", version = 2, follows = SessionV1)]
#[repr(C)]
pub(crate) struct SessionV2 {
    #[field(names("none", "syn_sent", "established"))]
    pub(crate) state: u8,
    pub(crate) flags: u8,
    pub(crate) _pad: [u8; 2],
    pub(crate) binding: u32,
    #[field(kind = "time_sec")]
    pub(crate) created: u32,
}

impl Migrate<SessionV1> for SessionV2 {
    const LOSES: &'static [Loss] = &[Loss("created")];
    fn up(old: SessionV1) -> SessionV2 {
        SessionV2 {
            state: old.state,
            flags: old.flags,
            _pad: old._pad,
            binding: old.binding,
            created: 0,
        }
    }
    fn down(new: SessionV2) -> SessionV1 {
        SessionV1 {
            state: new.state,
            flags: new.flags,
            _pad: new._pad,
            binding: new.binding,
        }
    }
}

/// One record of a zone that is no array.
#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "test.part", version = 1)]
#[repr(C)]
pub(crate) struct Part {
    magic: u32,
    first: u32,
}

/// The instance, its writer's side.
pub(crate) struct Fixture {
    pub(crate) arena: Arena,
    pub(crate) directory: Directory,
    pub(crate) ledger: Ledger,
    pub(crate) keys: Keys<Key>,
    pub(crate) records: Records<SessionV1>,
    pub(crate) hot: Hot<Hot32>,
    pub(crate) index: Index,
    pub(crate) ids: IdSpace,
}

impl Fixture {
    pub(crate) fn new(prefix: &str, memory: Memory) -> Fixture {
        let spec = ArenaSpec {
            prefix: prefix.to_owned(),
            tables_bytes: 4 << 20,
            mbufs: 512,
            memory,
            ..ArenaSpec::default()
        };
        let arena = Arena::create(&spec).unwrap();
        let directory = Directory::create(&arena).unwrap();
        let ledger = Ledger::create(&arena, 2).unwrap();
        let fixture = Fixture::with_tables(arena, directory, ledger);
        fixture.own(1);
        for number in 0..SESSIONS {
            fixture.add_session(number);
        }
        fixture
    }

    /// Five empty zones of one table, in generation 1.
    fn with_tables(arena: Arena, directory: Directory, ledger: Ledger) -> Fixture {
        let plan = IdPlan::new(CAPACITY, 1).unwrap();
        let total = plan.total();
        let zone = |name: &str, schema: Schema, len: usize, policy, stride: usize| {
            let count = u64::from(total);
            add_zone(
                &directory,
                &ZoneSpec {
                    name,
                    schema: &schema,
                    generation: 1,
                    len: len as u64,
                    policy,
                    count,
                    stride: stride as u32,
                },
            )
        };
        let part = Part::schema();
        let keys = zone(
            "nat.session.key",
            Key::schema(),
            Keys::<Key>::bytes_for(total),
            Policy::Adopt,
            Keys::<Key>::STRIDE,
        );
        let records = zone(
            "nat.session",
            SessionV1::schema(),
            Records::<SessionV1>::bytes_for(total),
            Policy::Migrate,
            8,
        );
        let hot = zone(
            "nat.session.hot",
            Hot32::schema(),
            Hot::<Hot32>::bytes_for(total),
            Policy::Carry,
            16,
        );
        let lines = Index::lines_for(plan.per_shard());
        let index = zone(
            "nat.session.index",
            part.clone(),
            Index::bytes_for(1, lines),
            Policy::Adopt,
            0,
        );
        let ids = zone(
            "nat.session.ids",
            part.clone(),
            IdSpace::bytes_for(&plan),
            Policy::Adopt,
            0,
        );
        Fixture {
            keys: Keys::new(keys, total).unwrap(),
            records: Records::new(records, total).unwrap(),
            hot: Hot::new(hot, total).unwrap(),
            index: Index::create(index, 1, lines, SEED).unwrap(),
            ids: IdSpace::create(ids, plan).unwrap(),
            arena,
            directory,
            ledger,
        }
    }

    /// Both traffic shards belong to a tenant of this generation.
    pub(crate) fn own(&self, generation: u16) {
        let name = TenantName {
            pid: std::process::id(),
            start_time: 1,
            binary_hash: [0; 32],
            generation,
        };
        let tenant = self.ledger.claim_tenant(&name).unwrap();
        for shard in 0..2 {
            let now = self.ledger.owner_word(shard);
            if now.lcore.is_some() {
                assert!(baton_shared_state::ledger::release(
                    self.ledger.owner(shard),
                    now
                ));
            }
            claim_first(
                self.ledger.owner(shard),
                lcore_slot(tenant, shard),
                generation,
            )
            .unwrap();
        }
        self.ledger.set_live_generation(generation);
    }

    /// Session `number`: TCP from 10.0.7.number:40000+number to port 443 or 80.
    pub(crate) fn add_session(&self, number: u32) -> u32 {
        let id = self.ids.shard(0).alloc().unwrap();
        let remote: u16 = if number.is_multiple_of(2) { 443 } else { 80 };
        let key = Key {
            inside_addr: [10, 0, 7, number as u8],
            inside_port: (40_000 + number as u16).to_be_bytes(),
            remote_port: remote.to_be_bytes(),
            protocol: 6,
            _pad: [0; 3],
        };
        let now = (sys::clock_boottime_ns() / 1_000_000_000) as u32;
        self.records.write(
            id,
            &SessionV1 {
                state: 2,
                flags: 0,
                _pad: [0; 2],
                binding: number,
            },
        );
        self.hot.start(id, now.max(1));
        self.hot.count(id, 10 + u64::from(number), 1000, now.max(1));
        self.keys.publish(id, &key);
        self.index
            .shard(0)
            .insert(hash_bytes(SEED, key.as_bytes()), id)
            .unwrap();
        id
    }

    pub(crate) fn remove_session(&self, id: u32) {
        let key = self.keys.read(id).unwrap();
        self.index
            .shard(0)
            .remove(hash_bytes(SEED, key.as_bytes()), id);
        self.keys.unpublish(id);
        self.ids.shard(0).free(id);
    }

    /// Builds generation 2: records migrated, counters from zero on the frozen ones.
    pub(crate) fn upgrade(&self) -> (Records<SessionV2>, Hot<Hot64>) {
        let total = self.keys.count();
        let zone = |name, schema: Schema, len: usize, policy, stride| {
            let count = u64::from(total);
            add_zone(
                &self.directory,
                &ZoneSpec {
                    name,
                    schema: &schema,
                    generation: 2,
                    len: len as u64,
                    policy,
                    count,
                    stride,
                },
            )
        };
        let len = Records::<SessionV2>::bytes_for(total);
        let records = zone(
            "nat.session",
            SessionV2::schema(),
            len,
            Policy::Migrate,
            Records::<SessionV2>::STRIDE as u32,
        );
        let hot = zone(
            "nat.session.hot",
            Hot64::schema(),
            Hot::<Hot64>::bytes_for(total),
            Policy::Carry,
            32,
        );
        let (records, hot) = (
            Records::new(records, total).unwrap(),
            Hot::new(hot, total).unwrap(),
        );
        for id in (0..total).filter(|id| self.keys.is_live(*id)) {
            records.write(id, &SessionV2::up(self.records.read(id)));
        }
        (records, hot)
    }
}

fn add_zone(directory: &Directory, spec: &ZoneSpec<'_>) -> Region {
    let entry: ZoneEntry = directory.create_zone(spec).unwrap();
    let region = directory.zone_region(&entry).unwrap();
    region.zero();
    directory.publish(entry.id).unwrap();
    region
}

/// Counters of a kind that the tests do not care for.
pub(crate) fn packets<H: HotWords>(hot: &Hot<H>, id: u32) -> u64 {
    hot.read(id).counts().0
}

/// An image of a fresh instance.
pub(crate) fn image(dir: &Path) -> Fixture {
    let fixture = Fixture::new("edge1", Memory::Memfd);
    fixture.arena.save(dir).unwrap();
    fixture
}

/// Runs the tool.
pub(crate) fn dump(arguments: &[&str]) -> Output {
    dump_in(Path::new("/nonexistent"), arguments)
}

/// Runs the tool with this run directory.
pub(crate) fn dump_in(run: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_baton-dump"))
        .args(arguments)
        .env("BATON_RUN_DIR", run)
        .env_remove("BATON_DUMP_UID")
        .env_remove("NO_COLOR")
        .output()
        .unwrap()
}

/// Its stdout, if it ended with 0.
pub(crate) fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it said.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

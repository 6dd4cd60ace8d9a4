//! What lookups promise: in stages, where rows end between them, and of bursts in which some packets have no key.

use crate::bench::Bench;
use crate::prelude::*;

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "t.name", version = 1)]
#[repr(C)]
struct Name {
    number: u32,
}

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy, PartialEq, Debug)]
#[record(name = "t.value", version = 1)]
#[repr(C)]
struct Value {
    number: u32,
}

#[derive(Zones)]
struct State {
    #[zone(migrate)]
    values: Table<Name, Value>,
}

#[derive(Reason, Clone, Copy)]
enum Drop {
    Known,
    New,
    NoKey,
}

#[derive(Deserialize)]
struct Nothing {}

fn ends_between_the_stages(values: &mut Table<Name, Value>) {
    let [one, two] = [1, 2].map(|number| Name { number });
    let value = |name: &Name| Value {
        number: name.number,
    };
    let id = values.insert(one, value(&one)).expect("room");
    let hash = values.hash(&one);
    let (candidate, ended) = (values.candidate(hash), values.ended());
    assert_eq!(candidate, id);
    assert_eq!(values.confirm(hash, &one, candidate, ended), Some(id));
    assert_eq!(values.confirm(hash, &two, candidate, ended), None);
    assert!(values.remove(id));
    let gone = values.confirm(hash, &one, candidate, ended);
    assert_eq!(gone, None, "its key still stands in the row");
    // In the end the row is another one's.
    let others = (3..).map(|number| Name { number });
    let made = others.map(|name| values.insert(name, value(&name)).expect("room"));
    let made: Vec<u32> = made.take(64).take_while(|next| *next != id).collect();
    assert!(made.len() < 64, "an id that was freed is taken again");
    assert_eq!(values.confirm(hash, &one, candidate, ended), None);
    assert!(made.iter().chain([&id]).all(|id| values.remove(*id)));
}

const CONFIG: &str = "[instance]\nfile-prefix = \"t\"\nlcores = \"0\"\nmbufs = 4096\n[[port]]\nname = \"lan\"\nvdev = \"net_ring0\"\n[program]\n";

#[test]
fn a_candidate_whose_row_ended_meanwhile_is_not_confirmed() {
    let mut bench = Bench::<Remembers>::new(CONFIG).expect("a bench");
    let shard = bench.shard(0).expect("a shard");
    ends_between_the_stages(&mut shard.state.values);
}

/// A program that remembers the first byte of a packet, of those that are not 0.
struct Remembers;

fn name_of(packet: &Packet) -> Option<Name> {
    let number = u32::from(packet.data()[0]);
    (number != 0).then_some(Name { number })
}

impl Datapath for Remembers {
    type Config = Nothing;
    type State = State;
    type Drop = Drop;

    fn name() -> String {
        "program".into()
    }

    fn capacity(_: &Nothing, _: &str) -> u32 {
        64
    }

    fn new(_: &Nothing, _: &Setup) -> Result<Self> {
        Ok(Remembers)
    }

    fn burst(&mut self, shard: &mut Shard<Self>, burst: Burst) {
        for (packet, key, value) in shard.state.values.find_burst(burst, name_of) {
            let number = |key: Name| key.number;
            assert_eq!(key.map(number), name_of(&packet).map(number));
            let reason = match (key, value) {
                (None, value) => {
                    assert_eq!(value, None);
                    Drop::NoKey
                }
                (Some(name), Some(value)) => {
                    assert_eq!(value.number, name.number);
                    Drop::Known
                }
                (Some(name), None) => {
                    let value = Value {
                        number: name.number,
                    };
                    shard.state.values.insert(name, value).expect("room");
                    Drop::New
                }
            };
            shard.drop(packet, reason);
        }
    }
}

#[test]
fn packets_without_a_key_in_a_burst_leave_the_others_theirs() {
    let mut bench = Bench::<Remembers>::new(CONFIG).expect("a bench");
    let mut end = bench.end(0);
    for _ in 0..2 {
        for at in 1..=60u8 {
            let first = if at.is_multiple_of(3) { 0 } else { at };
            end.send(&[first; 60]);
        }
        bench.rounds(4);
    }
    let drops = bench.drops();
    let of = |name: &str| {
        drops
            .iter()
            .find(|(reason, _)| reason == name)
            .map(|(_, n)| *n)
    };
    assert_eq!(
        (of("no_key"), of("new"), of("known")),
        (Some(40), Some(40), Some(40)),
        "{drops:?}"
    );
}

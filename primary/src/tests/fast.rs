//! The fast path against the whole path: two gateways, one with the fast path and one without, get
//! the same packets at the same times, and must not be told apart.

mod packets;

use super::frames::{ACK, RST, SYN};
use super::*;
use crate::fast::OFF;
use crate::session::{NO_BINDING, NewSession, SessionKey, SessionLayout};
use baton_datapath::rewrite::End;
use baton_datapath::tcp_state::TcpState;
use packets::{Random, answer, from_inside, packet, spoil};
use zerocopy::IntoBytes;

/// Everything that outlives a process, byte by byte.
const ZONES: [&str; 13] = [
    "nat.session",
    "nat.session.key",
    "nat.session.hot",
    "nat.session.index",
    "nat.session.ids",
    "nat.session.outside",
    "nat.binding",
    "nat.binding.key",
    "nat.binding.hot",
    "nat.binding.outside",
    "nat.source",
    "neighbour",
    "baton.shard",
];

/// A frame to be sent, and from where.
struct Sent {
    outside: bool,
    frame: Vec<u8>,
    unfinished: bool,
}

struct Pair {
    fast: Lab,
    whole: Lab,
    /// What left by (inside, outside) lately.
    left: [Vec<Vec<u8>>; 2],
}

impl Pair {
    fn new(shards: u16) -> Pair {
        let lab = |off| {
            OFF.set(off);
            let lab = Lab::new(shards, |text| text.replace("[gateway.nat]", MORE_ROUTES));
            OFF.set(false);
            lab
        };
        Pair {
            fast: lab(false),
            whole: lab(true),
            left: [Vec::new(), Vec::new()],
        }
    }

    fn each(&mut self, change: impl Fn(&mut Lab)) {
        change(&mut self.fast);
        change(&mut self.whole);
    }

    /// One burst, or two where both ports have some.
    fn put(&mut self, burst: &[Sent]) {
        let [fast, whole] = [&mut self.fast, &mut self.whole].map(|lab| {
            for sent in burst {
                let ends = if sent.outside {
                    &mut lab.outside
                } else {
                    &mut lab.inside
                };
                if sent.unfinished {
                    let offset = if sent.frame[23] == 6 { 16 } else { 6 };
                    ends[0].send_unfinished(&sent.frame, 34, offset);
                } else {
                    ends[0].send(&sent.frame);
                }
            }
            lab.step();
            lab.drain()
        });
        assert_eq!(fast, whole, "what leaves (inside, outside)");
        assert_eq!(self.fast.drops(), self.whole.drops());
        for zone in ZONES {
            let (fast, whole) = (self.fast.bench.zone(zone), self.whole.bench.zone(zone));
            assert!(fast == whole, "the bytes of {zone}");
        }
        for (known, new) in self.left.iter_mut().zip([fast.0, fast.1]) {
            known.extend(new);
            let surplus = known.len().saturating_sub(64);
            known.drain(..surplus);
        }
    }
}

/// Two more routers, one on each link, that nobody knows at first.
const MORE_ROUTES: &str = r#"
[[route]]
prefix = "192.0.2.0/24"
via    = "203.0.113.9"

[[route]]
prefix = "172.16.0.0/12"
via    = "10.0.0.9"

[gateway.nat]"#;
/// Both links, and the three routers.
const HOPS: u16 = 5;

/// What happens between two bursts.
fn change(random: &mut Random, pair: &mut Pair) {
    match random.below(40) {
        0..4 => {
            let prefixes = [
                ([0, 0, 0, 0], 0),
                ([198, 51, 100, 0], 24),
                ([198, 48, 0, 0], 12),
                ([8, 8, 8, 0], 24),
                ([10, 0, 0, 0], 24),
            ];
            let (prefix, len) = prefixes[random.below(prefixes.len())];
            let hop = random.below(usize::from(HOPS) * 2) as u16;
            // Most packets are to go on, now and then by another way.
            let hop = if len == 0 {
                Some(2 + hop % 2)
            } else {
                Some(hop)
            };
            let hop = hop.filter(|hop| *hop < HOPS);
            pair.each(|lab| lab.bench.route(prefix.into(), len, hop));
        }
        4 | 5 => {
            let neighbours = [
                (0, [10, 0, 0, 7], HOST),
                (0, [10, 0, 0, 8], HOST),
                (0, [10, 0, 0, 9], HOST),
                (1, [203, 0, 113, 1], ROUTER),
                (1, [203, 0, 113, 9], ROUTER),
            ];
            let (port, address, mut mac) = neighbours[random.below(neighbours.len())];
            mac[3] = random.below(4) as u8;
            pair.each(|lab| lab.bench.learn(PortId(port), address.into(), Mac(mac)));
        }
        6 => {
            let seconds = [1, 61, 301][random.below(3)];
            pair.each(|lab| lab.wait(seconds, 20));
        }
        7 => pair.each(|lab| lab.bench.give_and_get_back()),
        _ => {}
    }
}

fn compare(shards: u16, seed: u64, bursts: usize) {
    let mut pair = Pair::new(shards);
    let mut random = Random(seed);
    for _ in 0..bursts {
        let burst: Vec<Sent> = (0..=random.below(40))
            .map(|_| {
                let outside = random.one_in(2);
                let known = &pair.left[usize::from(outside)];
                let wire = if outside { FROM_ROUTER } else { FROM_HOST };
                let asked = ["203.0.113.2:443", "203.0.113.16:2000", "10.0.0.7:5000"];
                let asked = asked[random.below(3)];
                let mut frame = match random.below(4) {
                    0 if outside => packet(&mut random, wire, "198.51.100.9:443", asked),
                    0..3 if !known.is_empty() && (outside || random.one_in(2)) => {
                        answer(&known[random.below(known.len())], wire)
                    }
                    _ if outside => wire.udp("8.8.8.8:53", asked, b"x"),
                    _ => from_inside(&mut random),
                };
                let unfinished = spoil(&mut random, &mut frame);
                Sent {
                    outside,
                    frame,
                    unfinished,
                }
            })
            .filter(|sent| !sent.frame.is_empty())
            .collect();
        change(&mut random, &mut pair);
        pair.put(&burst);
    }
    let sent: usize = pair.left.iter().map(Vec::len).sum();
    assert!(
        sent > 32,
        "too few packets went through to compare anything"
    );
}

#[test]
fn the_fast_path_cannot_be_told_from_the_whole_path() {
    for seed in 1..=6 {
        compare(1, 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed), 250);
    }
}

#[test]
fn nor_with_several_shards() {
    for seed in 1..=3 {
        compare(3, 0x2545_f491_4f6c_dd1du64.wrapping_mul(seed), 250);
    }
}

#[test]
#[ignore = "long: a hundred times as many packets"]
fn nor_over_a_long_time() {
    for seed in 1..=100 {
        compare(
            1 + (seed % 3) as u16,
            0xd134_2543_de82_ef95u64.wrapping_mul(seed),
            1_500,
        );
    }
}

#[test]
fn what_another_owner_changed_counts_when_the_shard_comes_back() {
    let mut lab = Lab::one_shard();
    let packet = || FROM_HOST.udp("10.0.0.7:5000", "198.51.100.9:443", b"x");
    // Opened, looked up, recalled.
    let seen: Vec<_> = (0..3).map(|_| lab.out(packet()).src).collect();
    let state = &mut lab.bench.shard(0).unwrap().state;
    let mut rows = Vec::new();
    state
        .sessions
        .scan(0, 1024, |id, _, session| rows.push((id, session)));
    let [(id, mut session)] = rows[..] else {
        panic!("one session expected, there are {rows:?}");
    };
    session.outside_port = 9_999u16.to_be_bytes();
    state.sessions.rewrite(id, &session);
    assert_eq!(lab.out(packet()).src, seen[2], "nobody else had the shard");
    lab.bench.give_and_get_back();
    let now = lab.out(packet()).src;
    assert_eq!((now.ip(), now.port()), (seen[2].ip(), 9_999));
}

/// A session that the tables have and the config no longer allows.
fn stray(lab: &mut Lab, inside: &str, outside: &str, remote: &str) {
    let end = |text: &str| {
        let (address, port) = text.split_once(':').unwrap();
        End {
            address: address.parse().unwrap(),
            port: port.parse().unwrap(),
        }
    };
    let new = NewSession {
        outside: end(outside),
        state: TcpState::None,
        flags: 0,
        binding: NO_BINDING,
        qos_class: 0,
        created: 0,
    };
    let key = SessionKey::new(17, end(inside), end(remote));
    let seen = SessionKey::new(17, end(outside), end(remote));
    let state = &mut lab.bench.shard(0).unwrap().state;
    let id = state.sessions.insert(key, SessionV2::of(&new)).unwrap();
    let hash = state.from_outside.hash(seen.as_bytes());
    state.from_outside.insert(hash, id).unwrap();
}

#[test]
fn nor_with_sessions_of_another_config() {
    for (inside, outside, remote) in [
        // A host that has become the gateway itself; an outside end that is no longer ours; a remote end that is.
        ("10.0.0.1:5000", "203.0.113.16:2000", "198.51.100.9:443"),
        ("10.0.0.7:5000", "203.0.113.99:2000", "198.51.100.9:443"),
        ("10.0.0.7:5000", "203.0.113.16:2000", "203.0.113.2:443"),
        ("10.0.0.7:5000", "203.0.113.16:2000", "203.0.113.17:443"),
    ] {
        let mut pair = Pair::new(1);
        pair.each(|lab| {
            stray(lab, inside, outside, remote);
            // Somebody says that our addresses are theirs: else they lead nowhere anyhow.
            lab.bench.learn(PortId(0), [10, 0, 0, 1].into(), Mac(HOST));
            for own in [2, 17, 99] {
                lab.bench
                    .learn(PortId(1), [203, 0, 113, own].into(), Mac(ROUTER));
            }
        });
        for _ in 0..4 {
            pair.put(
                &[
                    (false, FROM_HOST.udp(inside, remote, b"out")),
                    (true, FROM_ROUTER.udp(remote, outside, b"in")),
                    (true, FROM_HOST.udp(remote, outside, b"not for us")),
                ]
                .map(|(outside, frame)| Sent {
                    outside,
                    frame,
                    unfinished: false,
                }),
            );
        }
    }
}

#[test]
fn nor_where_connections_change_in_the_midst_of_a_burst() {
    const SERVER: &str = "198.51.100.9:443";
    let mut pair = Pair::new(1);
    let host = |n: usize| format!("10.0.0.7:{}", 5000 + n);
    let sent = |outside, frame| Sent {
        outside,
        frame,
        unfinished: false,
    };
    // Eight connections and eight flows without states.
    let opened: Vec<Sent> = (0..8)
        .flat_map(|n| {
            [
                sent(false, FROM_HOST.tcp(&host(n), SERVER, SYN)),
                sent(false, FROM_HOST.udp(&host(n), SERVER, b"x")),
            ]
        })
        .collect();
    pair.put(&opened);
    let outside = pair.left[1].clone();
    assert_eq!(outside.len(), 16, "not all were opened");
    let answers: Vec<Vec<u8>> = outside
        .iter()
        .map(|frame| answer(frame, FROM_ROUTER))
        .collect();
    // Its flags; the checksum, which nobody here verifies, is wrong alike for both.
    let with_flags = |mut frame: Vec<u8>, flags: u8| {
        if frame[23] == 6 {
            frame[47] = flags;
        }
        frame
    };
    let mut random = Random(0x5851_f42d_4c95_7f2d);
    for _ in 0..400 {
        let burst: Vec<Sent> = (0..32)
            .map(|_| {
                // One in four changes something, mostly.
                let flags = match random.below(4) {
                    0 => [SYN, SYN | ACK, RST, 0x11][random.below(4)],
                    _ => ACK,
                };
                let n = random.below(16);
                if random.one_in(2) {
                    return sent(true, with_flags(answers[n].clone(), flags));
                }
                let frame = match n {
                    0..8 => with_flags(FROM_HOST.tcp(&host(n), SERVER, ACK), flags),
                    _ => FROM_HOST.udp(&host(n - 8), SERVER, b"y"),
                };
                sent(false, frame)
            })
            .collect();
        pair.put(&burst);
    }
}

use super::*;
use crate::frames;
use crate::parse::{L4, Parsed, TCP, destination_mac, parse};
use crate::rewrite::{self, End, L4Sum, Rewrite, Summed};
use baton_shared_state::BURST;
use baton_shared_state::simd::Path;
use proptest::prelude::*;

/// A frame that is common or just not, and what was done to it.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let whole = (
        any::<bool>(),
        any::<[u8; 4]>(),
        any::<[u8; 4]>(),
        any::<(u16, u16)>(),
        prop::collection::vec(any::<u8>(), 0..20),
    )
        .prop_map(|(tcp, src, dst, (sport, dport), data)| match tcp {
            true => frames::tcp(src, sport, dst, dport, frames::ACK, &data),
            false => frames::udp(src, sport, dst, dport, &data),
        });
    let edit = (0usize..56, any::<u8>(), any::<bool>());
    (
        whole,
        prop::collection::vec(edit, 0..3),
        any::<bool>(),
        0usize..64,
        0usize..8,
    )
        .prop_map(|(mut frame, edits, fix, cut, pad)| {
            for (at, byte, flip) in edits {
                if let Some(place) = frame.get_mut(at) {
                    *place = if flip {
                        *place ^ (1 << (byte % 8))
                    } else {
                        byte
                    };
                }
            }
            if fix && frame.len() > 34 && frame[14] & 15 >= 5 {
                frames::fix_ip_checksum(&mut frame);
            }
            if cut < 8 {
                frame.truncate(frame.len().saturating_sub(cut));
            }
            frame.resize(frame.len() + pad, 0xaa);
            frame
        })
}

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// A frame among others, on every path and behind it two kinds of what is left over from earlier: all agree.
fn read(frame: &[u8], station: Station) -> Option<Common> {
    each_way(frame, station, |heads, lane, _| heads.get(lane))
}

/// What `ask` says of a frame's lane, whichever it is and whatever lies around it.
fn each_way<T: PartialEq + core::fmt::Debug>(
    frame: &[u8],
    station: Station,
    mut ask: impl FnMut(&Heads, usize, Path) -> T,
) -> T {
    let other = frames::udp([9, 9, 9, 9], 9, [8, 8, 8, 8], 8, &[]);
    let mut all = Vec::new();
    for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
        for (left_over, lane) in [(0x00, 0), (0xff, BURST - 1), (0x45, 7), (0x06, 8)] {
            let window = |frame: &[u8]| {
                let mut window = [left_over; WINDOW];
                let len = frame.len().min(WINDOW);
                window[..len].copy_from_slice(&frame[..len]);
                window
            };
            let mut heads = Heads::default();
            for at in 0..BURST {
                match at {
                    at if at == lane => heads.put(at, &window(frame), frame.len(), &station),
                    at if at % 3 == 0 => heads.skip(at),
                    _ => heads.put(at, &window(&other), other.len(), &station),
                }
            }
            heads.read(lane + 1, path);
            all.push(ask(&heads, lane, path));
            let common = (0..=lane).filter(|at| heads.get(*at).is_some());
            let common = common.fold(0, |all, at| all | 1u32 << at);
            let [inside, outside] = heads.common();
            assert_eq!(inside | outside, common);
            assert!(inside == 0 || outside == 0);
            let skipped = (0..lane).filter(|at| at % 3 == 0);
            assert!(skipped.map(|at| heads.get(at)).all(|lane| lane.is_none()));
        }
    }
    assert!(all.iter().all(|said| *said == all[0]), "{all:?}");
    all.swap_remove(0)
}

/// A frame after its translation, in any lane, on every path.
fn translated(frame: &[u8], station: Station, new: RawEnd, ethernet: Ethernet) -> Vec<u8> {
    each_way(frame, station, |heads, lane, path| {
        let mut changes = Changes::default();
        for (from, other) in [(lane, false), (0, true)] {
            // Lanes that nothing is known of do no harm, and nor does a second time.
            (0..BURST)
                .filter(|at| other && *at != lane)
                .for_each(|at| changes.set(at, u64::MAX));
            changes.set(lane, new.word() | 0xabcd << 48);
            changes.compute(heads, from..lane + 1, path);
        }
        let mut frame = frame.to_vec();
        changes.write(lane, &mut frame, ethernet);
        frame
    })
}

/// From inside, with every checksum marked that is not finished.
fn inside() -> Station {
    Station::new(MAC, false, false)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn what_it_reads_is_what_the_parser_says(frame in frame()) {
        let Some(common) = read(&frame, inside()) else {
            return Ok(());
        };
        let Parsed::Ipv4(h) = parse(&frame) else {
            panic!("the parser refuses {frame:?}")
        };
        prop_assert_eq!(destination_mac(&frame), MAC);
        prop_assert_eq!(RawEnd::new(h.src.octets(), h.src_port.to_be_bytes()),
            RawEnd::of_word(common.addresses & 0xffff_ffff | common.second << 32));
        prop_assert_eq!((common.near(), common.far()), (h.src, h.dst));
        prop_assert_eq!(((common.second >> 16) as u16).swap_bytes(), h.dst_port);
        prop_assert_eq!(usize::from(common.ip_len), h.ip_len());
        prop_assert_eq!((common.protocol(), usize::from(h.l4_at)), (h.protocol, 34));
        prop_assert_eq!(common.second >> 40, 0);
        prop_assert!(h.ttl > 1);
        let l4 = if common.protocol() == TCP { L4::Tcp(common.flags) } else { L4::Udp };
        prop_assert_eq!(l4, h.l4);
        let turned = read(&frame, Station::new(MAC, false, true));
        let is_outside = |outside| {
            let mut heads = Heads::default();
            let mut window = [0; WINDOW];
            let len = frame.len().min(WINDOW);
            window[..len].copy_from_slice(&frame[..len]);
            heads.put(3, &window, frame.len(), &Station::new(MAC, false, outside));
            heads.read(4, Path::best());
            heads.common()
        };
        prop_assert_eq!([is_outside(false), is_outside(true)], [[8, 0], [0, 8]]);
        let ports = (common.second as u32).rotate_left(16);
        prop_assert_eq!(turned, Some(Common {
            addresses: common.addresses.rotate_left(32),
            second: common.second & !0xffff_ffff | u64::from(ports) | 1 << 40,
            ..common
        }));
    }

    #[test]
    fn an_ordinary_packet_is_common(frame in frame()) {
        let Parsed::Ipv4(h) = parse(&frame) else { return Ok(()) };
        let ordinary = matches!(h.l4, L4::Tcp(_) | L4::Udp) && h.l4_at == 34 && h.ttl > 1
            && destination_mac(&frame) == MAC
            && (1..224).contains(&h.src.octets()[0]) && !h.src.is_loopback();
        prop_assert_eq!(read(&frame, inside()).is_some(), ordinary);
    }

    #[test]
    fn it_translates_as_the_rewriter_does(
        frame in frame(), finish in any::<bool>(), sum in prop_oneof![Just(0u16), Just(0xffff), any::<u16>()],
        force in any::<bool>(), source in any::<bool>(), address in any::<[u8; 4]>(), port in any::<u16>(),
    ) {
        let mut frame = frame;
        let station = Station::new(MAC, false, !source);
        let Some(common) = read(&frame, station) else { return Ok(()) };
        let at = if common.protocol() == TCP { TCP_CHECKSUM } else { UDP_CHECKSUM };
        if force {
            frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        } else if finish && frame.len() == 14 + usize::from(common.ip_len) {
            frames::unfinish(&mut frame);
        }
        let Parsed::Ipv4(h) = parse(&frame) else { panic!("refused") };
        prop_assert_eq!(
            read(&frame, Station::new(MAC, true, false)).is_none(),
            rewrite::is_unfinished(&frame, &h, L4Sum::Unknown)
        );
        let end = Some(End { address: address.into(), port });
        let change = match source {
            true => Rewrite { src: end, dst: None, hops: 1 },
            false => Rewrite { src: None, dst: end, hops: 1 },
        };
        let mut expected = frame.clone();
        prop_assert_eq!(rewrite::apply(&mut expected, &h, &change, L4Sum::Whole), Summed::Followed);
        let (to, from) = (Mac([1, 2, 3, 4, 5, 6]), Mac([7, 8, 9, 10, 11, 12]));
        expected[..6].copy_from_slice(&to.0);
        expected[6..12].copy_from_slice(&from.0);
        let ethernet = Ethernet::new(mac_word(to), mac_word(from));
        let new = RawEnd::new(address, port.to_be_bytes());
        prop_assert_eq!(translated(&frame, station, new, ethernet), expected);
    }
}

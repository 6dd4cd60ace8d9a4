//! A classifier under any changes gives what a linear scan of its rules gives: all instructions, all categories, both
//! families, and after a successor has taken over.
#![no_main]

mod input;

use std::cell::OnceCell;

use baton_shared_state::Region;
use baton_shared_state::acl::{
    Acl, AclError, AclWriter, Family, Key4, Key6, Path, Prefix, Rule, RuleId, Sizes,
};
use input::Input;
use libfuzzer_sys::fuzz_target;

const CATEGORIES: usize = 3;
const SIZES: Sizes = Sizes {
    rules: 40,
    classes: 200,
    big_nodes: 60,
    small_nodes: 200,
    blocks: 6,
    versions: 4,
};

/// A header, its addresses left-aligned.
#[derive(Clone, Copy)]
struct Header {
    src: u128,
    dst: u128,
    sport: u16,
    dport: u16,
    proto: u8,
}

/// Few places, so that prefixes nest and meet.
fn address(input: &mut Input<'_>, family: Family) -> u128 {
    const PLACES: [u128; 4] = [
        0x0a00_0000 << 96,
        0x0aff_fff0 << 96,
        u128::MAX << 96,
        0x2001_0db8_0000_00ff << 64,
    ];
    let place = PLACES[usize::from(input.byte() % 4)];
    let noise = u128::from(input.byte());
    let at = [96, 100, 112, 64, 40, 8, 0][usize::from(input.byte() % 7)];
    let bits = 128 - u32::from(family.bits());
    (place ^ noise << at) & u128::MAX << bits
}

fn port(input: &mut Input<'_>) -> u16 {
    let at = u16::from(input.byte());
    if at < 250 { at } else { at << 8 | 0xff }
}

fn ports(input: &mut Input<'_>) -> (u16, u16) {
    let (a, b) = (port(input), port(input));
    if input.byte().is_multiple_of(4) {
        (0, u16::MAX)
    } else {
        (a.min(b), a.max(b))
    }
}

fn rule(input: &mut Input<'_>, family: Family, action: u32) -> Rule {
    let prefix = |input: &mut Input<'_>| {
        let (address, len) = (address(input, family), input.byte() % (family.bits() + 1));
        Prefix::v6(address, len)
    };
    Rule {
        src: prefix(input),
        dst: prefix(input),
        sport: ports(input),
        dport: ports(input),
        proto: input.byte() % 20,
        proto_mask: [0, 0xff, 0x0c, 0x11][usize::from(input.byte() % 4)],
        categories: 1 + u16::from(input.byte() % 7),
        priority: i32::from(input.byte() % 5) - 2,
        action,
    }
}

/// At the edges of a rule, or anywhere.
fn header(input: &mut Input<'_>, family: Family, rules: &[Rule]) -> Header {
    let any = Header {
        src: address(input, family),
        dst: address(input, family),
        sport: port(input),
        dport: port(input),
        proto: input.byte() % 20,
    };
    let Some(rule) = rules.get(usize::from(input.byte())) else {
        return any;
    };
    let which = input.byte();
    let edge = |bit: u8, first: u128, last: u128| if which >> bit & 1 == 0 { first } else { last };
    let port_edge = |bit: u8, ports: (u16, u16)| edge(bit, ports.0.into(), ports.1.into()) as u16;
    let bits = u128::MAX << (128 - u32::from(family.bits()));
    Header {
        src: edge(0, rule.src.first(), rule.src.last()) & bits,
        dst: edge(1, rule.dst.first(), rule.dst.last()) & bits,
        sport: port_edge(2, rule.sport).wrapping_add(u16::from(which >> 7)),
        dport: port_edge(3, rule.dport).wrapping_sub(u16::from(which >> 6 & 1)),
        proto: edge(4, rule.proto.into(), any.proto.into()) as u8,
    }
}

fn linear(rules: &[(RuleId, Rule)], header: &Header) -> [u32; CATEGORIES] {
    core::array::from_fn(|category| {
        let matches = |(_, rule): &&(RuleId, Rule)| {
            rule.categories >> category & 1 != 0
                && rule.matches(
                    header.src,
                    header.dst,
                    header.sport,
                    header.dport,
                    header.proto,
                )
        };
        let best = rules.iter().filter(matches);
        let best = best.max_by_key(|(id, rule)| (rule.priority, std::cmp::Reverse(*id)));
        best.map_or(0, |(_, rule)| rule.action)
    })
}

fn compare(writer: &AclWriter, family: Family, input: &mut Input<'_>) {
    let rules: Vec<(RuleId, Rule)> = writer.rules().map(|(id, rule)| (id, *rule)).collect();
    let alone: Vec<Rule> = rules.iter().map(|rule| rule.1).collect();
    let headers: Vec<Header> = (0..40).map(|_| header(input, family, &alone)).collect();
    let want: Vec<u32> = headers
        .iter()
        .flat_map(|header| linear(&rules, header))
        .collect();
    for path in Path::ALL {
        let Some(acl) = writer.reader().with_path(path) else {
            continue;
        };
        let (mut found, mut first) = (vec![7; want.len()], vec![7; headers.len()]);
        if family == Family::V4 {
            let keys: Vec<Key4> = headers.iter().map(key4).collect();
            acl.classify4_categories(&keys, CATEGORIES, &mut found);
            acl.classify4(&keys, &mut first);
        } else {
            let keys: Vec<Key6> = headers.iter().map(key6).collect();
            acl.classify6_categories(&keys, CATEGORIES, &mut found);
            acl.classify6(&keys, &mut first);
        }
        assert_eq!(found, want, "{path:?} {family:?}");
        assert!(
            first.iter().eq(want.iter().step_by(CATEGORIES)),
            "{path:?} {family:?}"
        );
    }
}

fn key4(header: &Header) -> Key4 {
    Key4 {
        src: (header.src >> 96) as u32,
        dst: (header.dst >> 96) as u32,
        sport: header.sport,
        dport: header.dport,
        proto: header.proto,
        _pad: [0; 3],
    }
}

fn key6(header: &Header) -> Key6 {
    Key6 {
        src: header.src.to_be_bytes(),
        dst: header.dst.to_be_bytes(),
        sport: header.sport,
        dport: header.dport,
        proto: header.proto,
        _pad: [0; 3],
    }
}

thread_local! {
    static REGION: OnceCell<Region> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let family = if input.byte() & 1 == 0 {
        Family::V4
    } else {
        Family::V6
    };
    let most = Acl::bytes_for(Family::V6, SIZES).expect("sizes");
    let region = REGION.with(|region| *region.get_or_init(|| Region::private(most)));
    region.zero();
    let mut writer = Acl::create(region, family, SIZES).expect("a classifier");
    if input.byte() & 1 == 0 {
        let n = u32::from(input.byte() % 20);
        let rules: Vec<Rule> = (0..n).map(|i| rule(&mut input, family, 1000 + i)).collect();
        match writer.build(&rules) {
            Ok(ids) => assert_eq!(ids.len(), rules.len()),
            Err(AclError::Full { .. }) => assert!(writer.is_empty()),
            Err(other) => panic!("{other}"),
        }
    }
    for step in 1..60 {
        if input.is_empty() {
            break;
        }
        let before = writer.len();
        match input.byte() % 8 {
            0..4 => match writer.add(&rule(&mut input, family, step)) {
                Ok(_) => assert_eq!(writer.len(), before + 1),
                Err(AclError::Full { .. }) => assert_eq!(writer.len(), before),
                Err(other) => panic!("{other}"),
            },
            4 | 5 => {
                let at = usize::from(input.byte());
                let id = writer.rules().nth(at).map(|(id, _)| id);
                match id.map(|id| writer.remove(id)) {
                    None | Some(Err(AclError::Full { .. })) => assert_eq!(writer.len(), before),
                    Some(Ok(_)) => assert_eq!(writer.len(), before - 1),
                    Some(Err(other)) => panic!("{other}"),
                }
            }
            6 => writer.quiesced().expect("no damage"),
            _ => {
                writer = AclWriter::recover(region).expect("no damage");
                assert_eq!(writer.len(), before);
            }
        }
        if step % 8 == 0 {
            compare(&writer, family, &mut input);
        }
    }
    assert_eq!(writer.audit(), 0);
    compare(&writer, family, &mut input);
});

//! Rules of a classifier: added, removed, what rests given up, all at once.

use baton_shared_state::Region;
use baton_shared_state::acl::{Acl, AclWriter, Family, Key4, Prefix, Rule, RuleId, Sizes};

use super::expect;
use crate::Case;

pub(super) fn all() -> Vec<Case> {
    let case = |name, setup, operation, check| Case {
        name,
        bytes: Acl::bytes_for(Family::V4, SIZES).expect("sizes"),
        setup,
        operation,
        repair,
        check,
    };
    vec![
        case(
            "ACL, a rule added",
            with_standing,
            |region| _ = writer(region).add(&EXTRA).expect("room"),
            |region| check(region, &[standing(), [standing(), vec![EXTRA]].concat()]),
        ),
        case(
            "ACL, a rule removed",
            with_standing,
            |region| {
                let mut writer = writer(region);
                let id = id_of(&writer, 3);
                writer.remove(id).expect("it stands");
            },
            |region| check(region, &[standing(), without_one()]),
        ),
        case(
            "ACL, what rests given up",
            |region| {
                with_standing(region);
                let mut writer = writer(region);
                let id = id_of(&writer, 3);
                writer.remove(id).expect("it stands");
            },
            |region| _ = writer(region),
            |region| check(region, &[without_one()]),
        ),
        case(
            "ACL, built",
            |region| _ = Acl::create(region, Family::V4, SIZES).expect("a classifier"),
            |region| _ = writer(region).build(&standing()).expect("room"),
            |region| check(region, &[Vec::new(), standing()]),
        ),
    ]
}

const SIZES: Sizes = Sizes {
    rules: 11,
    classes: 64,
    big_nodes: 4,
    small_nodes: 16,
    blocks: 4,
    versions: 3,
};

/// Narrow prefixes that share nodes: many classes, few cells.
fn standing() -> Vec<Rule> {
    let rule = |i: u32| Rule {
        src: Prefix::v4(0x0a00_0000 | (i % 4) << 3, 29),
        dst: Prefix::v4(0x0a01_0000 | (i % 5) << 4, 28),
        dport: (i as u16 % 7, i as u16 % 7 + 2),
        proto: 6,
        proto_mask: 0xff,
        priority: (i * 37 % 64) as i32,
        action: i + 1,
        ..Rule::ANY
    };
    (0..6).map(rule).collect()
}

/// Not within what stands: it splits classes of every field.
const EXTRA: Rule = Rule {
    src: Prefix::v4(0x0a00_0008, 30),
    dst: Prefix::v4(0x0b00_0000, 30),
    dport: (3, 9),
    proto: 4,
    proto_mask: 0x0c,
    priority: 20,
    action: 999,
    ..Rule::ANY
};

fn without_one() -> Vec<Rule> {
    let mut rules = standing();
    rules.retain(|rule| rule.action != 3);
    rules
}

/// The writer that takes over; every reader is between two bursts.
fn writer(region: Region) -> AclWriter {
    let mut writer = AclWriter::recover(region).expect("a classifier");
    writer.quiesced().expect("no damage");
    writer
}

fn with_standing(region: Region) {
    let mut writer = Acl::create(region, Family::V4, SIZES).expect("a classifier");
    writer.build(&standing()).expect("room");
    writer.quiesced().expect("no damage");
}

fn id_of(writer: &AclWriter, action: u32) -> RuleId {
    let mut rules = writer.rules();
    let found = rules.find(|(_, rule)| rule.action == action);
    found.expect("it stands").0
}

/// Readers get whole answers before anybody repairs.
fn repair(region: Region) {
    let all = [standing(), vec![EXTRA]].concat();
    let possible: Vec<Vec<u32>> = [Vec::new(), standing(), without_one(), all]
        .iter()
        .map(|rules| linear(rules))
        .collect();
    let found = classified(&Acl::attach(region).expect("a classifier"));
    assert!(possible.contains(&found), "readers see {found:?}");
    drop(writer(region));
}

/// Headers inside every rule, at its edges and beside it.
fn probes() -> Vec<Key4> {
    let all = [standing(), vec![EXTRA]].concat();
    let around = |rule: &Rule| {
        let address = |aligned: u128| (aligned >> 96) as u32;
        let key = Key4 {
            src: address(rule.src.first()),
            dst: address(rule.dst.last()),
            sport: 7,
            dport: rule.dport.0,
            proto: rule.proto,
            _pad: [0; 3],
        };
        let mut keys = [key; 6];
        keys[1].src = address(rule.src.last()) + 1;
        keys[2].dst = address(rule.dst.first()).wrapping_sub(1);
        keys[3].dport = rule.dport.1;
        keys[4].dport = rule.dport.1 + 1;
        keys[5].proto ^= 1;
        keys
    };
    all.iter().flat_map(around).collect()
}

fn classified(acl: &Acl) -> Vec<u32> {
    let probes = probes();
    let mut actions = vec![0; probes.len()];
    acl.classify4(&probes, &mut actions);
    actions
}

fn linear(rules: &[Rule]) -> Vec<u32> {
    let wide = |address: u32| u128::from(address) << 96;
    let best = |key: &Key4| {
        let matches = |rule: &&Rule| {
            rule.matches(
                wide(key.src),
                wide(key.dst),
                key.sport,
                key.dport,
                key.proto,
            )
        };
        // Priorities differ here, so order does not matter.
        let best = rules
            .iter()
            .filter(matches)
            .max_by_key(|rule| rule.priority);
        best.map_or(0, |rule| rule.action)
    };
    probes().iter().map(best).collect()
}

/// One of these sets stands, is found by lookups, and there is room for as much as before.
fn check(region: Region, possible: &[Vec<Rule>]) -> Result<(), String> {
    let mut writer = AclWriter::recover(region).map_err(|why| why.to_string())?;
    let actions = |rules: &mut dyn Iterator<Item = Rule>| {
        let mut actions: Vec<u32> = rules.map(|rule| rule.action).collect();
        actions.sort_unstable();
        actions
    };
    let found = actions(&mut writer.rules().map(|(_, rule)| *rule));
    let stands = |rules: &&Vec<Rule>| actions(&mut rules.iter().copied()) == found;
    let Some(rules) = possible.iter().find(stands) else {
        return Err(format!("the rules {found:?}"));
    };
    agrees(&writer, rules)?;
    writer.quiesced().map_err(|why| why.to_string())?;
    agrees(&writer, rules)?;
    // As many rules more as there were before: none is lost.
    let more = SIZES.rules as usize - rules.len();
    let mut ids = Vec::new();
    for i in 0..more as u32 {
        let rule = Rule {
            priority: -1 - i as i32,
            action: 2000 + i,
            ..EXTRA
        };
        writer.quiesced().map_err(|why| why.to_string())?;
        ids.push(
            writer
                .add(&rule)
                .map_err(|why| format!("rule {i} of {more} more: {why}"))?,
        );
    }
    for id in ids {
        writer.quiesced().map_err(|why| why.to_string())?;
        writer.remove(id).map_err(|why| why.to_string())?;
    }
    agrees(&writer, rules)
}

fn agrees(writer: &AclWriter, rules: &[Rule]) -> Result<(), String> {
    let (found, want) = (classified(&writer.reader()), linear(rules));
    expect(found == want, || {
        format!("{found:?}, a linear scan gives {want:?}")
    })?;
    expect(writer.audit() == 0, || {
        format!("{} wrong rows", writer.audit())
    })
}

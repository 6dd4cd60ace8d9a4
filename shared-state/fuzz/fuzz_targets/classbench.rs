//! Any text is a set of filters or an error that names its line; a set of filters can be compiled, and its first
//! filter that matches wins.
#![no_main]

use std::sync::OnceLock;

use baton_shared_state::Region;
use baton_shared_state::acl::{Acl, AclError, Family, Filter, Key4, Key6, Sizes, import};
use libfuzzer_sys::fuzz_target;

const SIZES: Sizes = Sizes {
    rules: 16,
    classes: 100,
    big_nodes: 40,
    small_nodes: 300,
    blocks: 3,
    versions: 2,
};

fn region() -> Region {
    static REGION: OnceLock<Region> = OnceLock::new();
    let most = || Acl::bytes_for(Family::V6, SIZES).expect("sizes");
    *REGION.get_or_init(|| Region::private(most()))
}

/// What the first filter that matches the last header of each filter gives.
fn compile(filters: &[Filter], family: Family) {
    let rules: Vec<_> = filters.iter().map(|filter| filter.rule).collect();
    region().zero();
    let mut writer = Acl::create(region(), family, SIZES).expect("a classifier");
    match writer.build(&rules) {
        Ok(_) => {}
        Err(AclError::Full { .. }) => return,
        Err(other) => panic!("{other}"),
    }
    let bits = u128::MAX << (128 - u32::from(family.bits()));
    for rule in &rules {
        let (src, dst) = (rule.src.last() & bits, rule.dst.last() & bits);
        let (sport, dport, proto) = (rule.sport.1, rule.dport.1, rule.proto);
        let first = rules
            .iter()
            .find(|rule| rule.matches(src, dst, sport, dport, proto));
        let mut actions = [0];
        if family == Family::V4 {
            let key = Key4 {
                src: (src >> 96) as u32,
                dst: (dst >> 96) as u32,
                sport,
                dport,
                proto,
                _pad: [0; 3],
            };
            writer.reader().classify4(&[key], &mut actions);
        } else {
            let key = Key6 {
                src: src.to_be_bytes(),
                dst: dst.to_be_bytes(),
                sport,
                dport,
                proto,
                _pad: [0; 3],
            };
            writer.reader().classify6(&[key], &mut actions);
        }
        assert_eq!(actions[0], first.map_or(0, |rule| rule.action));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for family in [Family::V4, Family::V6] {
        match import(&text, family) {
            Ok(filters) => {
                assert!(filters.len() <= text.lines().count());
                for (i, filter) in filters.iter().enumerate() {
                    let rule = &filter.rule;
                    assert_eq!(
                        (rule.priority, rule.action),
                        (i32::MAX - i as i32, i as u32 + 1)
                    );
                    assert!(rule.sport.0 <= rule.sport.1 && rule.dport.0 <= rule.dport.1);
                    assert!(rule.src.len() <= family.bits() && rule.dst.len() <= family.bits());
                }
                if !filters.is_empty() && filters.len() <= 12 {
                    compile(&filters, family);
                }
            }
            Err(error) => {
                assert!((1..=text.lines().count()).contains(&error.line));
                assert!(!error.to_string().is_empty());
            }
        }
    }
});

//! What is recalled is what was remembered, and of this age.

use super::*;
use baton_datapath::rewrite::End;

/// More flows than a cache of 64 entries has room for, each with something known of it.
fn flow(n: u32) -> (FlowKey, Flow) {
    let end = |port| End {
        address: std::net::Ipv4Addr::from(n),
        port,
    };
    let key = FlowKey::new(&SessionKey::new(17, end(1), end(2)), false);
    let flow = Flow {
        becomes: Beginning(u64::from(n) << 20 | 5),
        session: n,
        hop: n as u16,
    };
    (key, flow)
}

fn recall(cache: &FlowCache, (key, _): &(FlowKey, Flow)) -> Option<Flow> {
    let (addresses, ports) = key.in_frame();
    let home = cache.home_of(addresses, ports);
    let found = [cache.recall(home, *key), cache.recall_further(home, *key)];
    let mut known = found.into_iter().filter(|(known, _)| *known);
    known.next().map(|(_, flow)| flow)
}

fn known(cache: &FlowCache, flows: &[(FlowKey, Flow)]) -> usize {
    let found = flows.iter().filter_map(|flow| {
        let found = recall(cache, flow)?;
        assert_eq!(found, flow.1, "another flow's");
        Some(())
    });
    found.count()
}

#[test]
fn what_is_recalled_is_what_was_remembered_last() {
    let mut cache = FlowCache::new(32);
    let flows: Vec<_> = (0..1_000).map(flow).collect();
    for (at, &(key, flow)) in flows.iter().enumerate() {
        cache.remember(key, flow);
        known(&cache, &flows[..=at]);
    }
    let all = known(&cache, &flows);
    assert!((57..=64).contains(&all), "{all} of 64");
    assert!(known(&cache, &flows[500..]) > 20, "new flows find no room");
    let mut one = *flows
        .iter()
        .find(|one| recall(&cache, one).is_some())
        .unwrap();
    one.1.hop = 7;
    cache.remember(one.0, one.1);
    assert_eq!(recall(&cache, &one), Some(one.1));
    cache.forget(one.1.session, &[one.0]);
    assert_eq!(recall(&cache, &one), None);
    assert_eq!(cache.forgotten(), 1);
}

#[test]
fn the_last_sessions_that_were_forgotten_are_known() {
    let mut cache = FlowCache::new(32);
    let sessions: [u32; BURST] = core::array::from_fn(|at| at as u32 / 2);
    let mut stamps = vec![];
    for session in [3, 100, 5, 3, 0, 15, 7, 8, 9, 10] {
        stamps.push(cache.forgotten());
        cache.forget(session, &[]);
    }
    let pair = |session: u32| 3u32 << (2 * session);
    let mut last: u32 = [15, 7, 8, 9, 10].map(pair).into_iter().sum();
    assert_eq!(cache.forgotten_since(stamps[5], &sessions), last);
    last |= pair(5) | pair(3) | pair(0);
    assert_eq!(cache.forgotten_since(stamps[2], &sessions), last);
    assert_eq!(cache.forgotten_since(stamps[1], &sessions), !0);
    assert_eq!(cache.forgotten_since(cache.forgotten(), &sessions), 0);
}

#[test]
fn the_two_directions_of_a_key_are_two_flows() {
    let mut cache = FlowCache::new(32);
    let (out, flow) = flow(3);
    let FlowKey([first, second]) = out;
    let inwards = FlowKey([first, second | 1 << FROM_OUTSIDE]);
    let (addresses, ports) = out.in_frame();
    let protocol = ports & 0xff_0000_0000;
    let ports = u64::from((ports as u32).rotate_left(16));
    let turned = (addresses.rotate_left(32), ports | protocol);
    assert_eq!(inwards.in_frame(), turned, "the near end is the receiver");
    cache.remember(out, flow);
    assert_eq!(recall(&cache, &(out, flow)), Some(flow));
    assert_eq!(recall(&cache, &(inwards, flow)), None);
}

#[test]
fn an_age_ends_for_all_and_none_comes_back_when_ages_are_counted_anew() {
    let mut cache = FlowCache::new(32);
    let flows: Vec<_> = (0..32).map(flow).collect();
    let mut routes = 0;
    let mut renew = |cache: &mut FlowCache| {
        routes += 1;
        let routes = (routes, 0);
        cache.renew(Known { gains: 1, routes });
    };
    for _ in 0..3 {
        for &(key, flow) in &flows {
            cache.remember(key, flow);
        }
        assert!(known(&cache, &flows) > 24);
        for _ in 0..LAST_AGE {
            renew(&mut cache);
            assert_eq!(known(&cache, &flows), 0, "age {}", cache.age);
        }
    }
}

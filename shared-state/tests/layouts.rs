//! Promise: what zones of these structures hold can be shown by tools of any version. The layouts of the records are
//! frozen, and each head says what its structure says.

use baton_schema::Record;
use baton_schema::golden::assert_golden;
use baton_shared_state::Region;
use baton_shared_state::acl::{Acl, AclHead, Family, Rule, RuleRecord, Sizes};
use baton_shared_state::lpm::{Lpm, LpmHead};
use baton_shared_state::lpm6::{Lpm6, Lpm6Head};
use baton_shared_state::meter::MeterWords;
use baton_shared_state::rcu::{DeferHead, DeferQueue, Qsbr, QsbrHead};
use baton_shared_state::table::{Hot32, Hot64};

#[test]
fn released_layouts_never_change() {
    assert_golden(&AclHead::schema(), "layouts/acl.head-v1.txt");
    assert_golden(&RuleRecord::schema(), "layouts/acl.rule-v1.txt");
    assert_golden(&Hot32::schema(), "layouts/baton.hot-v1.txt");
    assert_golden(&Hot64::schema(), "layouts/baton.hot-v2.txt");
    assert_golden(&MeterWords::schema(), "layouts/baton.meter-v1.txt");
    assert_golden(&LpmHead::schema(), "layouts/lpm.head-v1.txt");
    assert_golden(&Lpm6Head::schema(), "layouts/lpm6.head-v1.txt");
    assert_golden(&DeferHead::schema(), "layouts/rcu.defer-v1.txt");
    assert_golden(&QsbrHead::schema(), "layouts/rcu.head-v1.txt");
}

#[test]
fn the_head_of_a_route_table_says_what_is_in_it() {
    let region = Region::private(Lpm::bytes_for(3));
    let mut writer = Lpm::create(region, 3).unwrap();
    writer.insert(0x0a00_0000, 24, 5).unwrap();
    writer.insert(0, 0, 7).unwrap();
    let head: LpmHead = region.read(0);
    assert_eq!((head.magic, head.groups), (*b"lp24", 3));
    assert_eq!((head.default, head.rules, head.state), (8, 2, 0));
}

#[test]
fn the_head_of_an_ipv6_route_table_says_what_is_in_it() {
    let region = Region::private(Lpm6::bytes_for(64));
    let mut writer = Lpm6::create(region, 64).unwrap();
    writer.insert([0x20; 16], 48, 5).unwrap();
    writer.insert([0; 16], 0, 7).unwrap();
    let head: Lpm6Head = region.read(0);
    assert_eq!((head.magic, head.lines), (*b"lp66", 64));
    assert_eq!((head.default, head.rules, head.state), (8, 2, 0));
}

#[test]
fn the_head_of_a_classifier_names_its_published_version_and_its_rules_are_records() {
    let sizes = Sizes::for_rules(8, Family::V6);
    let region = Region::private(Acl::bytes_for(Family::V6, sizes).unwrap());
    let mut writer = Acl::create(region, Family::V6, sizes).unwrap();
    let before: AclHead = region.read(0);
    assert_eq!((before.magic, before.family, before.root), (*b"acl1", 6, 0));
    writer.add(&Rule::ANY).unwrap();
    let head: AclHead = region.read(0);
    assert_eq!((head.rules, head.classes), (sizes.rules, sizes.classes));
    assert_eq!(
        (head.big_nodes, head.small_nodes),
        (sizes.big_nodes, sizes.small_nodes)
    );
    assert_eq!((head.blocks, head.versions), (sizes.blocks, sizes.versions));
    assert_ne!(head.root, 0);
    assert_eq!(Rule::from(&RuleRecord::from(&Rule::ANY)), Rule::ANY);
}

#[test]
fn the_heads_of_readers_and_of_what_waits_for_them_count() {
    let (words, region) = (
        Region::private(Qsbr::bytes()),
        Region::private(DeferQueue::bytes_for(4)),
    );
    let qsbr = Qsbr::create(words).unwrap();
    let queue = DeferQueue::create(region, 4).unwrap();
    let reader = qsbr.reader(65).unwrap();
    (0..3).for_each(|value| queue.defer_free(&qsbr, value).unwrap());
    queue.reclaim(&qsbr, |_| false, |_| {});
    reader.online();
    queue.defer_free(&qsbr, 9).unwrap();
    let head: QsbrHead = words.read(0);
    assert_eq!((head.magic, head.slots), (*b"qsbr", 512));
    assert_eq!((head.words, head.registered[1]), (1 << 1, 1 << 1));
    assert_eq!(head.token, qsbr.start() - 1);
    assert!(head.acked > 0 && head.acked < head.token);
    let head: DeferHead = region.read(0);
    let found = (head.magic, head.capacity, head.head, head.tail);
    assert_eq!(found, (*b"dfrq", 4, 3, 4));
}

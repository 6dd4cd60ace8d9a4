//! A record in three versions, its chain, and a migration that does not come back.

use proptest::prelude::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::*;
use crate::{Migrate, Record};

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "nat.session", version = 1)]
#[repr(C)]
struct V1 {
    #[field(kind = "ipv4")]
    inside: [u8; 4],
    #[field(kind = "port")]
    port: [u8; 2],
    state: u8,
    _pad: u8,
}

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "nat.session", version = 2, follows = V1)]
#[repr(C)]
struct V2 {
    inside: [u8; 4],
    port: [u8; 2],
    state: u8,
    old_pad: u8,
    qos_class: u32,
}

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "nat.session", version = 4, follows = V2)]
#[repr(C)]
struct V4 {
    created: u64,
    inside: [u8; 4],
    port: [u8; 2],
    state: u8,
    old_pad: u8,
    qos_class: u32,
    wide: [u32; 129],
}

impl Migrate<V1> for V2 {
    const LOSES: &'static [Loss] = &[Loss("qos_class")];
    fn up(old: V1) -> V2 {
        V2 {
            inside: old.inside,
            port: old.port,
            state: old.state,
            old_pad: old._pad,
            qos_class: 7,
        }
    }
    fn down(new: V2) -> V1 {
        V1 {
            inside: new.inside,
            port: new.port,
            state: new.state,
            _pad: new.old_pad,
        }
    }
}

impl Migrate<V2> for V4 {
    const LOSES: &'static [Loss] = &[Loss("created"), Loss("wide")];
    fn up(old: V2) -> V4 {
        let V2 {
            inside,
            port,
            state,
            old_pad,
            qos_class,
        } = old;
        V4 {
            created: 99,
            inside,
            port,
            state,
            old_pad,
            qos_class,
            wide: [1; 129],
        }
    }
    fn down(new: V4) -> V2 {
        let V4 {
            inside,
            port,
            state,
            old_pad,
            qos_class,
            ..
        } = new;
        V2 {
            inside,
            port,
            state,
            old_pad,
            qos_class,
        }
    }
}

/// Its way down forgets the state, and does not say so.
#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "nat.session", version = 2, follows = V1)]
#[repr(C)]
struct Forgetful {
    inside: [u8; 4],
}

impl Migrate<V1> for Forgetful {
    const LOSES: &'static [Loss] = &[];
    fn up(old: V1) -> Forgetful {
        Forgetful { inside: old.inside }
    }
    fn down(new: Forgetful) -> V1 {
        V1 {
            inside: new.inside,
            port: [0; 2],
            state: 0,
            _pad: 0,
        }
    }
}

#[test]
fn a_chain_knows_every_version_oldest_first() {
    let chain = Chain::of::<V4>();
    assert_eq!(chain.versions(), [1, 2, 4]);
    assert_eq!(chain.newest(), &V4::schema());
    assert_eq!(Chain::of::<V1>().versions(), [1]);
}

#[test]
fn losses_add_up_over_the_steps_back() {
    let chain = Chain::of::<V4>();
    assert_eq!(chain.losses_back(1), ["qos_class", "created", "wide"]);
    assert_eq!(chain.losses_back(2), ["created", "wide"]);
    assert!(chain.losses_back(4).is_empty());
    assert!(chain.losses_back(3).is_empty(), "not in the chain");
}

#[test]
fn there_is_no_path_from_a_layout_the_chain_does_not_hold() {
    assert!(
        Chain::of::<V2>().path(V4::FINGERPRINT).is_none(),
        "the older program does not know the newer layout"
    );
    assert!(
        Chain::of::<V4>().path(Forgetful::FINGERPRINT).is_none(),
        "the same version, another layout"
    );
}

#[test]
fn the_newest_layout_is_copied() {
    let path = Chain::of::<V4>().path(V4::FINGERPRINT).unwrap();
    assert!(path.is_identity());
    let record = vec![5u8; size_of::<V4>()];
    let mut copy = vec![0u8; size_of::<V4>()];
    path.up(&record, &mut copy);
    assert_eq!(copy, record);
}

#[test]
fn one_step_writes_the_record_and_leaves_the_rest_of_the_stride() {
    let path = Chain::of::<V2>().path(V1::FINGERPRINT).unwrap();
    let old = [10, 0, 7, 20, 0xc8, 0x23, 3, 0, 0xee, 0xee];
    let mut new = [0xdd; 16];
    path.up(&old, &mut new);
    assert_eq!(
        new,
        [
            10, 0, 7, 20, 0xc8, 0x23, 3, 0, 7, 0, 0, 0, 0xdd, 0xdd, 0xdd, 0xdd
        ]
    );
}

proptest! {
    #[test]
    fn what_the_older_program_made_comes_back_unchanged(bytes in any::<[u8; 8]>()) {
        prop_assert_eq!(check_round_trip::<V2, V1>(&bytes), Ok(()));
    }

    #[test]
    fn several_steps_are_the_composition_of_each(bytes in any::<[u8; 8]>()) {
        let path = Chain::of::<V4>().path(V1::FINGERPRINT).unwrap();
        prop_assert_eq!((path.from_size(), path.to_size()), (8, size_of::<V4>()));
        let mut new = vec![0u8; path.to_size()];
        path.up(&bytes, &mut new);
        let by_hand = V4::up(V2::up(V1::read_from_bytes(&bytes).unwrap()));
        prop_assert_eq!(&new[..], by_hand.as_bytes());
        let mut back = [0u8; 8];
        path.down(&new, &mut back);
        prop_assert_eq!(back, bytes);
    }
}

#[test]
fn a_way_down_that_forgets_is_found_by_field() {
    let error = check_round_trip::<Forgetful, V1>(&[10, 0, 0, 1, 1, 2, 3, 0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "record \"nat.session\": v1 -> v2 -> v1 changes field \"port\" (byte 4); `down` must give back what `up` was given"
    );
    let error = check_round_trip::<Forgetful, V1>(&[0; 3]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "record \"nat.session\" v1 has 8 bytes, 3 were given"
    );
}

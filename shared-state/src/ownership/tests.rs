use super::*;

fn words(lcore: u16) -> (AtomicU64, AtomicU64) {
    let owner = AtomicU64::new(OwnerWord::unowned().pack());
    claim_first(&owner, lcore, 7).unwrap();
    (owner, AtomicU64::new(0))
}

fn read(word: &AtomicU64) -> OwnerWord {
    OwnerWord::unpack(word.load(Ordering::Relaxed))
}

#[test]
fn words_come_back_as_they_were_packed() {
    for lcore in [None, Some(0), Some(511), Some(0x3ffe)] {
        let word = OwnerWord {
            epoch: 0xdead_beef,
            lcore,
            generation: 0xfffe,
            repair: lcore == Some(511),
        };
        assert_eq!(OwnerWord::unpack(word.pack()), word);
    }
    for state in [
        RequestState::None,
        RequestState::Asked,
        RequestState::Accepted,
    ] {
        let word = RequestWord {
            epoch: u32::MAX,
            next: 0x3ffe,
            state,
            generation: 9,
        };
        assert_eq!(RequestWord::unpack(word.pack()), word);
    }
    assert_eq!(RequestWord::unpack(3 << 46).state, RequestState::None);
    assert_eq!(
        OwnerWord::unowned().pack() as u32,
        0,
        "low half is the epoch"
    );
}

#[test]
fn a_planned_swap_goes_asked_accepted_handed_over() {
    let (owner, request) = words(3);
    assert_eq!(accept(&owner, &request, 3), None);
    let asked = ask(&owner, &request, 35, 8).unwrap();
    assert_eq!(accept(&owner, &request, 4), None, "not the owner");
    let accepted = accept(&owner, &request, 3).unwrap();
    assert!(!withdraw(&request, asked));
    let now = hand_over(&owner, accepted, 3).unwrap();
    assert_eq!((now.lcore, now.generation, now.epoch), (Some(35), 8, 2));
    assert!(!now.repair, "it came from the owner's hand");
    assert_eq!(read(&owner), now);
    assert_eq!(
        accept(&owner, &request, 35),
        None,
        "the request is void (O2)"
    );
    ask(&owner, &request, 3, 7).expect("the way back");
}

#[test]
fn a_withdrawn_request_is_never_accepted() {
    let (owner, request) = words(3);
    let asked = ask(&owner, &request, 35, 8).unwrap();
    assert!(withdraw(&request, asked));
    assert_eq!(accept(&owner, &request, 3), None);
    assert!(!withdraw(&request, asked));
}

#[test]
fn a_second_request_is_refused_and_names_the_first() {
    let (owner, request) = words(3);
    ask(&owner, &request, 35, 8).unwrap();
    let error = ask(&owner, &request, 67, 8).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("lcore slot 35 was asked in for epoch 1")
    );
    let nobody = AtomicU64::new(OwnerWord::unowned().pack());
    let error = ask(&nobody, &AtomicU64::new(0), 1, 1).unwrap_err();
    assert_eq!(error, AskError::NoOwner { epoch: 0 });
}

#[test]
fn a_dead_owner_is_taken_from_once_and_its_promise_is_void() {
    let (owner, request) = words(3);
    ask(&owner, &request, 35, 8).unwrap();
    let accepted = accept(&owner, &request, 3).unwrap();
    let seen = read(&owner);
    assert!(take_from_dead(&owner, seen, 35, 8));
    assert!(
        read(&owner).repair,
        "the lcore that was asked in takes it from a dead owner all the same (O5)"
    );
    assert!(!take_from_dead(&owner, seen, 67, 8));
    let lost = hand_over(&owner, accepted, 3).unwrap_err();
    assert_eq!(lost.found.lcore, Some(35));
    assert!(lost.to_string().contains("taken for dead"));
    ask(&owner, &request, 3, 7).expect("a void request stands in nobody's way");
    let accepted = accept(&owner, &request, 35).expect("an owner that repaired hands on");
    assert!(!hand_over(&owner, accepted, 35).unwrap().repair);
}

#[test]
fn a_released_shard_can_be_claimed_again() {
    let (owner, _) = words(3);
    assert!(claim_first(&owner, 4, 7).is_err());
    assert!(release(&owner, read(&owner)));
    assert!(
        !take_from_dead(&owner, read(&owner), 5, 7),
        "nobody is not dead"
    );
    assert!(!read(&owner).repair);
    let now = claim_first(&owner, 4, 7).unwrap();
    assert_eq!((now.epoch, now.repair), (3, true));
}

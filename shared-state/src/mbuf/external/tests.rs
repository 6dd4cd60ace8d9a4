//! Packets of memory outside of the pool: nothing is copied until somebody asks, and the lender learns the end.

use crate::Region;
use crate::audit::Audit;
use crate::mbuf::{Chain, External, MAX_EXTERNAL};
use crate::mempool::tests::pool;
use crate::mempool::{Cache, Pool};
use crate::place::Holder;

const AT: u64 = 3 << 30;

fn lender(bytes: &[u8]) -> (Pool, Cache, Region) {
    let pool = pool(64);
    let memory = Region::private(MAX_EXTERNAL + 1);
    memory.copy_in(100, bytes);
    assert!(pool.lend_from(vec![(0, Region::private(64)), (AT, memory)]));
    (pool, pool.cache(5), memory)
}

#[test]
fn a_lender_learns_when_the_last_packet_is_gone() {
    let (pool, mut cache, memory) = lender(b"elsewhere");
    let mut loan = External::lend(AT + 100, 9, &mut cache).unwrap();
    assert_eq!(
        (loan.offset(), loan.len(), loan.references()),
        (AT + 100, 9, 0)
    );
    let mut first = loan.packet(0, 4, &mut cache).unwrap();
    first.chain(loan.packet(4, 5, &mut cache).unwrap()).unwrap();
    let second = first.clone(&mut cache).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(first.read(2, 5, &mut buffer), Some(&b"sewhe"[..]));
    assert!(
        first.iter().all(|bytes| bytes.is_none()),
        "no reference out there"
    );
    assert!(!first.write(0, b"x") && !first.is_writable());
    let accounting = Audit::of(pool, |visit| {
        [&first, &second]
            .iter()
            .for_each(|one| visit(Holder::tx(0, 0), one.index()));
    });
    assert!(accounting.is_exact(), "{accounting:?}");
    assert!(accounting.by_holder.contains(&("external 5".into(), 1)));
    assert!(first.make_writable(&mut cache) && first.write(0, b"E"));
    assert_eq!(
        (loan.references(), memory.to_vec(100, 9)),
        (2, b"elsewhere".to_vec())
    );
    let loan = loan.take_back(&mut cache).unwrap_err();
    second.free(&mut cache);
    assert!(loan.is_returned());
    loan.take_back(&mut cache).unwrap();
    assert_eq!(first.read(0, 9, &mut buffer), Some(&b"Elsewhere"[..]));
    first.free(&mut cache);
    assert!(Audit::new(pool).finish().is_exact());
}

#[test]
fn what_is_not_ours_is_not_lent_and_not_read() {
    let (pool, mut cache, _) = lender(b"elsewhere");
    assert!(External::lend(AT + 100, MAX_EXTERNAL + 1, &mut cache).is_none());
    assert!(External::lend(AT + MAX_EXTERNAL as u64, 2, &mut cache).is_none());
    assert!(External::lend(AT - 1, 2, &mut cache).is_none());
    let mut loan = External::lend(AT, 10, &mut cache).unwrap();
    assert!(loan.packet(5, 6, &mut cache).is_none());
    let packet = loan.packet(5, 5, &mut cache).unwrap();
    pool.line(loan.index()).set_timestamp(u64::MAX - 4);
    assert!(packet.read(0, 5, &mut [0; 5]).is_none());
    let mut packet = packet;
    assert!(!packet.make_writable(&mut cache));
    assert!(packet.split_off(2, &mut cache).is_none());
    pool.line(loan.index()).set_mark(7);
    let packet = Chain::from_raw(packet.into_raw(), &cache).unwrap();
    assert_eq!(
        packet.len(),
        0,
        "an extent that leaves the loan shows nothing"
    );
    packet.free(&mut cache);
    loan.take_back(&mut cache).unwrap();
    assert!(Audit::new(pool).finish().is_exact());
}

#[test]
fn a_successor_goes_on_with_what_was_lent() {
    let (pool, mut cache, _) = lender(b"elsewhere");
    let mut loan = External::lend(AT + 100, 9, &mut cache).unwrap();
    let packet = loan.packet(0, 9, &mut cache).unwrap();
    let _gone = loan;
    let mut found = External::adopt(&pool.cache(5));
    let loan = found.pop().unwrap();
    assert!(found.is_empty() && !loan.is_returned() && External::adopt(&pool.cache(4)).is_empty());
    packet.free(&mut cache);
    loan.take_back(&mut cache).unwrap();
    assert!(Audit::new(pool).finish().is_exact());
}

#[test]
fn a_loan_ends_once_however_many_handles_it_has() {
    let (pool, mut cache, _) = lender(b"elsewhere");
    let loan = External::lend(AT + 100, 9, &mut cache).unwrap();
    let mut stale = External::adopt(&cache).pop().unwrap();
    let mut other = pool.cache(4);
    let loan = loan.take_back(&mut other).expect_err("it is not shard 4's");
    loan.take_back(&mut cache).unwrap();
    assert!(stale.packet(0, 4, &mut cache).is_none());
    stale.take_back(&mut cache).expect_err("it has ended");
    assert!(Audit::new(pool).finish().is_exact());
}

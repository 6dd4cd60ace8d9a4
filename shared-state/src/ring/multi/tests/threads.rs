//! Producers and consumers at once, in one mapping and in two.

use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::thread;

use super::*;
use crate::sync::AtomicU32;

const PRODUCERS: u32 = 3;
const CONSUMERS: usize = 3;
const EACH: u32 = 20_000;

fn produce(party: Party, who: u32) {
    let mut next = 0;
    while next < EACH {
        let upto = EACH.min(next + 1 + next % 17);
        let from: Vec<u32> = (next..upto).map(|i| who << 24 | i).collect();
        let put = if next % 3 == 0 && from.len() <= party.ring().capacity() {
            if party.enqueue_bulk(&from) {
                from.len()
            } else {
                0
            }
        } else {
            party.enqueue_burst(&from)
        };
        next += put as u32;
        if put == 0 {
            thread::yield_now();
        }
    }
}

fn consume(party: Party, taken: &AtomicU32, sum: &AtomicU64) {
    let mut last = [None; PRODUCERS as usize];
    while taken.load(Ordering::Relaxed) < PRODUCERS * EACH {
        let mut to = [0; 20];
        let n = party.dequeue_burst(&mut to);
        for element in &to[..n] {
            let (who, i) = (element >> 24, element & 0xff_ffff);
            // Of one producer, each consumer sees ever later elements.
            assert!(last[who as usize] < Some(i));
            last[who as usize] = Some(i);
            sum.fetch_add(u64::from(i) + 1, Ordering::Relaxed);
        }
        taken.fetch_add(n as u32, Ordering::Relaxed);
        if n == 0 {
            thread::yield_now();
        }
    }
}

/// `views` are the same ring, each producer and consumer takes the next one of them.
fn each_element_moves_once(views: &[Ring]) {
    let (taken, sum) = (AtomicU32::new(0), AtomicU64::new(0));
    let view = |i: usize| views[i % views.len()];
    thread::scope(|scope| {
        for who in 0..PRODUCERS {
            let party = view(who as usize).party(who as usize);
            scope.spawn(move || produce(party, who));
        }
        for i in 0..CONSUMERS {
            let party = view(i + 1).party(10 + i);
            let (taken, sum) = (&taken, &sum);
            scope.spawn(move || consume(party, taken, sum));
        }
    });
    let each = u64::from(EACH);
    assert_eq!(taken.load(Ordering::Relaxed), PRODUCERS * EACH);
    assert_eq!(
        sum.load(Ordering::Relaxed),
        u64::from(PRODUCERS) * each * (each + 1) / 2
    );
    assert!(views[0].is_empty() && held(views[0]).is_empty());
}

#[test]
fn many_producers_and_consumers_move_each_element_once_and_in_order() {
    for (producers, consumers) in MODES.into_iter().zip(MODES) {
        each_element_moves_once(&[ring(128, producers, consumers)]);
    }
    each_element_moves_once(&[ring(128, Mode::Rts, Mode::Mt)]);
    each_element_moves_once(&[ring(16, Mode::Hts, Mode::Rts)]);
}

/// The same bytes at an address of their own.
fn mapped(file: &impl AsRawFd, bytes: usize) -> Region {
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let (null, fd) = (std::ptr::null_mut(), file.as_raw_fd());
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(null, bytes, rights, libc::MAP_SHARED, fd, 0) };
    assert_ne!(at, libc::MAP_FAILED, "a mapping of {bytes} bytes");
    let at = NonNull::new(at.cast()).unwrap();
    // SAFETY: mapped readable and writable just now, never unmapped, reached as atomics alone.
    unsafe { Region::from_raw(at, bytes, true) }
}

#[test]
fn one_ring_mapped_at_two_addresses_is_one_ring() {
    for mode in MODES {
        let bytes = Ring::bytes_for(64);
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes as u64).unwrap();
        let (one, other) = (mapped(&file, bytes), mapped(&file, bytes));
        assert_ne!(one.as_ptr(), other.as_ptr());
        let ring = Ring::create(one, 64, mode, mode).unwrap();
        each_element_moves_once(&[ring, Ring::attach(other).unwrap()]);
    }
}

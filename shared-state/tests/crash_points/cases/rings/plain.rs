//! The rings that need no repair.

use baton_shared_state::ring::{Element, MpmcRing, SpscRing, SpscRingOf};

use super::{Case, Region, Sample, THROUGH, Wide, expect, fill, look, nothing, through};

pub(super) fn all() -> Vec<Case> {
    vec![
        bursts::<SpscRing>("ring, one producer and consumer"),
        bursts::<MpmcRing>("ring, many producers and consumers"),
        bursts::<SpscRingOf<Wide>>("ring, one and one, 16 bytes"),
        in_place::<u32>("ring, one and one, in place"),
        in_place::<Wide>("ring, one and one, in place, 16 bytes"),
    ]
}

/// What the cases need of either ring.
trait Plain {
    type E: Sample;
    const BYTES: usize;
    fn create(region: Region) -> Self;
    fn attach(region: Region) -> Self;
    fn put(&self, from: &[Self::E]) -> usize;
    fn take(&self, to: &mut [Self::E]) -> usize;
    fn window(&self, visit: &mut dyn FnMut(Self::E));
}

macro_rules! plain {
    ([$($of:tt)*] $ring:ty, $element:ty) => {
        impl<$($of)*> Plain for $ring {
            type E = $element;
            const BYTES: usize = <$ring>::bytes_for(8);
            fn create(region: Region) -> Self {
                <$ring>::create(region, 8).expect("a ring")
            }
            fn attach(region: Region) -> Self {
                <$ring>::attach(region).expect("a ring")
            }
            fn put(&self, from: &[$element]) -> usize {
                self.enqueue_burst(from)
            }
            fn take(&self, to: &mut [$element]) -> usize {
                self.dequeue_burst(to)
            }
            fn window(&self, visit: &mut dyn FnMut($element)) {
                <$ring>::window(self, visit);
            }
        }
    };
}
plain!([] MpmcRing, u32);
plain!([E: Sample] SpscRingOf<E>, E);

fn bursts<R: Plain>(name: &'static str) -> Case {
    Case {
        name,
        bytes: R::BYTES,
        setup: setup::<R>,
        operation: |region| {
            let ring = R::attach(region);
            ring.put(&through(&THROUGH[3..]));
            // Alone it is stored word by word.
            ring.put(&through(&THROUGH[..1]));
            ring.take(&mut [R::E::NONE; 1]);
            ring.take(&mut [R::E::NONE; 2]);
        },
        repair: nothing,
        check: |region| check::<R>(region, 3),
    }
}

/// Slots filled and committed, in two parts; elements looked at and taken, in place and as copies.
fn in_place<E: Sample>(name: &'static str) -> Case {
    Case {
        name,
        bytes: SpscRingOf::<E>::BYTES,
        setup: setup::<SpscRingOf<E>>,
        operation: |region| {
            let ring = SpscRingOf::<E>::attach(region).expect("a ring");
            // More is reserved than is filled.
            assert_eq!(fill(ring.reserve(5), &through::<E>(&THROUGH[3..])), 3);
            ring.commit(3);
            assert_eq!(fill(ring.reserve(1), &through::<E>(&THROUGH[..1])), 1);
            ring.commit(1);
            assert_eq!(look::<E>(ring.peek(2)), THROUGH[..2]);
            ring.consume(1);
            assert_eq!(ring.peek_burst(&mut [E::NONE; 2]), 2);
            ring.consume(2);
        },
        repair: nothing,
        check: |region| check::<SpscRingOf<E>>(region, 3),
    }
}

fn setup<R: Plain>(region: Region) {
    let ring = R::create(region);
    // The bursts that follow go around the end of the array.
    ring.put(&[R::E::of(7); 4]);
    ring.take(&mut [R::E::NONE; 4]);
    ring.put(&through(&THROUGH[..3]));
}

/// What is in the ring is a piece of what went through it: nothing lost inside, nothing twice.
fn check<R: Plain>(region: Region, firsts: usize) -> Result<(), String> {
    let ring = R::attach(region);
    let mut found = Vec::new();
    ring.window(&mut |element| found.push(element.number()));
    let all = [&THROUGH[..], &THROUGH[..1]].concat();
    let piece =
        (0..=firsts).any(|first| (3..=all.len()).any(|last| all[first..last.max(first)] == *found));
    expect(piece, || format!("{found:?} is no piece of {all:?}"))?;
    let mut out = [R::E::NONE; 9];
    let n = ring.take(&mut out);
    let out: Vec<u32> = out[..n].iter().map(|element| element.number()).collect();
    expect(out == found, || {
        format!("its window is {found:?}, it gives {out:?}")
    })?;
    let n = ring.put(&[R::E::of(7); 9]);
    expect(n == 8, || format!("{n} of 8 places are free"))
}

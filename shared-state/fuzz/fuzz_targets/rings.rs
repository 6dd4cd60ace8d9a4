//! The rings that `attach` attaches to, of elements of several sizes. A ring is used, too, and put back as it was:
//! where another party would be waited for, the wait is given up.

use baton_shared_state::Region;
use baton_shared_state::ring::{Element, Mode, MpmcRing, Party, RingOf, SpscRingOf};

use crate::input::Input;
use crate::{Subject, guarded};

const CAPACITY: usize = 16;

pub fn all() -> [Subject; 9] {
    [
        plain::<SpscRingOf<u32>>(),
        plain::<SpscRingOf<u64>>(),
        plain::<SpscRingOf<[u32; 3]>>(),
        plain::<MpmcRing>(),
        many::<u32>(Mode::Mt, Mode::Rts),
        many::<u32>(Mode::Rts, Mode::Mt),
        many::<u32>(Mode::Hts, Mode::Hts),
        many::<[u32; 4]>(Mode::Hts, Mode::Mt),
        many::<[u32; 16]>(Mode::Rts, Mode::Hts),
    ]
}

/// What is asked of the rings that need no repair.
trait Plain: Sized {
    fn create() -> Region;
    fn attach(region: Region) -> Option<Self>;
    fn look(&self);
    fn change(&self);
}

impl<E: Element> Plain for SpscRingOf<E> {
    fn create() -> Region {
        let region = guarded(Self::bytes_for(CAPACITY));
        let ring = Self::create(region, CAPACITY).expect("a ring");
        assert!(ring.enqueue_bulk(&[E::new_zeroed(); 3]));
        region
    }
    fn attach(region: Region) -> Option<Self> {
        Self::attach(region).ok()
    }
    fn look(&self) {
        self.window(&mut |_| {});
        let _ = (self.len(), self.free(), self.capacity());
        self.peek_burst(&mut [E::NONE; 40]);
        see::<E>(self.peek(40));
    }
    fn change(&self) {
        let free = fill::<E>(self.reserve(40));
        self.commit(free / 2);
        self.dequeue_burst(&mut [E::NONE; 5]);
        self.enqueue_burst(&[E::new_zeroed(); 40]);
        self.dequeue_bulk(&mut [E::NONE; 12]);
        self.enqueue_bulk(&[E::new_zeroed(); 4]);
    }
}

impl Plain for MpmcRing {
    fn create() -> Region {
        let region = guarded(Self::bytes_for(CAPACITY));
        let ring = Self::create(region, CAPACITY).expect("a ring");
        ring.enqueue_burst(&[1, 2, 3]);
        region
    }
    fn attach(region: Region) -> Option<Self> {
        Self::attach(region).ok()
    }
    fn look(&self) {
        self.window(&mut |_| {});
        let _ = (self.len(), self.free(), self.capacity());
    }
    // Behind a hint that was damaged it searches up to 2^31 slots: that ends, but too late for here.
    fn change(&self) {}
}

fn plain<R: Plain>() -> Subject {
    Subject {
        region: R::create(),
        places: vec![0, 64, 128, 192],
        read: |region, _| {
            let before = region.to_vec(0, region.len());
            let ring = R::attach(region)?;
            ring.look();
            assert_eq!(region.to_vec(0, region.len()), before, "a look stores");
            ring.change();
            ring.look();
            region.copy_in(0, &before);
            Some(())
        },
    }
}

fn many<E: Element>(producers: Mode, consumers: Mode) -> Subject {
    let region = guarded(RingOf::<E>::bytes_for(CAPACITY));
    let ring = RingOf::<E>::create(region, CAPACITY, producers, consumers).expect("a ring");
    assert!(ring.party(0).enqueue_bulk(&[E::new_zeroed(); 3]));
    Subject {
        region,
        places: vec![0, 8, 128, 256, 384, 512, 640, 704, 4736],
        read: |region, input| {
            let before = region.to_vec(0, region.len());
            let ring = RingOf::<E>::attach(region).ok()?;
            look(ring);
            assert_eq!(region.to_vec(0, region.len()), before, "a look stores");
            for _ in 0..6 {
                let party = usize::from(input.byte() % 3);
                step(ring.party(party), input);
                ring.repair(party, |_| {});
            }
            look(ring);
            region.copy_in(0, &before);
            Some(())
        },
    }
}

fn look<E: Element>(ring: RingOf<E>) {
    let mut shown = 0;
    ring.window(&mut |_| shown += 1);
    // What 64 parties say they hold, and what lies between the heads.
    assert!(shown <= 65 * ring.capacity());
    assert!(ring.len() <= ring.capacity() && ring.free() <= ring.capacity());
}

/// One operation, which may wait for nobody.
fn step<E: Element>(party: Party<E>, input: &mut Input<'_>) {
    let (what, n) = (input.byte() % 4, usize::from(input.byte() % 40));
    let ring = party.ring();
    match what {
        0 => _ = party.enqueue_unless(&vec![E::new_zeroed(); n], || true),
        1 => _ = party.dequeue_unless(&mut vec![E::NONE; n], || true),
        2 if ring.producer_mode() == Mode::Hts => {
            if let Ok(Some(hold)) = party.start_enqueue(n, || true) {
                let n = fill::<E>(hold.slots());
                assert_eq!(n, hold.len());
                hold.finish(n / 2);
            }
        }
        3 if ring.consumer_mode() == Mode::Hts => {
            if let Ok(Some(hold)) = party.start_dequeue(n, || true) {
                let n = see::<E>(hold.slots());
                assert_eq!(n, hold.len());
                hold.finish(n / 2);
            }
        }
        _ => {}
    }
}

fn see<E: Element>(parts: [&[E::Slot]; 2]) -> usize {
    parts.into_iter().flatten().map(E::load).count()
}

fn fill<E: Element>(parts: [&[E::Slot]; 2]) -> usize {
    let slots = parts.into_iter().flatten();
    slots.map(|slot| E::new_zeroed().store(slot)).count()
}

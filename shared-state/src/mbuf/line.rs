//! What a line says of a buffer that is not plain: its segments, its kind, where its data lie.
//!
//! Order: every store here is a Release, so that those of one process become visible in the order in which
//! they stand; what a dead one leaves is a first part of them.

use super::{Line, NONE, high, low, pair};
use crate::place::Place;
use crate::sync::{AtomicU32, Ordering};

/// A buffer with a chunk of its own.
pub(crate) const DIRECT: u16 = 1;
/// What it shows lies in another, its base: `link` is the base's index, plus 1 (an indirect buffer).
pub(crate) const ATTACHED: u16 = 1 << 1;
/// Others may be attached to it: `link` counts them, and its holder ([`super::refs`]).
pub(crate) const SHARED: u16 = 1 << 2;
/// No packet: it stands for memory outside of the pool ([`super::External`]). Always with [`SHARED`].
pub(crate) const EXTERNAL: u16 = 1 << 3;

const PLAIN: u32 = pair(1, DIRECT);

impl Line {
    /// Whether it is one segment in its own chunk, which nobody else refers to: what a [`super::Packet`] is.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.segs.load(Ordering::Relaxed) & !PLAIN == 0
    }

    /// Its kind: [`ATTACHED`] and its like.
    pub(crate) fn kind(&self) -> u16 {
        high(self.segs.load(Ordering::Acquire))
    }

    /// Whether it shows another's data.
    pub(crate) fn is_attached(&self) -> bool {
        self.kind() & ATTACHED != 0
    }

    /// Whether others may be attached to it.
    pub(crate) fn is_shared(&self) -> bool {
        self.kind() & SHARED != 0
    }

    /// Offset and length of what it shows, in its chunk or its base's; nobody has checked them.
    pub(crate) fn extent(&self) -> (u16, u16) {
        let word = if self.is_plain() {
            &self.data
        } else {
            &self.view
        };
        let pair = word.load(Ordering::Relaxed);
        (low(pair), high(pair))
    }

    /// Stores offset and length of what it shows.
    pub(crate) fn set_extent(&self, off: u16, len: u16) {
        let word = if self.is_plain() {
            &self.data
        } else {
            &self.view
        };
        word.store(pair(off, len), Ordering::Release);
    }

    /// Stores segments and kind; the extent goes where a line of that kind has it.
    ///
    /// Order: an extent is in its new word before `segs` says to look there, and leaves the old one afterwards.
    pub(crate) fn reshape(&self, nb_segs: u16, kind: u16) {
        let (off, len) = self.extent();
        let was = self.is_plain();
        let is = pair(nb_segs, kind) & !PLAIN == 0;
        if was && !is {
            self.view.store(pair(off, len), Ordering::Release);
        } else if is && !was {
            self.data.store(pair(off, len), Ordering::Release);
        }
        self.segs.store(pair(nb_segs, kind), Ordering::Release);
        if was && !is {
            self.data.store(0, Ordering::Release);
        }
    }

    /// Makes it plain with another extent; `segs`, the last store, publishes both.
    pub(crate) fn flatten(&self, off: u16, len: u16) {
        self.link.store(0, Ordering::Release);
        self.data.store(pair(off, len), Ordering::Release);
        self.segs.store(PLAIN, Ordering::Release);
    }

    /// As every free buffer is: nothing hangs on it, it refers to nothing.
    pub(crate) fn make_plain(&self) {
        self.next.store(NONE, Ordering::Release);
        self.link.store(0, Ordering::Release);
        self.segs.store(PLAIN, Ordering::Release);
    }

    /// Names the next segment. What makes that one part of the packet is its own place.
    pub(crate) fn link_next(&self, next: u32) {
        self.next.store(next, Ordering::Release);
    }

    /// Says where the buffer is, after everything stored before.
    pub(crate) fn move_to(&self, place: Place) {
        self.place.store(place.bits(), Ordering::Release);
    }

    /// The buffer it is attached to, if it is ([`ATTACHED`]).
    pub(crate) fn base(&self) -> Option<u32> {
        let link = self.link.load(Ordering::Acquire);
        self.is_attached().then(|| link.checked_sub(1)).flatten()
    }

    /// Names the buffer it is attached to, or none.
    pub(crate) fn set_base(&self, base: Option<u32>) {
        self.link
            .store(base.map_or(0, |m| m.wrapping_add(1)), Ordering::Release);
    }

    /// The word that counts the references to it ([`SHARED`]).
    pub(crate) fn references(&self) -> &AtomicU32 {
        &self.link
    }

    /// Copies where a packet arrived.
    pub(crate) fn copy_arrival(&self, from: &Line) {
        self.set_arrival(from.port(), from.queue());
    }

    /// Copies what a datapath knows of a packet from another line: arrival, flags, hash, mark, time, user.
    pub(crate) fn copy_facts(&self, from: &Line) {
        let (ours, theirs) = (
            [
                &self.arrival,
                &self.flags,
                &self.csum,
                &self.hash,
                &self.mark,
            ],
            [
                &from.arrival,
                &from.flags,
                &from.csum,
                &from.hash,
                &from.mark,
            ],
        );
        for (to, from) in ours.iter().zip(theirs) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.set_timestamp(from.timestamp());
        self.set_user(from.user());
    }
}

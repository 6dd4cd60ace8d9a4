//! What a burst sends by one port, until the end of the burst. In process memory: a mbuf in here is in the
//! hands of the shard's lcore, as its place says.
//!
//! Invariant: it is full only inside of a call: who fills it has it flushed.

use baton_shared_state::BURST;
use baton_shared_state::mbuf::Packet;

/// Packets of one port that wait for the end of the burst.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) mbufs: [u32; BURST],
    pub(crate) len: usize,
    pub(crate) bytes: u64,
    /// Something was published since the last kick.
    pub(crate) unkicked: bool,
}

impl Stage {
    /// Takes a mbuf in whose packet has `len` bytes; it is not full.
    #[inline(always)]
    pub(crate) fn put(&mut self, mbuf: u32, len: usize) {
        let at = self.len % BURST;
        self.bytes += len as u64;
        self.mbufs[at] = mbuf;
        self.len = at + 1;
    }

    /// Takes packets in, those from number `at` on, each after `change` has had it, until one is not plain, or it
    /// is full; the number of the first that it left.
    #[inline(always)]
    pub(crate) fn put_each(
        &mut self,
        packets: &mut [Option<Packet>],
        mut at: usize,
        change: &mut impl FnMut(usize, &mut Packet),
    ) -> usize {
        let (mut len, mut bytes) = (self.len, self.bytes);
        for slot in packets.iter_mut().skip(at) {
            if let Some(packet) = slot {
                let Some(place) = self.mbufs.get_mut(len) else {
                    break;
                };
                if !packet.line().is_plain() {
                    break;
                }
                change(at, packet);
                *place = packet.index();
                bytes += packet.len() as u64;
                len += 1;
            }
            core::mem::forget(slot.take());
            at += 1;
        }
        (self.len, self.bytes) = (len, bytes);
        at
    }
}

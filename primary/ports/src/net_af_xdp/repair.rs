//! After the death of a queue's owner: one compare for each mbuf that names this queue.
//!
//! | `place` | index at or past the ring's | before it |
//! |---|---|---|
//! | app, marked (rx index) | still in the receive ring | in hand: `held` |
//! | tx | written, never published: sent now | the kernel's, or completed |
//! | comp | still in the completion ring | reaped, not freed: freed now |
//! | fill | written, never published: freed now | the kernel's |
//!
//! Nothing is written before all is known; if the repairer dies as well, the next one finds either
//! the same or less to do.

use baton_shared_state::mempool::Cache;
use baton_shared_state::place::Holder;

use super::queue::{POSITION, XdpPort};
use crate::hand::{before, distance};

/// Settles the half-done steps of a dead owner.
pub(super) fn settle(port: &mut XdpPort, cache: &mut Cache, held: &mut Vec<u32>) {
    let rings = port.rings;
    let received = rings.rx.consumed() & POSITION;
    let in_hand = port.hand.find(cache.shard(), received);
    held.extend(
        in_hand
            .into_iter()
            .filter(|(position, _)| distance(*position, received) < 0)
            .map(|(_, m)| m),
    );
    let completed = rings.completion.consumed();
    for (index, m) in port.hand.placed(port.holder(Holder::comp), completed) {
        if before(index, completed) {
            cache.free_burst(&[m]);
        }
    }
    let filled = rings.fill.produced();
    for (index, m) in port.hand.placed(port.holder(Holder::fill), filled) {
        if !before(index, filled) {
            cache.free_burst(&[m]);
        }
    }
    let sent = rings.tx.produced();
    let unsent: Vec<u32> = port
        .hand
        .placed(port.holder(Holder::tx), sent)
        .into_iter()
        .filter(|(index, _)| !before(*index, sent))
        .map(|(_, m)| m)
        .collect();
    for (i, m) in (0u32..).zip(&unsent) {
        port.finish_checksum(*m);
        port.write(*m, sent.wrapping_add(i));
    }
    rings.tx.publish(sent.wrapping_add(unsent.len() as u32));
}

#[cfg(test)]
mod tests;

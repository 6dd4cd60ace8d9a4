//! What the tests of packets of more than one mbuf share.

use super::{Chain, Packet};
use crate::audit::Audit;
use crate::mempool::{Cache, Pool};

pub(super) fn packet(cache: &mut Cache, bytes: &[u8]) -> Packet {
    let mut packet = cache.alloc().unwrap();
    packet.append(bytes.len()).unwrap().copy_from_slice(bytes);
    packet
}

/// A packet of a segment for each part.
pub(super) fn chain(cache: &mut Cache, parts: &[&[u8]]) -> Chain {
    let mut parts = parts.iter();
    let mut chain = Chain::of(packet(cache, parts.next().unwrap()));
    parts.for_each(|part| chain.push(packet(cache, part)).unwrap());
    chain
}

pub(super) fn all_of(chain: &Chain) -> Vec<u8> {
    let mut bytes = vec![0; chain.len()];
    assert!(chain.copy_out(0, &mut bytes));
    bytes
}

pub(super) fn assert_all_free(pool: Pool) {
    let accounting = Audit::new(pool).finish();
    assert!(accounting.is_exact(), "{accounting:?}");
    assert!((0..pool.count()).all(|m| pool.line(m).is_plain()));
}

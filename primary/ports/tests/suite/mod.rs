//! The conformance suite: what every driver with a neighbour must do. Each check starts from a
//! fresh [`Rig`] and ends with an audit.

use baton_ports::Port;
use baton_shared_state::limits::BURST;
use baton_shared_state::mempool::Cache;

use crate::rig::{Rig, number_of, transmit, until};

/// Runs every check, each on a rig of its own.
pub(crate) fn conforms(make: impl Fn() -> Rig) {
    receives_all_in_order(make());
    sends_all_in_order(make());
    a_planned_handover_loses_nothing(make());
    a_death_with_packets_in_hand_loses_nothing(make());
    a_death_before_the_kick_loses_nothing(make());
    a_full_transmit_ring_takes_no_more(make());
    a_port_without_buffers_says_so(make());
}

fn receives_all_in_order(mut rig: Rig) {
    let (mut port, mut cache) = (rig.adopt(0), rig.pool.cache(0));
    port.resume(&mut cache);
    let (mut sent, mut got) = (0, Vec::new());
    let total = 2000;
    until("every frame arrives", || {
        if sent < total && sent - (got.len() as u32) < 128 {
            rig.send(sent);
            sent += 1;
        }
        let mut out = [0; BURST];
        let n = port.rx_burst(&mut cache, &mut out);
        for m in &out[..n] {
            let line = rig.pool.line(*m);
            assert_eq!((line.port(), line.queue()), (rig.spec.id, 0));
            got.push(number_of(rig.pool, *m));
        }
        cache.free_burst(&out[..n]);
        got.len() as u32 == total
    });
    assert!(
        got.iter().copied().eq(0..total),
        "in order, each once: {got:?}"
    );
    assert_eq!(port.totals().rx_packets, u64::from(total));
    rig.assert_nothing_leaked(&*port);
}

fn sends_all_in_order(mut rig: Rig) {
    let (mut port, mut cache) = (rig.adopt(0), rig.pool.cache(0));
    port.resume(&mut cache);
    let (mut sent, mut got) = (0, Vec::new());
    let total = 2000;
    until("every frame comes out", || {
        if sent < total && sent - (got.len() as u32) < 128 {
            let mut packet = cache.alloc().expect("a free mbuf");
            let frame = crate::rig::frame(sent);
            packet
                .append(frame.len())
                .expect("room")
                .copy_from_slice(&frame);
            transmit(&mut *port, &mut cache, &[packet.into_raw()]);
            sent += 1;
        }
        got.extend(rig.received());
        got.len() as u32 == total
    });
    assert!(
        got.iter().copied().eq(0..total),
        "in order, each once: {got:?}"
    );
    assert_eq!(port.totals().tx_packets, u64::from(total));
    rig.assert_nothing_leaked(&*port);
}

/// Forwards `total` frames back to the neighbour; `each` sees the port before every burst and may
/// put another in its place.
fn forward(
    rig: &mut Rig,
    cache: &mut Cache,
    total: u32,
    mut each: impl FnMut(&Rig, Box<dyn Port>, &mut Cache, u32) -> Box<dyn Port>,
) -> Box<dyn Port> {
    let mut port = rig.adopt(0);
    port.resume(cache);
    let (mut sent, mut got, mut bursts) = (0, Vec::new(), 0);
    let mut current = Some(port);
    until("every frame comes back", || {
        while sent < total && sent - (got.len() as u32) < 128 {
            rig.send(sent);
            sent += 1;
        }
        let mut port = each(rig, current.take().expect("one at a time"), cache, bursts);
        let mut out = [0; BURST];
        let n = port.rx_burst(cache, &mut out[..1 + bursts as usize % BURST]);
        transmit(&mut *port, cache, &out[..n]);
        bursts += 1;
        current = Some(port);
        got.extend(rig.received());
        got.len() as u32 == total
    });
    assert!(
        got.iter().copied().eq(0..total),
        "in order, each once: {got:?}"
    );
    current.expect("one at a time")
}

fn a_planned_handover_loses_nothing(mut rig: Rig) {
    let mut cache = rig.pool.cache(0);
    let port = forward(&mut rig, &mut cache, 3000, |rig, mut old, cache, burst| {
        if !burst.is_multiple_of(5) {
            return old;
        }
        let mut next = rig.adopt(0); // beforehand, as in a swap
        old.release(cache);
        drop(old);
        let mut out = [0; BURST];
        let n = next.rx_burst(cache, &mut out); // the first poll waits for nothing
        transmit(&mut *next, cache, &out[..n]);
        next.resume(cache);
        next
    });
    assert_eq!(port.totals().rx_packets, 3000, "counters go on");
    rig.assert_nothing_leaked(&*port);
}

fn a_death_with_packets_in_hand_loses_nothing(mut rig: Rig) {
    let mut cache = rig.pool.cache(0);
    let port = forward(&mut rig, &mut cache, 3000, |rig, mut old, cache, burst| {
        if !burst.is_multiple_of(5) {
            return old;
        }
        let mut out = [0; BURST];
        let n = old.rx_burst(cache, &mut out);
        drop(old); // no release: as if killed
        let mut next = rig.adopt(0);
        let mut held = Vec::new();
        next.repair(cache, &mut held);
        assert_eq!(held, out[..n], "what was in hand, in order");
        transmit(&mut *next, cache, &held);
        next
    });
    rig.assert_nothing_leaked(&*port);
}

fn a_death_before_the_kick_loses_nothing(mut rig: Rig) {
    let mut cache = rig.pool.cache(0);
    let port = forward(&mut rig, &mut cache, 3000, |rig, mut old, cache, burst| {
        if !burst.is_multiple_of(5) {
            return old;
        }
        let mut out = [0; BURST];
        let n = old.rx_burst(cache, &mut out);
        let taken = old.tx_burst(cache, &out[..n]);
        drop(old); // sent, but nobody has woken the kernel
        let mut next = rig.adopt(0);
        let mut held = Vec::new();
        next.repair(cache, &mut held);
        assert_eq!(held, out[taken..n], "what the ring did not take");
        transmit(&mut *next, cache, &held);
        next
    });
    rig.assert_nothing_leaked(&*port);
}

fn a_full_transmit_ring_takes_no_more(rig: Rig) {
    let (mut port, mut cache) = (rig.adopt(0), rig.pool.cache(0));
    port.resume(&mut cache);
    let mut taken = 0;
    for seq in 0..2 * rig.spec.txd {
        let mut packet = cache.alloc().expect("a free mbuf");
        let frame = crate::rig::frame(seq);
        packet
            .append(frame.len())
            .expect("room")
            .copy_from_slice(&frame);
        let m = packet.into_raw();
        match port.tx_burst(&mut cache, &[m]) {
            0 => cache.free_burst(&[m]),
            n => taken += n as u32,
        }
    }
    // A driver that hands over at once takes all; one with a ring exactly what the ring holds.
    assert!(
        taken == rig.spec.txd || taken == 2 * rig.spec.txd,
        "{taken} taken"
    );
    rig.assert_nothing_leaked(&*port);
}

fn a_port_without_buffers_says_so(mut rig: Rig) {
    let (mut port, mut cache) = (rig.adopt(0), rig.pool.cache(0));
    port.resume(&mut cache);
    for seq in 0..100 {
        rig.send(seq);
    }
    let mut all = vec![0; rig.pool.count() as usize];
    let n = cache.alloc_burst(&mut all);
    let (mut out, mut got) = ([0; BURST], 0);
    for _ in 0..100 {
        let n = port.rx_burst(&mut cache, &mut out);
        cache.free_burst(&out[..n]);
        got += n;
    }
    cache.free_burst(&all[..n]);
    until("the rest arrives when there are buffers again", || {
        let n = port.rx_burst(&mut cache, &mut out);
        cache.free_burst(&out[..n]);
        got += n;
        got == 100
    });
    rig.assert_nothing_leaked(&*port);
}

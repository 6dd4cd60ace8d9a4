//! What: what the gateway says itself: ARP, echo replies, complaints; and the way a packet leaves.

use crate::drops::Drop;
use crate::gateway::Gateway;
use crate::links::Target;
use crate::session::SessionLayout;
use baton::prelude::{Mac as PortMac, Packet, PortId, Shard};
use baton_datapath::arp::{self, Arp, Operation};
use baton_datapath::generate::{self, Complaint};
use baton_datapath::parse::set_macs;
use baton_datapath::rewrite::{self, L4Sum, Rewrite, Summed};
use baton_datapath::{Headers, L4, Mac};
use std::net::Ipv4Addr;

/// The longest frame this module writes: a complaint.
const LONGEST: usize = 14 + 576;

/// A port with the neighbour behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    port: PortId,
    neighbour: Mac,
}

impl<S: SessionLayout> Gateway<S> {
    /// The way out for a packet to `dst`; gives the packet back if there is one. If not, it is
    /// dropped by name and its sender told, as far as the rules allow.
    #[inline]
    pub(crate) fn way_out(
        &mut self,
        shard: &mut Shard<Self>,
        packet: Packet,
        h: &Headers,
        target: Target,
        dst: Ipv4Addr,
    ) -> Option<(Packet, Exit)> {
        if h.ttl <= 1 {
            self.complain(shard, &packet, h, Complaint::TtlExceeded);
            shard.drop(packet, Drop::TtlExpired);
            return None;
        }
        let hop = target.next_hop(dst);
        let found = hop.and_then(|(port, _)| self.links.get(usize::from(port.0)));
        let (Some((port, address)), Some(link)) = (hop, found) else {
            self.complain(shard, &packet, h, Complaint::NetUnreachable);
            shard.drop(packet, Drop::NoRoute);
            return None;
        };
        if h.ip_len() > link.mtu {
            if h.dont_fragment {
                let mtu = link.mtu as u16; // a port's MTU is 16 bits
                self.complain(shard, &packet, h, Complaint::FragmentationNeeded { mtu });
            }
            shard.drop(packet, Drop::TooBig);
            return None;
        }
        match shard.state.neighbours.get(port, address) {
            Some(mac) => {
                let neighbour = Mac(mac.0);
                Some((packet, Exit { port, neighbour }))
            }
            None => {
                self.ask(shard, port, address);
                shard.drop(packet, Drop::NeighbourPending);
                None
            }
        }
    }

    /// Lets a packet out that is ready to go.
    #[inline]
    pub(crate) fn leave(&self, shard: &mut Shard<Self>, mut packet: Packet, exit: Exit) {
        let ours = self.links[usize::from(exit.port.0)].mac;
        set_macs(packet.data_mut(), exit.neighbour, ours);
        shard.transmit(exit.port, packet);
    }

    /// Changes a packet and finishes its transport checksum if its sender did not.
    #[inline]
    pub(crate) fn rewrite(&self, packet: &mut Packet, h: &Headers, change: &Rewrite) {
        let sum = match packet.csum_partial() {
            Some(_) => L4Sum::Unfinished,
            None => self.links[usize::from(packet.port())].sum,
        };
        if rewrite::apply(packet.data_mut(), h, change, sum) == Summed::Finished {
            packet.set_csum_partial(None);
        }
    }

    /// Routes a packet as it is.
    pub(crate) fn forward(
        &mut self,
        shard: &mut Shard<Self>,
        packet: Packet,
        h: &Headers,
        target: Target,
    ) {
        if let Some((packet, exit)) = self.way_out(shard, packet, h, target, h.dst) {
            let change = Rewrite {
                hops: 1,
                ..Rewrite::default()
            };
            self.send(shard, packet, h, &change, exit);
        }
    }

    /// A packet for the gateway itself, or to nowhere.
    pub(crate) fn local(&mut self, shard: &mut Shard<Self>, mut packet: Packet, h: &Headers) {
        let ours = self.own.get(h.dst).is_some();
        if !ours {
            self.complain(shard, &packet, h, Complaint::NetUnreachable);
            return shard.drop(packet, Drop::NoRoute);
        }
        match h.l4 {
            L4::EchoRequest => {
                generate::echo_reply(packet.data_mut(), h);
                let port = PortId(packet.port());
                shard.transmit(port, packet);
            }
            L4::Udp => {
                self.complain(shard, &packet, h, Complaint::PortUnreachable);
                shard.drop(packet, Drop::NoService);
            }
            _ => shard.drop(packet, Drop::NoService),
        }
    }

    /// Answers and learns.
    pub(crate) fn arp(&mut self, shard: &mut Shard<Self>, mut packet: Packet, arp: &Arp) {
        let port = PortId(packet.port());
        let Some(link) = self.links.get(usize::from(port.0)) else {
            return shard.drop(packet, Drop::NotForUs);
        };
        let own = self.own.get(arp.target);
        let here = link.addresses.iter().any(|&(own, _)| own == arp.target);
        let outside = self.nat.as_ref().map(|translator| translator.nat.outside);
        let ours = here || own == Some(Target::Own { translated: true }) && outside == Some(port);
        let spoken_by_us = self.own.get(arp.sender).is_some();
        let known = shard.state.neighbours.get(port, arp.sender);
        if shard.index() == 0
            && link.holds(arp.sender)
            && !spoken_by_us
            && (ours || known.is_some())
        {
            let mac = PortMac(arp.sender_mac.0);
            let now_s = shard.now_s();
            shard.state.neighbours.learn(port, arp.sender, mac, now_s);
        }
        if ours && arp.operation == Operation::Request && packet.set_len(arp::FRAME) {
            arp::reply(packet.data_mut(), link.mac, arp.target, arp);
            shard.transmit(port, packet);
        }
    }

    /// Asks for a neighbour, unless that was done just now.
    pub(crate) fn ask(&mut self, shard: &mut Shard<Self>, port: PortId, address: Ipv4Addr) {
        let Some(link) = self.links.get(usize::from(port.0)) else {
            return;
        };
        let (mac, from) = (link.mac, link.address_towards(address));
        let (Some(from), true) = (from, self.asks.due(port, address, shard.now_ns())) else {
            return;
        };
        if let Some(mut packet) = shard.alloc()
            && let Some(frame) = packet.append(arp::FRAME)
        {
            arp::request(frame, mac, from, address, None);
            shard.transmit(port, packet);
        }
    }

    /// Tells a sender why its packet goes no further: within the rate, and if the rules allow it.
    pub(crate) fn complain(
        &mut self,
        shard: &mut Shard<Self>,
        about: &Packet,
        h: &Headers,
        complaint: Complaint,
    ) {
        let port = PortId(about.port());
        let link = self.links.get(usize::from(port.0));
        let Some(from) = link.and_then(|link| link.address_towards(h.src)) else {
            return;
        };
        let now_ns = shard.now_ns();
        if !generate::may_complain(about.data(), h) || !self.complaints.take(now_ns) {
            return;
        }
        if let Some(mut packet) = shard.alloc()
            && let Some(frame) = packet.append(LONGEST)
        {
            let len = generate::error(frame, about.data(), h, from, complaint);
            if len > 0 && packet.set_len(len) {
                shard.transmit(port, packet);
            }
        }
    }
}

//! What: the first step of the whole path: what is to be done with a packet, and which bucket it belongs to.
//!
//! ```text
//!                     destination: ours   translated    a link behind  outside   another
//! from an inside port              local  hairpin       forward        outbound  forward
//! from the outside port            local  inbound       no_session     forward   forward
//! from another port                local  inbound       forward        forward   forward
//! ```

use crate::drops::Drop;
use crate::gateway::{Gateway, Step};
use crate::links::Target;
use crate::session::SessionLayout;
use crate::state::State;
use baton::prelude::{Packet, Shard};
use baton_datapath::parse::{destination_mac, parse};
use baton_datapath::rewrite::End;
use baton_datapath::{Headers, L4, Parsed, bucket, icmp_error};
use baton_shared_state::mbuf::STEERED;

impl<S: SessionLayout> Gateway<S> {
    /// Reads a packet's headers and decides; deals at once with what needs no session.
    pub(crate) fn classify(
        &mut self,
        shard: &mut Shard<Self>,
        packet: Packet,
    ) -> Option<(Packet, Headers, Step)> {
        match parse(packet.data()) {
            Parsed::Ipv4(h) => match self.decide(&shard.state, &packet, &h) {
                Ok(step) => return Some((packet, h, step)),
                Err(why) => shard.drop(packet, why),
            },
            Parsed::Arp(arp) => self.arp(shard, packet, &arp),
            Parsed::Refused(why) => shard.drop(packet, why.into()),
        }
        None
    }

    #[inline]
    fn decide(&self, state: &State<S>, packet: &Packet, h: &Headers) -> Result<Step, Drop> {
        let port = usize::from(packet.port());
        let link = self.links.get(port).ok_or(Drop::NotForUs)?;
        if destination_mac(packet.data()) != link.mac {
            return Err(Drop::NotForUs);
        }
        if h.src.is_multicast()
            || h.src.is_unspecified()
            || h.src.is_loopback()
            || h.src.is_broadcast()
        {
            return Err(Drop::BadSource);
        }
        let target = self.own.target(&state.routes, h.dst);
        let target = target.unwrap_or(Target::Own { translated: false });
        let Some(translator) = &self.nat else {
            return Ok(plain(target));
        };
        let inside = translator.nat.inside.get(port).copied().unwrap_or(false);
        let outside = translator.nat.outside;
        match target {
            Target::Own { translated: false } => Ok(Step::Local),
            Target::Own { translated: true } => self.to_translated(packet, h, inside),
            Target::Link(out) | Target::Via(out, _) if inside && out == outside => {
                outbound(h, target)
            }
            Target::Link(out) | Target::Via(out, _) => {
                let hidden = translator.nat.inside.get(usize::from(out.0)).copied();
                if packet.port() == outside.0 && hidden.unwrap_or(false) {
                    Err(Drop::NoSession)
                } else {
                    Ok(Step::Forward { target })
                }
            }
        }
    }

    /// To an address of the pool or of a forward.
    fn to_translated(&self, packet: &Packet, h: &Headers, inside: bool) -> Result<Step, Drop> {
        let target = Target::Own { translated: true };
        match h.l4 {
            L4::IcmpError => return Ok(Step::Error { target }),
            L4::Tcp(_) | L4::Udp | L4::EchoReply => {}
            _ => return Ok(Step::Local),
        }
        // The second half of a hairpin comes from another shard, with a translated source.
        let half = packet.flags() & STEERED != 0
            && self.own.get(h.src) == Some(Target::Own { translated: true });
        if inside && !half {
            if h.l4 == L4::EchoReply {
                return Err(Drop::NoSession);
            }
            return Ok(Step::Hairpin);
        }
        Ok(Step::Inbound)
    }

    /// The bucket of a received frame.
    pub(crate) fn bucket_of(&self, port: u16, frame: &[u8]) -> u8 {
        let h = match parse(frame) {
            Parsed::Ipv4(h) => h,
            Parsed::Arp(_) => return self.arp_bucket,
            Parsed::Refused(_) => return 0,
        };
        let inside = |nat: &crate::config::Nat| nat.inside.get(usize::from(port)).copied();
        let from_inside = self
            .nat
            .as_ref()
            .and_then(|t| inside(&t.nat))
            .unwrap_or(false);
        let (src, dst) = ends(&h);
        match h.l4 {
            L4::IcmpError => match icmp_error::quoted(frame, &h) {
                Some(q) if from_inside => bucket::of_flow(q.protocol, q.dst.address, q.dst.port),
                Some(q) => self.bucket_from_outside(q.protocol, q.src),
                None => bucket::of_addresses(h.src, h.dst),
            },
            L4::Tcp(_) | L4::Udp | L4::EchoRequest if from_inside => {
                bucket::of_flow(h.protocol, src.address, src.port)
            }
            L4::Tcp(_) | L4::Udp | L4::EchoReply => self.bucket_from_outside(h.protocol, dst),
            _ => bucket::of_addresses(h.src, h.dst),
        }
    }

    /// The bucket of the flow that has an outside end: a forward's inside end's, or the NAT port's.
    pub(crate) fn bucket_from_outside(&self, protocol: u8, outside: End) -> u8 {
        let forwards = self.nat.as_ref().map(|translator| &translator.forwards);
        match forwards.and_then(|forwards| forwards.inside_of(protocol, outside)) {
            Some(inside) => bucket::of_flow(protocol, inside.address, inside.port),
            None => bucket::of_nat_port(outside.port),
        }
    }
}

fn outbound(h: &Headers, target: Target) -> Result<Step, Drop> {
    match h.l4 {
        L4::Tcp(_) | L4::Udp | L4::EchoRequest => Ok(Step::Outbound { target }),
        L4::IcmpError => Ok(Step::Error { target }),
        L4::EchoReply => Err(Drop::NoSession),
        L4::IcmpOther | L4::Other => Err(Drop::ProtocolNotBuilt),
    }
}

fn plain(target: Target) -> Step {
    match target {
        Target::Own { .. } => Step::Local,
        _ => Step::Forward { target },
    }
}

/// Both ends of a packet; an echo's identifier stands in its sender's or receiver's port.
pub(crate) fn ends(h: &Headers) -> (End, End) {
    let end = |address, port| End { address, port };
    (end(h.src, h.src_port), end(h.dst, h.dst_port))
}

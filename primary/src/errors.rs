//! What: ICMP errors about translated packets (RFC 5508 §4): they follow the session of the packet
//! that they quote, and read to their receiver as if there were no translation.
//!
//! An error never opens a session, refreshes none, and changes no connection's state: anybody can
//! forge one.

use crate::drops::Drop;
use crate::gateway::Gateway;
use crate::links::Target;
use crate::session::{SessionKey, SessionLayout};
use baton::prelude::{Packet, Shard};
use baton_datapath::icmp_error::{Quoted, Which, quoted, translate};
use baton_datapath::parse::parse;
use baton_datapath::rewrite::{End, Rewrite};
use baton_datapath::{Headers, Parsed};

impl<S: SessionLayout> Gateway<S> {
    /// An error to `target`, from inside or from outside.
    pub(crate) fn error(
        &mut self,
        shard: &mut Shard<Self>,
        packet: Packet,
        h: &Headers,
        target: Target,
    ) {
        let Some(quote) = quoted(packet.data(), h) else {
            return shard.drop(packet, Drop::NoSession);
        };
        let inside = self.nat.as_ref().map(|translator| &translator.nat.inside);
        let port = usize::from(packet.port());
        let from_inside = inside.and_then(|inside| inside.get(port)).copied();
        if !from_inside.unwrap_or(false) {
            return self.error_inwards(shard, packet, h, &quote);
        }
        let key = SessionKey::new(quote.protocol, quote.dst, quote.src);
        let Some((_, session)) = shard.state.sessions.find(&key) else {
            return shard.drop(packet, Drop::NoSession);
        };
        let outside = session.known().outside;
        if let Target::Own { .. } = target {
            return self.error_back(shard, packet, h, &quote, outside);
        }
        let Some((mut packet, exit)) = self.way_out(shard, packet, h, target, h.dst) else {
            return;
        };
        translate(packet.data_mut(), h, &quote, Which::Destination, outside);
        let change = Rewrite {
            src: Some(End { port: 0, ..outside }),
            dst: None,
            hops: 1,
        };
        self.send(shard, packet, h, &change, exit);
    }

    /// Outside → inside: the quoted packet was sent by the session's inside end.
    fn error_inwards(
        &mut self,
        shard: &mut Shard<Self>,
        packet: Packet,
        h: &Headers,
        quote: &Quoted,
    ) {
        let found = shard
            .state
            .find_from_outside(quote.protocol, quote.src, quote.dst);
        let Some((key, _)) = found.and_then(|id| shard.state.sessions.get(id)) else {
            return shard.drop(packet, Drop::NoSession);
        };
        let inside = key.inside();
        let target = self.own.target(&shard.state.routes, inside.address);
        let target = target.unwrap_or(Target::Own { translated: false });
        let Some((mut packet, exit)) = self.way_out(shard, packet, h, target, inside.address)
        else {
            return;
        };
        translate(packet.data_mut(), h, quote, Which::Source, inside);
        let change = Rewrite {
            src: None,
            dst: Some(End { port: 0, ..inside }),
            hops: 1,
        };
        self.send(shard, packet, h, &change, exit);
    }

    /// Inside → inside, about a hairpin: out, and in again.
    fn error_back(
        &mut self,
        shard: &mut Shard<Self>,
        mut packet: Packet,
        h: &Headers,
        quote: &Quoted,
        outside: End,
    ) {
        translate(packet.data_mut(), h, quote, Which::Destination, outside);
        let change = Rewrite {
            src: Some(End { port: 0, ..outside }),
            dst: None,
            hops: 0,
        };
        self.rewrite(&mut packet, h, &change);
        let Parsed::Ipv4(h) = parse(packet.data()) else {
            return shard.drop(packet, Drop::BadHeader);
        };
        match quoted(packet.data(), &h) {
            Some(quote) => self.error_inwards(shard, packet, &h, &quote),
            None => shard.drop(packet, Drop::NoSession),
        }
    }
}

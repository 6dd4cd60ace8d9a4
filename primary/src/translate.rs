//! What: the last step for translated packets: the session's state, the new ends, the way out.
//!
//! A hairpin is the outbound translation followed by the inbound one: each end has a session of
//! its own, as if the packet had gone out and come back.
//!
//! Invariants: I1 nothing of a packet is changed before it is certain that it can leave, so that a
//! complaint quotes what its sender sent; I2 a packet that cannot leave opens no session.

use crate::classify::ends;
use crate::drops::Drop;
use crate::gateway::Gateway;
use crate::links::Target;
use crate::local::Exit;
use crate::session::{FROM_OUTSIDE, NO_BINDING, NewSession, STATIC, SessionKey, SessionLayout};
use crate::state::Opening;
use baton::prelude::{Packet, Shard};
use baton_datapath::parse::TCP;
use baton_datapath::rewrite::{End, Rewrite};
use baton_datapath::tcp_state::{Side, TcpState, flag};
use baton_datapath::{Headers, L4};
use baton_shared_state::mbuf::STEERED;

/// Who sent a packet of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Inside,
    Remote,
}

impl<S: SessionLayout> Gateway<S> {
    /// From a translated host outwards.
    pub(crate) fn outbound(
        &mut self,
        shard: &mut Shard<Self>,
        packet: Packet,
        h: &Headers,
        target: Target,
    ) {
        let Some((packet, exit)) = self.way_out(shard, packet, h, target, h.dst) else {
            return;
        };
        match self.session_outwards(shard, h) {
            Ok((id, session)) => {
                self.note(shard, id, session, h, Sender::Inside);
                let change = Rewrite {
                    src: Some(session.known().outside),
                    dst: None,
                    hops: 1,
                };
                self.send(shard, packet, h, &change, exit);
            }
            Err(why) => shard.drop(packet, why),
        }
    }

    /// From outside to a translated address.
    pub(crate) fn inbound(&mut self, shard: &mut Shard<Self>, packet: Packet, h: &Headers) {
        let (remote, outside) = ends(h);
        let id = shard.state.find_from_outside(h.protocol, outside, remote);
        let inside = match id {
            Some(id) => shard.state.sessions.get(id).map(|(key, _)| key.inside()),
            None => self.welcome(shard, h, outside),
        };
        let Some(inside) = inside else {
            return shard.drop(packet, Drop::NoSession);
        };
        let target = self.own.target(&shard.state.routes, inside.address);
        let target = target.unwrap_or(Target::Own { translated: false });
        let Some((packet, exit)) = self.way_out(shard, packet, h, target, inside.address) else {
            return;
        };
        let session = match id {
            Some(id) => Ok((id, shard.state.sessions.value(id))),
            None => self.open_inwards(shard, h, inside, outside, remote),
        };
        match session {
            Ok((id, session)) => {
                self.note(shard, id, session, h, Sender::Remote);
                let change = Rewrite {
                    src: None,
                    dst: Some(inside),
                    hops: 1,
                };
                self.send(shard, packet, h, &change, exit);
            }
            Err(why) => shard.drop(packet, why),
        }
    }

    /// From a translated host to a translated address: out and in again.
    pub(crate) fn hairpin(&mut self, shard: &mut Shard<Self>, packet: Packet, h: &Headers) {
        let (_, outside) = ends(h);
        let bucket = self.bucket_from_outside(h.protocol, outside);
        if u16::from(bucket) % self.shards.max(1) != self.shard {
            return self.hairpin_half(shard, packet, h, bucket);
        }
        let Some(inside) = self.hairpin_end(shard, h, outside) else {
            return shard.drop(packet, Drop::NoSession);
        };
        let target = self.own.target(&shard.state.routes, inside.address);
        let target = target.unwrap_or(Target::Own { translated: false });
        let Some((packet, exit)) = self.way_out(shard, packet, h, target, inside.address) else {
            return;
        };
        let first = self.session_outwards(shard, h);
        let both = first.and_then(|(id, session)| {
            let seen_as = session.known().outside;
            let found = shard.state.find_from_outside(h.protocol, outside, seen_as);
            let second = match found {
                Some(id) => (id, shard.state.sessions.value(id)),
                None => self.open_inwards(shard, h, inside, outside, seen_as)?,
            };
            Ok((id, session, second))
        });
        match both {
            Ok((id, session, (second_id, second))) => {
                self.note(shard, id, session, h, Sender::Inside);
                self.note(shard, second_id, second, h, Sender::Remote);
                let change = Rewrite {
                    src: Some(session.known().outside),
                    dst: Some(inside),
                    hops: 1,
                };
                self.send(shard, packet, h, &change, exit);
            }
            Err(why) => shard.drop(packet, why),
        }
    }

    /// The first half of a hairpin whose far end is another shard's, which does the second.
    fn hairpin_half(
        &mut self,
        shard: &mut Shard<Self>,
        mut packet: Packet,
        h: &Headers,
        bucket: u8,
    ) {
        match self.session_outwards(shard, h) {
            Ok((id, session)) => {
                self.note(shard, id, session, h, Sender::Inside);
                let change = Rewrite {
                    src: Some(session.known().outside),
                    ..Rewrite::default()
                };
                self.rewrite(&mut packet, h, &change);
                packet.set_flags(packet.flags() | STEERED);
                shard.pass_on(bucket, packet);
            }
            Err(why) => shard.drop(packet, why),
        }
    }

    /// The session of a packet from an inside end, made if there is none.
    fn session_outwards(&mut self, shard: &mut Shard<Self>, h: &Headers) -> Result<(u32, S), Drop> {
        let (inside, remote) = ends(h);
        let key = SessionKey::new(h.protocol, inside, remote);
        if let Some(found) = shard.state.sessions.find(&key) {
            return Ok(found);
        }
        if self.own.get(h.src).is_some() {
            return Err(Drop::BadSource);
        }
        let forwards = self.nat.as_ref().map(|translator| &translator.forwards);
        let fixed = forwards.and_then(|forwards| forwards.outside_of(h.protocol, inside));
        self.open(shard, h, key, fixed, 0)
    }

    /// Makes the session of a packet that comes from outside (or from a hairpin's other half).
    fn open_inwards(
        &mut self,
        shard: &mut Shard<Self>,
        h: &Headers,
        inside: End,
        outside: End,
        remote: End,
    ) -> Result<(u32, S), Drop> {
        let forwards = self.nat.as_ref().map(|translator| &translator.forwards);
        let fixed = forwards.and_then(|forwards| forwards.inside_of(h.protocol, outside));
        let key = SessionKey::new(h.protocol, inside, remote);
        self.open(shard, h, key, fixed.map(|_| outside), FROM_OUTSIDE)
    }

    fn open(
        &mut self,
        shard: &mut Shard<Self>,
        h: &Headers,
        key: SessionKey,
        fixed: Option<End>,
        flags: u8,
    ) -> Result<(u32, S), Drop> {
        let state = match h.l4 {
            L4::Tcp(_) => TcpState::SynSent,
            _ => TcpState::None,
        };
        let new = NewSession {
            outside: fixed.unwrap_or(key.remote()),
            state,
            flags: flags | if fixed.is_some() { STATIC } else { 0 },
            binding: if fixed.is_some() { NO_BINDING } else { 0 },
            qos_class: self.qos_class(h),
            created: shard.now_s(),
        };
        let Some(translator) = &mut self.nat else {
            return Err(Drop::NoSession);
        };
        let opening = Opening {
            key,
            new,
            limit: translator.limit,
        };
        let forwards = &translator.forwards;
        let reserved = |protocol, end| forwards.inside_of(protocol, end).is_some();
        let opened = shard.state.open(&opening, &mut translator.pool, reserved);
        if let Ok((id, _)) = opened {
            self.watch(shard, id, h.protocol, state);
            if fixed.is_some() {
                // A session of a binding from before the forward may have had this outside end until now.
                self.fast.forget(&shard.state, id);
            }
        }
        opened
    }

    /// Has the wheel look at a session that begins now, or has got another timeout.
    fn watch(&mut self, shard: &Shard<Self>, id: u32, protocol: u8, state: TcpState) {
        if let Some(translator) = &self.nat {
            let timeout = translator.nat.timeouts.of(protocol, state);
            let deadline = u64::from(shard.now_s()) + u64::from(timeout) + 1;
            self.aging
                .watch(shard.state.sessions.place_of(id), deadline);
        }
    }

    /// The inside end that a packet without a session may open one to: a forward's.
    fn welcome(&self, shard: &Shard<Self>, h: &Headers, outside: End) -> Option<End> {
        if let L4::Tcp(flags) = h.l4
            && flags & (flag::SYN | flag::ACK | flag::RST) != flag::SYN
        {
            return None;
        }
        let translator = self.nat.as_ref()?;
        let forwarded = translator.forwards.inside_of(h.protocol, outside);
        if forwarded.is_some() {
            return forwarded;
        }
        // The second half of a hairpin: our own hosts may use any binding.
        let own = self.own.get(h.src) == Some(Target::Own { translated: true });
        own.then(|| self.hairpin_end(shard, h, outside)).flatten()
    }

    /// The inside end behind an outside end, for a host that is inside itself.
    fn hairpin_end(&self, shard: &Shard<Self>, h: &Headers, outside: End) -> Option<End> {
        let translator = self.nat.as_ref()?;
        let forwarded = translator.forwards.inside_of(h.protocol, outside);
        forwarded.or_else(|| {
            let (_, key) = shard.state.find_bound(h.protocol, outside)?;
            Some(key.inside())
        })
    }

    /// Counts a packet and follows its connection.
    fn note(&mut self, shard: &mut Shard<Self>, id: u32, session: S, h: &Headers, sender: Sender) {
        if let L4::Tcp(flags) = h.l4 {
            let known = session.known();
            self.follow(shard, id, (known.state, known.flags), flags, sender);
        }
        let now_s = shard.now_s();
        let bytes = h.ip_len() as u64;
        shard.state.sessions.count(id, 1, bytes, now_s);
    }

    /// Follows a connection, of which the state and the session's flags are asked. The record itself is read again
    /// where it changes: handed through, it would be copied from narrow stores by wide loads, for each packet.
    #[inline(always)]
    pub(crate) fn follow(
        &mut self,
        shard: &mut Shard<Self>,
        id: u32,
        (state, how): (TcpState, u8),
        flags: u8,
        sender: Sender,
    ) {
        let opened_outside = how & FROM_OUTSIDE != 0;
        let by_opener = opened_outside == (sender == Sender::Remote);
        let side = if by_opener { Side::Opener } else { Side::Other };
        let next = state.next(side, flags);
        if next != state {
            self.turn(shard, id, next);
        }
    }

    /// A connection comes into another state.
    #[inline(never)]
    fn turn(&mut self, shard: &mut Shard<Self>, id: u32, next: TcpState) {
        let session = shard.state.sessions.value(id);
        self.fast.forget(&shard.state, id);
        shard.state.sessions.rewrite(id, &session.with_state(next));
        self.watch(shard, id, TCP, next);
    }

    /// Changes a packet and lets it out.
    pub(crate) fn send(
        &mut self,
        shard: &mut Shard<Self>,
        mut packet: Packet,
        h: &Headers,
        change: &Rewrite,
        exit: Exit,
    ) {
        self.rewrite(&mut packet, h, change);
        self.leave(shard, packet, exit);
    }
}

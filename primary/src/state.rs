//! What: everything of the gateway that outlives a process, and the few operations that keep its
//! tables in step.
//!
//! ```text
//! nat.session   (inside end, remote end, protocol) -> outside end, TCP state   migrated
//!   .outside    hash of (outside end, remote end, protocol) -> session id
//! nat.binding   (inside end, protocol) -> outside end, number of sessions      adopted
//!   .outside    hash of (outside end, protocol) -> binding id
//! nat.source    inside address -> number of sessions                           adopted
//! neighbour     (port, address) -> Ethernet address                            adopted
//! route         address -> next hop, from the config                           rebuilt
//! ```
//!
//! Invariants: I1 the mapping does not depend on the remote end (RFC 4787, REQ-1): all sessions of
//! an inside end have its binding's outside end. I2 a binding lives as long as one of its sessions.
//! Order: binding, session, second index, then the numbers of sessions; the other way round at the
//! end. Failure: a death in between leaves a number too high or a binding without sessions; both
//! only hold room, and [`State::unbind_idle`] gives the latter back.

use crate::binding::{Binding, BindingKey, Source, SourceKey};
use crate::drops::Drop;
use crate::port_pool::PortPool;
use crate::session::{Known, NO_BINDING, NewSession, SessionKey, SessionLayout};
use baton::neighbours::Neighbours;
use baton::routes::Routes;
use baton::table::{Leads, SecondIndex, Table};
use baton_datapath::bucket;
use baton_datapath::rewrite::End;
use baton_schema::Zones;
use zerocopy::IntoBytes;

/// The second way into the sessions: from outside.
#[derive(Debug)]
pub enum SessionFromOutside {}

impl Leads for SessionFromOutside {
    const TABLE: &'static str = "nat.session";
    const NAME: &'static str = "nat.session.outside";
}

/// The second way into the bindings: from outside.
#[derive(Debug)]
pub enum BindingFromOutside {}

impl Leads for BindingFromOutside {
    const TABLE: &'static str = "nat.binding";
    const NAME: &'static str = "nat.binding.outside";
}

/// One shard's part of what outlives a process.
#[derive(Debug, Zones)]
pub struct State<S: SessionLayout> {
    /// Sessions by their inside end.
    #[zone(migrate)]
    pub sessions: Table<SessionKey, S, S::Hot>,
    /// Sessions by their outside end.
    #[zone(adopt)]
    pub from_outside: SecondIndex<SessionFromOutside>,
    /// Bindings by their inside end.
    #[zone(adopt)]
    pub bindings: Table<BindingKey, Binding>,
    /// Bindings by their outside end.
    #[zone(adopt)]
    pub bound: SecondIndex<BindingFromOutside>,
    /// How much each inside address holds.
    #[zone(adopt)]
    pub sources: Table<SourceKey, Source>,
    /// Ethernet addresses.
    #[zone(adopt)]
    pub neighbours: Neighbours,
    /// Links and static routes.
    #[zone(rebuild)]
    pub routes: Routes,
}

/// A session to be made.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Its key.
    pub key: SessionKey,
    /// Its record; `outside` and `binding` are filled in unless it is a static forward's.
    pub new: NewSession,
    /// Sessions one address may hold on this shard.
    pub limit: u32,
}

impl<S: SessionLayout> State<S> {
    /// The session of a packet from outside.
    #[must_use]
    pub fn find_from_outside(&self, protocol: u8, outside: End, remote: End) -> Option<u32> {
        let asked = SessionKey::new(protocol, outside, remote);
        let hash = self.from_outside.hash(asked.as_bytes());
        self.from_outside
            .find(hash, |id| self.is_from_outside(id, &asked))
    }

    /// Whether session `id` is what `asked` (with the outside end in place of the inside) names.
    #[inline]
    #[must_use]
    pub fn is_from_outside(&self, id: u32, asked: &SessionKey) -> bool {
        let row = self.sessions.get(id);
        row.is_some_and(|(key, session)| leads_from_outside(&key, &session, asked))
    }

    /// The binding that has an outside end.
    #[must_use]
    pub fn find_bound(&self, protocol: u8, outside: End) -> Option<(u32, BindingKey)> {
        let hash = self
            .bound
            .hash(BindingKey::seen_from_outside(protocol, outside).as_bytes());
        let id = self.bound.find(hash, |id| {
            self.bindings.get(id).is_some_and(|(key, binding)| {
                key.protocol == protocol && binding.outside() == outside
            })
        })?;
        Some((id, self.bindings.get(id)?.0))
    }

    /// Makes a session, with a binding if its inside end has none; gives id and record.
    ///
    /// # Errors
    /// The reason for which the packet is to be dropped. Nothing is left behind.
    pub fn open(
        &mut self,
        opening: &Opening,
        pool: &mut PortPool,
        reserved: impl Fn(u8, End) -> bool,
    ) -> Result<(u32, S), Drop> {
        let inside = opening.key.inside();
        let source = SourceKey {
            inside_addr: opening.key.inside_addr,
        };
        let held = self.sources.find(&source);
        if held.is_some_and(|(_, source)| source.sessions >= opening.limit) {
            return Err(Drop::SourceLimit);
        }
        let mut new = opening.new;
        if new.binding != NO_BINDING {
            let (id, binding) =
                self.bind(opening.key.protocol, inside, new.created, pool, reserved)?;
            new.binding = id;
            new.outside = binding.outside();
        }
        let session = S::of(&new);
        let Some(id) = self.insert(opening.key, session, new.outside) else {
            self.unbind_idle(new.binding, pool);
            return Err(Drop::SessionsFull);
        };
        self.add_to_binding(new.binding, 1);
        match held {
            Some((id, mut source)) => {
                source.sessions += 1;
                self.sources.rewrite(id, &source);
            }
            // A full table of sources costs only the limit, not the session.
            None => drop(self.sources.insert(source, Source { sessions: 1 })),
        }
        Ok((id, session))
    }

    /// Ends a session, and its binding with the last one.
    pub fn close(&mut self, id: u32, pool: &mut PortPool) {
        let Some((key, session)) = self.sessions.get(id) else {
            return;
        };
        let Known { binding, .. } = session.known();
        let asked = seen_from_outside(&key, &session);
        let hash = self.from_outside.hash(asked.as_bytes());
        self.from_outside.remove(hash, id);
        self.sessions.remove(id);
        self.add_to_binding(binding, -1);
        self.unbind_idle(binding, pool);
        let source = SourceKey {
            inside_addr: key.inside_addr,
        };
        if let Some((id, mut source)) = self.sources.find(&source) {
            source.sessions = source.sessions.saturating_sub(1);
            if source.sessions == 0 {
                self.sources.remove(id);
            } else {
                self.sources.rewrite(id, &source);
            }
        }
    }

    /// Gives a binding's outside end back if no session uses it.
    pub fn unbind_idle(&mut self, id: u32, pool: &mut PortPool) {
        if id == NO_BINDING {
            return;
        }
        let Some((key, binding)) = self.bindings.get(id) else {
            return;
        };
        if binding.sessions > 0 {
            return;
        }
        let outside = binding.outside();
        let hash = self
            .bound
            .hash(BindingKey::seen_from_outside(key.protocol, outside).as_bytes());
        self.bound.remove(hash, id);
        self.bindings.remove(id);
        pool.release(key.protocol, outside);
    }

    /// Makes the second indexes anew if their last writer died; else does nothing.
    pub fn settle(&mut self) {
        if self.from_outside.is_stale() {
            let mut rows = Vec::new();
            let all = self.sessions.capacity();
            self.sessions.scan(0, all, |id, key, session| {
                let asked = seen_from_outside(&key, &session);
                rows.push((self.from_outside.hash(asked.as_bytes()), id));
            });
            // As many entries as ids: what was indexed before fits again.
            let _ = self.from_outside.rebuild(rows);
        }
        if self.bound.is_stale() {
            let mut rows = Vec::new();
            let all = self.bindings.capacity();
            self.bindings.scan(0, all, |id, key, binding| {
                let bytes = BindingKey::seen_from_outside(key.protocol, binding.outside());
                rows.push((self.bound.hash(bytes.as_bytes()), id));
            });
            let _ = self.bound.rebuild(rows);
        }
    }

    fn bind(
        &mut self,
        protocol: u8,
        inside: End,
        now_s: u32,
        pool: &mut PortPool,
        reserved: impl Fn(u8, End) -> bool,
    ) -> Result<(u32, Binding), Drop> {
        let key = BindingKey {
            inside_addr: inside.address.octets(),
            inside_port: inside.port.to_be_bytes(),
            protocol,
            _pad: 0,
        };
        if let Some(found) = self.bindings.find(&key) {
            return Ok(found);
        }
        let bucket = bucket::of_flow(protocol, inside.address, inside.port);
        let taken = |end| reserved(protocol, end) || self.find_bound(protocol, end).is_some();
        let outside = pool
            .pick(protocol, inside.address, bucket, now_s, taken)
            .ok_or(Drop::NatPortsExhausted)?;
        let binding = Binding {
            outside_addr: outside.address.octets(),
            outside_port: outside.port.to_be_bytes(),
            _pad: [0; 2],
            sessions: 0,
        };
        let id = self.bindings.insert(key, binding).ok();
        let id = id.ok_or(Drop::SessionsFull)?;
        let hash = self
            .bound
            .hash(BindingKey::seen_from_outside(protocol, outside).as_bytes());
        if self.bound.insert(hash, id).is_err() {
            self.bindings.remove(id);
            return Err(Drop::SessionsFull);
        }
        Ok((id, binding))
    }

    /// Publishes a session in both ways, or in none.
    fn insert(&mut self, key: SessionKey, session: S, outside: End) -> Option<u32> {
        let id = self.sessions.insert(key, session).ok()?;
        let asked = SessionKey::new(key.protocol, outside, key.remote());
        let hash = self.from_outside.hash(asked.as_bytes());
        if self.from_outside.insert(hash, id).is_err() {
            self.sessions.remove(id);
            return None;
        }
        Some(id)
    }

    fn add_to_binding(&mut self, id: u32, change: i32) {
        if id == NO_BINDING {
            return;
        }
        if let Some((_, mut binding)) = self.bindings.get(id) {
            binding.sessions = binding.sessions.saturating_add_signed(change);
            self.bindings.rewrite(id, &binding);
        }
    }
}

/// A session's key with the outside end in place of the inside.
pub(crate) fn seen_from_outside<S: SessionLayout>(key: &SessionKey, session: &S) -> SessionKey {
    SessionKey::new(key.protocol, session.known().outside, key.remote())
}

/// Whether a session is what `asked`, with the outside end in place of the inside, names.
#[inline]
pub(crate) fn leads_from_outside<S: SessionLayout>(
    key: &SessionKey,
    session: &S,
    asked: &SessionKey,
) -> bool {
    key.protocol == asked.protocol
        && key.remote_addr == asked.remote_addr
        && key.remote_port == asked.remote_port
        && session.known().outside == asked.inside()
}

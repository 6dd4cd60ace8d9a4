//! What: the gateway as a [`Datapath`]: one instance a shard, made anew from the config by each
//! version, over the [`State`] that all versions share.
//!
//! A burst runs in stages, so that the memory of one packet is on its way while another is worked
//! on: all headers are read, all sessions looked up in bulk, then each packet is translated and
//! sent. Nothing is allocated and nothing can fail but by a named drop.

use crate::config::{GatewayTable, QosClasses, Settings};
use crate::drops::Drop;
use crate::links::{self, Asks, Link, Target};
use crate::session::{SessionKey, SessionLayout};
use crate::state::State;
use crate::translator::Translator;
use baton::prelude::{Burst, Datapath, Error, Packet, PortId, Result, Setup, Shard};
use baton_datapath::rate::TokenBucket;
use baton_datapath::route::RouteTable;
use baton_datapath::{Headers, bucket};
use baton_shared_state::BURST;
use baton_shared_state::table::NO_ID;
use std::net::Ipv4Addr;
use zerocopy::IntoBytes;

/// ICMP errors a second and shard, and at once (Linux: 1,000 and 50 a machine).
const COMPLAINTS: (u32, u32) = (1_000, 50);

/// The gateway of one shard, with sessions stored as `S`.
#[derive(Debug)]
pub struct Gateway<S: SessionLayout> {
    pub(crate) links: Vec<Link>,
    pub(crate) targets: RouteTable<Target>,
    pub(crate) nat: Option<Translator>,
    pub(crate) qos: Option<S::Qos>,
    pub(crate) complaints: TokenBucket,
    pub(crate) asks: Asks,
    /// Next hops of routes, which shard 0 keeps asking for.
    pub(crate) routers: Vec<(PortId, Ipv4Addr)>,
    pub(crate) shard: u16,
    pub(crate) shards: u16,
    /// A bucket of shard 0, which learns neighbours.
    pub(crate) arp_bucket: u8,
    pub(crate) aging: crate::aging::Aging,
    work: Vec<Work>,
}

/// A packet on its way through the stages.
#[derive(Debug)]
pub(crate) struct Work {
    /// Taken out by the last stage; the rest is read where it lies.
    pub(crate) packet: Option<Packet>,
    pub(crate) h: Headers,
    pub(crate) step: Step,
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// From a translated host outwards; `found` is its session's place in the bulk lookup.
    Outbound { target: Target, found: u8 },
    /// From outside to a translated address; likewise.
    Inbound { found: u8 },
    /// From a translated host to a translated address.
    Hairpin { found: u8 },
    /// An ICMP error about a translated packet.
    Error { target: Target },
    /// Routed as it is.
    Forward { target: Target },
    /// For the gateway itself.
    Local,
}

impl<S: SessionLayout> Datapath for Gateway<S> {
    type Config = GatewayTable<S::Qos>;
    type State = State<S>;
    type Drop = Drop;

    fn name() -> String {
        "gateway".into()
    }

    fn version() -> &'static str {
        S::VERSION_NAME
    }

    fn capacity(config: &Self::Config, zone: &str) -> u32 {
        let sessions = config.nat.as_ref().map_or(1_024, |nat| nat.sessions);
        let pool = config.nat.as_ref().map_or(0, |nat| nat.pool_size());
        match zone {
            "nat.source" => sessions.clamp(1_024, 65_536),
            // Every port of every pool address, for TCP, UDP and echo.
            "nat.binding" => sessions.min(pool.saturating_mul(3 * 65_536)).max(1_024),
            _ => sessions,
        }
    }

    fn capacity_key(_zone: &str) -> String {
        "gateway.nat.sessions".into()
    }

    fn check_config(config: &Self::Config, setup: &Setup) -> Result<()> {
        let settings = Settings::new(config, setup)?;
        let (_, lost) = links::targets(setup, settings.nat.as_ref());
        match lost.first() {
            Some(&at) => Err(Error::at(
                format!("route[{at}].via"),
                format!(
                    "expected an address in a port's network, found {}; give a port an address in its network, or correct the route",
                    setup.routes()[at].via
                ),
            )),
            None => Ok(()),
        }
    }

    fn new(config: &Self::Config, setup: &Setup) -> Result<Self> {
        let settings = Settings::new(config, setup)?;
        let (targets, _) = links::targets(setup, settings.nat.as_ref());
        let routes = setup.routes().iter();
        let routers = routes.filter_map(|route| targets.lookup(route.via)?.next_hop(route.via));
        let routers = routers.collect();
        let arp_bucket = (0..=u8::MAX).find(|&bucket| setup.bucket_owner(bucket) == 0);
        Ok(Gateway {
            links: links::links(setup),
            nat: settings.nat.map(|nat| Translator::new(nat, setup)),
            qos: config.qos.clone(),
            targets,
            complaints: TokenBucket::new(COMPLAINTS.0, COMPLAINTS.1, 0),
            asks: Asks::default(),
            routers,
            shard: setup.shard(),
            shards: setup.shards(),
            arp_bucket: arp_bucket.unwrap_or_default(),
            aging: crate::aging::Aging::default(),
            work: Vec::with_capacity(BURST),
        })
    }

    fn steer(&self, packet: &Packet) -> u8 {
        self.bucket_of(packet.port(), packet.data())
    }

    fn burst(&mut self, shard: &mut Shard<Self>, burst: Burst) {
        shard.state.settle();
        let mut work = std::mem::take(&mut self.work);
        let mut keys = Keys::default();
        for packet in burst {
            self.classify(shard, packet, &mut keys, &mut work);
        }
        let ids = keys.look_up(&shard.state);
        for item in &mut work {
            if let Some(packet) = item.packet.take() {
                self.run(shard, packet, &item.h, item.step, &ids);
            }
        }
        work.clear();
        self.work = work;
    }

    fn tick(&mut self, shard: &mut Shard<Self>) {
        shard.state.settle();
        self.ask_routers(shard);
        self.age(shard);
    }

    fn check(&self, shard: &Shard<Self>) -> Result<()> {
        let state = &shard.state;
        let mut wrong = None;
        state
            .sessions
            .scan(0, state.sessions.capacity(), |id, key, session| {
                let known = session.known();
                let inside = key.inside();
                let bucket = bucket::of_flow(key.protocol, inside.address, inside.port);
                let bound = known.binding != crate::session::NO_BINDING;
                if known.outside.address.is_unspecified()
                    || bound && known.outside.port as u8 != bucket
                {
                    wrong = Some((id, inside, known.outside));
                }
            });
        match wrong {
            Some((id, inside, outside)) => Err(Error::new(format!(
                "nat.session: session {id} of {}:{} has the outside end {}:{}, which is not in its bucket; the migration of the record is wrong",
                inside.address, inside.port, outside.address, outside.port
            ))),
            None => Ok(()),
        }
    }
}

impl<S: SessionLayout> Gateway<S> {
    fn run(&mut self, shard: &mut Shard<Self>, packet: Packet, h: &Headers, step: Step, ids: &Ids) {
        match step {
            Step::Outbound { target, found } => {
                self.outbound(shard, packet, h, target, ids.outbound[usize::from(found)]);
            }
            Step::Inbound { found } => {
                self.inbound(shard, packet, h, ids.inbound[usize::from(found)]);
            }
            Step::Hairpin { found } => {
                self.hairpin(shard, packet, h, ids.outbound[usize::from(found)]);
            }
            Step::Error { target } => self.error(shard, packet, h, target),
            Step::Forward { target } => self.forward(shard, packet, h, target),
            Step::Local => self.local(shard, packet, h),
        }
    }

    /// The service class of a session that begins with this packet.
    pub(crate) fn qos_class(&self, h: &Headers) -> u8 {
        self.qos.as_ref().map_or(0, |qos| qos.class_of(h.dscp))
    }
}

/// The sessions that a burst asks for, by direction.
#[derive(Debug)]
pub(crate) struct Keys {
    outbound: [SessionKey; BURST],
    outbound_len: usize,
    inbound: [SessionKey; BURST],
    inbound_len: usize,
}

/// What was found for them: ids, or [`NO_ID`].
#[derive(Debug)]
pub(crate) struct Ids {
    outbound: [u32; BURST],
    inbound: [u32; BURST],
}

impl Default for Keys {
    fn default() -> Keys {
        let none = SessionKey {
            inside_addr: [0; 4],
            remote_addr: [0; 4],
            inside_port: [0; 2],
            remote_port: [0; 2],
            protocol: 0,
            _pad: [0; 3],
        };
        Keys {
            outbound: [none; BURST],
            outbound_len: 0,
            inbound: [none; BURST],
            inbound_len: 0,
        }
    }
}

impl Keys {
    /// Asks for the session of an inside end; gives its place. A burst has no more places than
    /// packets.
    pub(crate) fn ask_outbound(&mut self, key: SessionKey) -> u8 {
        let place = self.outbound_len.min(BURST - 1);
        self.outbound[place] = key;
        self.outbound_len = place + 1;
        place as u8
    }

    /// Asks for the session of an outside end, which stands in the key's inside fields.
    pub(crate) fn ask_inbound(&mut self, key: SessionKey) -> u8 {
        let place = self.inbound_len.min(BURST - 1);
        self.inbound[place] = key;
        self.inbound_len = place + 1;
        place as u8
    }

    fn look_up<S: SessionLayout>(&self, state: &State<S>) -> Ids {
        let mut ids = Ids {
            outbound: [NO_ID; BURST],
            inbound: [NO_ID; BURST],
        };
        let asked = &self.outbound[..self.outbound_len];
        state
            .sessions
            .find_ids(asked, &mut ids.outbound[..self.outbound_len]);
        for &id in &ids.outbound[..self.outbound_len] {
            state.sessions.prefetch(id);
        }
        let asked = &self.inbound[..self.inbound_len];
        let mut hashes = [0; BURST];
        for (hash, key) in hashes.iter_mut().zip(asked) {
            *hash = state.from_outside.hash(key.as_bytes());
        }
        state.from_outside.find_burst(
            &hashes[..asked.len()],
            |id| state.sessions.prefetch(id),
            |at, id| state.is_from_outside(id, &asked[at]),
            &mut ids.inbound[..asked.len()],
        );
        ids
    }
}

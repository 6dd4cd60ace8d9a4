//! What: the gateway as a [`Datapath`]: one instance a shard, made anew from the config by each
//! version, over the [`State`] that all versions share.
//!
//! A burst goes the fast path (`fast`) in stages, so that the memory of one packet is on its way
//! while another is worked on; a packet that is not the common case goes the whole path by itself,
//! at its turn: no packet overtakes another. Nothing is allocated and nothing can fail but by a
//! named drop.

use crate::aging::Aging;
use crate::config::{GatewayTable, QosClasses, Settings};
use crate::drops::Drop;
use crate::fast::Fast;
use crate::links::{self, Asks, Link, Own, Target};
use crate::session::SessionLayout;
use crate::state::State;
use crate::translator::Translator;
use baton::prelude::{Burst, Datapath, Error, Packet, PortId, Result, Setup, Shard};
use baton::table::places;
use baton_datapath::rate::TokenBucket;
use baton_datapath::{Headers, bucket};
use std::net::Ipv4Addr;

/// ICMP errors a second and shard, and at once (Linux: 1,000 and 50 a machine).
const COMPLAINTS: (u32, u32) = (1_000, 50);

/// The gateway of one shard, with sessions stored as `S`.
#[derive(Debug)]
pub struct Gateway<S: SessionLayout> {
    pub(crate) links: Vec<Link>,
    pub(crate) own: Own,
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
    pub(crate) aging: Aging,
    pub(crate) fast: Fast,
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// From a translated host outwards.
    Outbound { target: Target },
    /// From outside to a translated address.
    Inbound,
    /// From a translated host to a translated address.
    Hairpin,
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
        Settings::new(config, setup)?;
        match links::lost(setup).first() {
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
        let routers = links::routers(setup);
        let sessions = places(Self::capacity(config, "nat.session"), setup.shards());
        let arp_bucket = (0..=u8::MAX).find(|&bucket| setup.bucket_owner(bucket) == 0);
        Ok(Gateway {
            links: links::links(setup),
            own: Own::new(setup, settings.nat.as_ref()),
            fast: Fast::new(setup, settings.nat.as_ref(), sessions),
            nat: settings.nat.map(|nat| Translator::new(nat, setup)),
            qos: config.qos.clone(),
            complaints: TokenBucket::new(COMPLAINTS.0, COMPLAINTS.1, 0),
            asks: Asks::default(),
            routers,
            shard: setup.shard(),
            shards: setup.shards(),
            arp_bucket: arp_bucket.unwrap_or_default(),
            aging: Aging::new(sessions),
        })
    }

    fn steer(&self, packet: &Packet) -> u8 {
        self.bucket_of(packet.port(), packet.data())
    }

    fn burst(&mut self, shard: &mut Shard<Self>, mut burst: Burst) {
        shard.state.settle();
        if self.fast.enabled {
            self.run_burst(shard, &mut burst);
        } else {
            burst
                .into_iter()
                .for_each(|packet| self.whole(shard, packet));
        }
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
    /// The path of every packet that is not the common case.
    #[inline(never)]
    pub(crate) fn whole(&mut self, shard: &mut Shard<Self>, packet: Packet) {
        let Some((packet, h, step)) = self.classify(shard, packet) else {
            return;
        };
        let h = &h;
        match step {
            Step::Outbound { target } => self.outbound(shard, packet, h, target),
            Step::Inbound => self.inbound(shard, packet, h),
            Step::Hairpin => self.hairpin(shard, packet, h),
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

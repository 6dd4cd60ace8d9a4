//! The ports of an instance as one tenant opens them: made once, by the first tenant; adopted by
//! descriptor ever after.

use crate::config::{self, Port as PortConfig};
use crate::datapath::Error;
use crate::resolve::{Authority, Resolver, Wanted};
use crate::setup::{CsumSource, Mac, PortId, PortInfo};
use baton_ports::{Port, PortSpec, SpecError, adopt, create, cursors_bytes};
use baton_schema::{Policy, Record, Schema};
use baton_shared_state::Region;
use baton_shared_state::mempool::Pool;
use baton_shared_state::sys;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The head of a port's memzone, one a queue; its words are the driver's own.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, Record)]
#[record(name = "port", version = 1)]
#[repr(C)]
pub(crate) struct PortCursors {
    /// `BTNPORT1`.
    pub magic: u64,
    /// Of the parameters fixed when the kernel objects were made.
    pub parameters: u64,
    /// The port's Ethernet address in the low six bytes.
    pub mac: u64,
    /// The largest IP packet.
    pub mtu: u64,
    /// The driver's mode, its own number.
    pub mode: u64,
    /// Zero.
    pub reserved: [u64; 3],
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes of them.
    pub rx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes of them.
    pub tx_bytes: u64,
}

/// A port with its queues, one a shard; each is taken by its shard's run.
pub(crate) struct OpenPorts {
    specs: Vec<PortSpec>,
    infos: Vec<PortInfo>,
    queues: Vec<Vec<Option<Box<dyn Port>>>>,
    pub(crate) warnings: Vec<String>,
}

impl OpenPorts {
    pub(crate) fn open(
        configs: &[PortConfig],
        shards: u16,
        pool: &Pool,
        resolver: &mut Resolver<'_>,
        fds: &mut HashMap<String, OwnedFd>,
    ) -> Result<OpenPorts, Error> {
        let mut open = OpenPorts {
            specs: Vec::new(),
            infos: Vec::new(),
            queues: Vec::new(),
            warnings: Vec::new(),
        };
        let specs = specs(configs, shards)?;
        check_buffers(&specs, pool.count())?;
        for (config, spec) in configs.iter().zip(specs) {
            open.one(config, spec, pool, resolver, fds)?;
        }
        Ok(open)
    }

    fn one(
        &mut self,
        config: &PortConfig,
        spec: PortSpec,
        pool: &Pool,
        resolver: &mut Resolver<'_>,
        fds: &mut HashMap<String, OwnedFd>,
    ) -> Result<(), Error> {
        let said =
            |why: &dyn core::fmt::Display| Error::new(format!("port {:?}: {why}", config.name));
        let name = format!("port.{}", config.name);
        let current = resolver
            .live
            .and_then(|live| resolver.directory.find(&name, live));
        let cursors = match &current {
            Some(entry) => resolver
                .directory
                .zone_region(entry)
                .map_err(|why| said(&why))?,
            None => make(&spec, &name, pool, resolver, fds, &mut self.warnings)?,
        };
        let source = |key: &str| {
            fds.get(key)
                .and_then(|fd| sys::process::duplicate(fd.as_fd()).ok())
        };
        let queues: Result<Vec<Box<dyn Port>>, _> = (0..spec.queues)
            .map(|queue| adopt(&spec, queue, &source, pool, cursors))
            .collect();
        let queues = queues.map_err(|why| said(&why))?;
        let first = queues
            .first()
            .ok_or_else(|| said(&"it has no queue; set queue_count"))?;
        self.infos.push(PortInfo {
            id: PortId(spec.id),
            name: config.name.clone(),
            mac: Mac(first.mac()),
            mtu: config.mtu.unwrap_or(first.mtu()),
            addresses: config::addresses(usize::from(spec.id), config)?,
            csum: match first.csum() {
                baton_ports::CsumSource::Flagged => CsumSource::Flagged,
                baton_ports::CsumSource::Detect => CsumSource::Detect,
            },
        });
        self.queues.push(queues.into_iter().map(Some).collect());
        self.specs.push(spec);
        Ok(())
    }

    pub(crate) fn infos(&self) -> Vec<PortInfo> {
        self.infos.clone()
    }

    /// Queue `shard` of every port.
    pub(crate) fn queues_of(&mut self, shard: u16) -> Vec<Box<dyn Port>> {
        self.queues
            .iter_mut()
            .filter_map(|queues| queues.get_mut(usize::from(shard)).and_then(Option::take))
            .collect()
    }

    /// Name and driver of each port, by number.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        self.specs
            .iter()
            .map(|spec| (spec.name.clone(), spec.driver.name().to_owned()))
            .collect()
    }
}

/// Makes a port's kernel objects and leaves their descriptors with the vault.
fn make(
    spec: &PortSpec,
    name: &str,
    pool: &Pool,
    resolver: &mut Resolver<'_>,
    fds: &mut HashMap<String, OwnedFd>,
    warnings: &mut Vec<String>,
) -> Result<Region, Error> {
    let said = |why: &dyn core::fmt::Display| Error::new(format!("port {:?}: {why}", spec.name));
    let schema: Schema = PortCursors::schema();
    let count = u64::from(spec.queues);
    let wanted = Wanted {
        name,
        schema: &schema,
        policy: Policy::Reopen,
        len: cursors_bytes(spec) as u64,
        count,
        stride: baton_ports::CURSORS_PER_QUEUE as u32,
    };
    let (id, region) = resolver
        .authority
        .create(resolver.arena, resolver.generation, &wanted)
        .map_err(|why| said(&why))?;
    let mut made = Vec::new();
    for created in create(spec, pool, region).map_err(|why| said(&why))? {
        warnings.extend(created.warnings);
        made.extend(created.fds);
    }
    if let Authority::Supervisor(link) = &mut *resolver.authority {
        link.deposit(&made).map_err(|why| said(&why))?;
    }
    fds.extend(made);
    resolver
        .authority
        .ready(name, id)
        .map_err(|why| said(&why))?;
    Ok(region)
}

/// The driver's view of each `[[port]]`.
pub(crate) fn specs(configs: &[PortConfig], shards: u16) -> Result<Vec<PortSpec>, Error> {
    let mut specs: Vec<PortSpec> = Vec::new();
    for (at, config) in configs.iter().enumerate() {
        let spec = spec(at, config)?;
        let key = || format!("port[{at}].vdev");
        if spec.queues != shards {
            return Err(Error::at(
                key(),
                format!(
                    "expected as many queues as shards, {shards}, found {}; set queue_count={shards} (and give the device as many), or instance.shards = {}",
                    spec.queues, spec.queues
                ),
            ));
        }
        let same = |other: &PortSpec| other.iface.is_some() && other.iface == spec.iface;
        if let Some(first) = specs.iter().position(same) {
            return Err(Error::at(
                key(),
                format!(
                    "expected an interface of its own, found {}, which port[{first}] {:?} has; name another, or make them one port",
                    spec.place(),
                    configs[first].name
                ),
            ));
        }
        specs.push(spec);
    }
    Ok(specs)
}

fn spec(at: usize, config: &PortConfig) -> Result<PortSpec, Error> {
    if let Some(device) = &config.allow {
        let what = format!(
            "found {device:?}, a PCI device, and this build has no driver for one; use vdev = \"net_af_xdp0,iface=...\""
        );
        return Err(Error::at(format!("port[{at}].allow"), what));
    }
    let vdev = config.vdev.as_deref().unwrap_or_default();
    PortSpec::parse_vdev(vdev)
        .and_then(|spec| {
            spec.named(&config.name, at as u16)
                .with_rings(config.rxd, config.txd)
        })
        .map_err(|why| match why {
            SpecError::BadValue {
                key,
                value,
                expected,
                ..
            } => {
                let what = format!("expected {expected}, found {value}");
                match key.as_str() {
                    "rxd" | "txd" => Error::at(format!("port[{at}].{key}"), what),
                    _ => Error::at(format!("port[{at}].vdev"), format!("{key}: {what}")),
                }
            }
            why => Error::at(format!("port[{at}].vdev"), why.to_string()),
        })
}

/// Buffers must cover every ring twice over, or a ring runs dry before it is full.
pub(crate) fn check_buffers(specs: &[PortSpec], have: u32) -> Result<(), Error> {
    let rings: u64 = specs
        .iter()
        .map(|spec| u64::from(spec.queues) * u64::from(spec.rxd))
        .sum();
    if u64::from(have) < 2 * rings {
        return Err(Error::at(
            "instance.mbufs",
            format!(
                "expected at least {} buffers, twice the {rings} entries of all receive rings, found {have}; raise mbufs or lower rxd",
                2 * rings
            ),
        ));
    }
    Ok(())
}

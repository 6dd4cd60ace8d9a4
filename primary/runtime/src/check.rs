//! Everything that can be said about a config before a device or a segment is touched.

use crate::config::Config;
use crate::datapath::{Datapath, Error};
use crate::open_ports;
use crate::resolve::{declared, size_of};
use crate::routes;
use crate::setup::Setup;
use baton_shared_state::arena::layout::{self, place_of};
use baton_shared_state::mempool::Pool;
use baton_shared_state::{CHUNK, sys};

/// Why an instance is not started, with file, line and column.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The config is wrong.
    Config(Error),
    /// The config is good, and this machine is not fit for it.
    Machine(Error),
}

/// Checks a config by itself, against the program, and against this machine.
pub(crate) fn check<D: Datapath>(config: &Config<D::Config>) -> Result<(), Refused> {
    on_paper::<D>(config).map_err(|why| Refused::Config(config.locate(why)))?;
    cpus(&config.cpus()).map_err(|why| Refused::Machine(config.locate(why)))
}

fn on_paper<D: Datapath>(config: &Config<D::Config>) -> Result<(), Error> {
    let shards = config.shards()?;
    let specs = open_ports::specs(&config.ports, shards)?;
    let setup = Setup::new(config.ports_on_paper()?, config.route_configs()?, 0, shards);
    D::check_config(&config.program, &setup)?;
    buffers(config)?;
    open_ports::check_buffers(&specs, config.instance.mbufs)?;
    tables::<D>(config, shards)
}

/// Bytes of all packet buffers and what is known of each.
pub(crate) fn packet_bytes(mbufs: u32) -> u64 {
    Pool::meta_bytes(mbufs) as u64 + u64::from(mbufs) * u64::from(CHUNK)
}

/// Buffers have a place of a fixed size among the addresses that all processes share.
fn buffers<C>(config: &Config<C>) -> Result<(), Error> {
    let found = config.instance.mbufs;
    let most = limit_of(layout::DATA) / u64::from(CHUNK);
    if u64::from(found) <= most && Pool::meta_bytes(found) as u64 <= limit_of(layout::META) {
        return Ok(());
    }
    let what = format!("expected at most {most} buffers, found {found}; take fewer");
    Err(Error::at("instance.mbufs", what))
}

fn limit_of(segment: &str) -> u64 {
    place_of(segment).map_or(0, |place| place.limit)
}

/// Every memzone is laid out as at a first start: where `tables` is full, the arena grows by a segment.
fn tables<D: Datapath>(config: &Config<D::Config>, shards: u16) -> Result<(), Error> {
    let most = limit_of(layout::TABLES);
    let segment = limit_of(&layout::growth_name(1));
    let have = config
        .instance
        .tables_bytes(packet_bytes(config.instance.mbufs));
    if have > most {
        let what = format!(
            "expected at most {} MB beside the packet buffers, found {}; take less",
            most >> 20,
            have >> 20
        );
        return Err(Error::at("instance.socket-mem", what));
    }
    let (mut left, mut grown) = (have, 0);
    let groups = routes::groups_of(config)?;
    for decl in declared::<D>() {
        let capacity = match decl.group.as_str() {
            routes::ZONE => groups,
            group => D::capacity(&config.program, group),
        };
        let refuse = |what: String| Err(Error::at(D::capacity_key(&decl.group), what));
        let size = match size_of(&decl, capacity, shards) {
            Ok(size) => size.len,
            Err(why) => return refuse(format!("{why}; take less")),
        };
        if size <= left {
            left -= size;
        } else if size <= segment && grown < layout::MAX_GROWTH {
            grown += 1;
        } else {
            return refuse(format!(
                "expected a number whose memzones find room, found {capacity}: {:?} takes {} MiB, {} are left of {}, and the arena grows by at most {} at once; take less, or raise instance.socket-mem (up to {} beside the packet buffers)",
                decl.name,
                size.div_ceil(1 << 20),
                left >> 20,
                have >> 20,
                segment >> 20,
                most >> 20
            ));
        }
    }
    Ok(())
}

/// Each lcore's CPU is tried, by a thread that ends with it.
fn cpus(wanted: &[usize]) -> Result<(), Error> {
    std::thread::scope(|scope| {
        let tried = scope.spawn(|| {
            let usable = sys::thread::affinity().unwrap_or_default();
            let missing = |cpu: &&usize| sys::set_affinity(**cpu).is_err();
            (wanted.iter().find(missing), usable)
        });
        match tried.join() {
            Ok((Some(cpu), usable)) => Err(Error::at(
                "instance.lcores",
                format!(
                    "expected CPUs that this machine lets this process use ({usable:?}), found {cpu}; name one of these"
                ),
            )),
            _ => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests;

//! From a program's declaration to the memzones of this arena: adopt what is equal, build a new
//! generation beside what changed, make what is missing, refuse what nobody can read.

use crate::datapath::Datapath;
use crate::link::Link;
use crate::zone::{Declare, Opened, Previous, ZoneDecl, ZoneError, ZoneSize, Zones};
use crate::{counters, steering};
use baton_schema::control::ZoneReport;
use baton_schema::{Manifest, Policy, Schema, ZoneManifest, wire};
use baton_shared_state::Region;
use baton_shared_state::arena::Arena;
use baton_shared_state::directory::{Directory, ZoneEntry, ZoneSpec};
use baton_shared_state::table::IdPlan;
use std::collections::HashMap;
use std::os::fd::OwnedFd;

/// Who writes the zone directory.
pub(crate) enum Authority {
    /// A supervisor, asked over the link.
    Supervisor(Link),
    /// This process itself, standalone.
    Own(Directory),
}

/// A zone to be made.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) schema: &'a Schema,
    pub(crate) policy: Policy,
    pub(crate) len: u64,
    pub(crate) count: u64,
    pub(crate) stride: u32,
}

impl Authority {
    /// Reserves a zone of this generation; its bytes are zero.
    pub(crate) fn create(
        &mut self,
        arena: &Arena,
        generation: u16,
        wanted: &Wanted<'_>,
    ) -> Result<(u32, Region), ZoneError> {
        let refused = |why: String| ZoneError::Refused {
            name: wanted.name.into(),
            why,
        };
        let (id, offset, len) = match self {
            Authority::Supervisor(link) => {
                let granted = link
                    .create_zone(
                        wanted.name,
                        wanted.schema.clone(),
                        generation,
                        wanted.len,
                        wanted.policy,
                        wanted.count,
                        wanted.stride,
                    )
                    .map_err(|why| refused(why.to_string()))?;
                map_grown(arena, link).map_err(refused)?;
                (granted.id, granted.offset, granted.len)
            }
            Authority::Own(directory) => {
                let spec = ZoneSpec {
                    name: wanted.name,
                    schema: wanted.schema,
                    generation,
                    len: wanted.len,
                    policy: wanted.policy,
                    count: wanted.count,
                    stride: wanted.stride,
                };
                let entry = directory
                    .create_zone(&spec)
                    .map_err(|why| refused(why.to_string()))?;
                (entry.id, entry.offset, entry.len)
            }
        };
        let region = arena
            .region(offset, len)
            .map_err(|why| refused(why.to_string()))?;
        Ok((id, region))
    }

    /// Publishes a zone whose content is complete.
    pub(crate) fn ready(&mut self, name: &str, id: u32) -> Result<(), ZoneError> {
        let refused = |why: String| ZoneError::Refused {
            name: name.into(),
            why,
        };
        match self {
            Authority::Supervisor(link) => {
                link.zone_ready(id).map_err(|why| refused(why.to_string()))
            }
            Authority::Own(directory) => directory
                .publish(id)
                .map_err(|why| refused(why.to_string())),
        }
    }
}

/// The zone may lie in a segment that came just before the answer.
fn map_grown(arena: &Arena, link: &Link) -> Result<(), String> {
    let new = |(name, _): &(&str, &OwnedFd)| arena.segment(name).is_none();
    for (name, fd) in link.kept_segments().filter(new) {
        let failed = |why: &dyn core::fmt::Display| format!("new segment {name}: {why}");
        let fd = fd.try_clone().map_err(|why| failed(&why))?;
        arena.attach_segment(name, fd).map_err(|why| failed(&why))?;
    }
    Ok(())
}

/// All memzones of a program: its state's and the runtime's own.
pub(crate) fn declared<D: Datapath>() -> Vec<ZoneDecl> {
    let mut declare = Declare::default();
    D::State::declare(&mut declare);
    counters::declare(&mut declare);
    steering::declare(&mut declare);
    declare.into_zones()
}

/// The size of a zone; a number of ids that no table can have is refused.
pub(crate) fn size_of(decl: &ZoneDecl, capacity: u32, shards: u16) -> Result<ZoneSize, ZoneError> {
    IdPlan::new(capacity.max(1), shards).map_err(|why| ZoneError::Refused {
        name: decl.name.clone(),
        why: why.to_string(),
    })?;
    Ok((decl.size)(capacity, shards))
}

/// What `--manifest` prints.
pub(crate) fn manifest<D: Datapath>() -> Manifest {
    let zones = declared::<D>()
        .iter()
        .map(|decl| ZoneManifest::of(&decl.name, decl.policy, &decl.chain))
        .collect();
    Manifest {
        name: D::name(),
        version: D::version().into(),
        wire: wire::VERSION,
        zones,
    }
}

/// The zones of one tenant, being resolved.
pub(crate) struct Resolver<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) directory: &'a Directory,
    pub(crate) authority: &'a mut Authority,
    pub(crate) generation: u16,
    pub(crate) live: Option<u16>,
    pub(crate) shards: u16,
}

impl Resolver<'_> {
    /// Resolves every declared zone; `capacity` is asked for zones that are new.
    pub(crate) fn all(
        &mut self,
        decls: &[ZoneDecl],
        capacity: impl Fn(&str) -> u32,
    ) -> Result<(HashMap<String, Opened>, Vec<ZoneReport>), ZoneError> {
        let mut zones = HashMap::new();
        let mut reports = Vec::new();
        for decl in decls {
            let (opened, report) = self.one(decl, &capacity)?;
            zones.insert(decl.name.clone(), opened);
            reports.push(report);
        }
        Ok((zones, reports))
    }

    fn one(
        &mut self,
        decl: &ZoneDecl,
        capacity: &impl Fn(&str) -> u32,
    ) -> Result<(Opened, ZoneReport), ZoneError> {
        let current = self.current(&decl.name);
        // What is made anew is made as large as its own config asks for.
        let group = match decl.policy {
            Policy::Rebuild => None,
            _ => self.current(&decl.group),
        };
        let capacity = group
            .as_ref()
            .map_or_else(|| capacity(&decl.group), |entry| entry.count as u32);
        let policy = ZoneManifest::of(&decl.name, decl.policy, &decl.chain)
            .decide(current.as_ref().map(|entry| entry.fingerprint));
        let mut report = ZoneReport {
            name: decl.name.clone(),
            policy,
            from_version: current.as_ref().map_or(0, |entry| entry.schema_version),
            to_version: decl.schema().version,
            records: 0,
            bytes: 0,
            losses_back: Vec::new(),
        };
        let opened = match (policy, current) {
            (Policy::Adopt, Some(entry)) => self.adopt(decl, &entry, capacity)?,
            (Policy::Rebuild, _) | (_, None) => Opened {
                region: self.make(decl, capacity)?,
                capacity,
                previous: None,
            },
            (Policy::Migrate | Policy::Carry, Some(entry)) => {
                report.losses_back = decl.chain.losses_back(entry.schema_version);
                let previous = self.previous(decl, &entry)?;
                Opened {
                    region: self.make(decl, capacity)?,
                    capacity,
                    previous: Some(previous),
                }
            }
            (_, Some(entry)) => return Err(no_path(decl, &entry)),
        };
        report.bytes = opened.region.len() as u64;
        Ok((opened, report))
    }

    fn current(&self, name: &str) -> Option<ZoneEntry> {
        self.live.and_then(|live| self.directory.find(name, live))
    }

    /// What is adopted lies as this build has it lie: the distance of rows is no part of their schema.
    fn adopt(
        &self,
        decl: &ZoneDecl,
        entry: &ZoneEntry,
        capacity: u32,
    ) -> Result<Opened, ZoneError> {
        let stride = size_of(decl, capacity, self.shards)?.stride;
        if entry.stride != stride {
            let found = entry.stride;
            return Err(ZoneError::Refused {
                name: entry.name.clone(),
                why: format!(
                    "its rows lie {found} bytes apart and this build wants {stride}: take a build that wants {found}, \
                     or stop the instance and start it anew"
                ),
            });
        }
        Ok(Opened {
            region: self.region(entry)?,
            capacity,
            previous: None,
        })
    }

    fn previous(&self, decl: &ZoneDecl, entry: &ZoneEntry) -> Result<Previous, ZoneError> {
        let path = decl
            .chain
            .path(entry.fingerprint)
            .ok_or_else(|| no_path(decl, entry))?;
        Ok(Previous {
            region: self.region(entry)?,
            stride: entry.stride,
            path,
        })
    }

    fn region(&self, entry: &ZoneEntry) -> Result<Region, ZoneError> {
        self.directory
            .zone_region(entry)
            .map_err(|why| ZoneError::Corrupt {
                name: entry.name.clone(),
                why: why.to_string(),
            })
    }

    fn make(&mut self, decl: &ZoneDecl, capacity: u32) -> Result<Region, ZoneError> {
        let size = size_of(decl, capacity, self.shards)?;
        let wanted = Wanted {
            name: &decl.name,
            schema: decl.schema(),
            policy: decl.policy,
            len: size.len,
            count: size.count,
            stride: size.stride,
        };
        let (id, region) = self
            .authority
            .create(self.arena, self.generation, &wanted)?;
        (decl.init)(region, capacity, self.shards);
        self.authority.ready(&decl.name, id)?;
        Ok(region)
    }
}

fn no_path(decl: &ZoneDecl, entry: &ZoneEntry) -> ZoneError {
    let reads: Vec<String> = decl
        .chain
        .versions()
        .iter()
        .map(|version| format!("v{version}"))
        .collect();
    ZoneError::NoPath {
        name: decl.name.clone(),
        found: entry.schema_version,
        wanted: decl.schema().version,
        reads: reads.join(", "),
    }
}

#[cfg(test)]
mod tests;

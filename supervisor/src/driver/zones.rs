//! The zone directory: its one writer is here, tenants ask.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use baton_schema::control::ToPrimary;
use baton_schema::{Policy, Schema};
use baton_shared_state::directory::{ZoneEntry, ZoneSpec, ZoneState};

use super::Driver;
use crate::plan::LiveZone;
use crate::state::Side;

/// A zone as a tenant asked for it.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) schema: Schema,
    pub(super) generation: u16,
    pub(super) len: u64,
    pub(super) policy: Policy,
    pub(super) count: u64,
    pub(super) stride: u32,
}

impl Driver {
    pub(super) fn create_zone(&mut self, side: Side, wanted: &Wanted) {
        let own = self.tenants.get(side).map(|tenant| tenant.generation);
        let exports = side == Side::Older && self.exported == Some(wanted.generation);
        if own != Some(wanted.generation) && !exports {
            let why = format!(
                "zone \"{}\" was asked for in generation {}, but this tenant builds generation {}",
                wanted.name,
                wanted.generation,
                own.map_or("none".to_owned(), |own| own.to_string())
            );
            return self.answer(side, &ToPrimary::ZoneRefused { why });
        }
        match self.reserve(wanted) {
            Ok((entry, grown)) => {
                if let Some(tenant) = self.tenants.get_mut(side) {
                    tenant.building.push(entry.id);
                }
                if let Some(segment) = grown {
                    self.hand_out_segment(&segment);
                }
                let (id, offset, len, generation) =
                    (entry.id, entry.offset, entry.len, entry.generation);
                self.answer(
                    side,
                    &ToPrimary::Zone {
                        id,
                        offset,
                        len,
                        generation,
                    },
                );
            }
            Err(why) => {
                tracing::error!(prefix = self.paths.prefix, error = why, "zone refused");
                self.answer(side, &ToPrimary::ZoneRefused { why });
            }
        }
    }

    /// Reserves a zone; where there is no room the arena grows by a segment, named beside it.
    fn reserve(&self, wanted: &Wanted) -> Result<(ZoneEntry, Option<String>), String> {
        let spec = ZoneSpec {
            name: &wanted.name,
            schema: &wanted.schema,
            generation: wanted.generation,
            len: wanted.len,
            policy: wanted.policy,
            count: wanted.count,
            stride: wanted.stride,
        };
        let mut grown = None;
        let entry = self.directory.create_zone_or_grow(&spec, |bytes| {
            grown = Some(self.arena.add_segment(bytes)?);
            Ok(())
        });
        entry
            .map(|entry| (entry, grown))
            .map_err(|error| error.to_string())
    }

    /// A new segment goes to every tenant before the answer that needs it.
    fn hand_out_segment(&mut self, segment: &str) {
        let Some(fd) = self
            .arena
            .segment_fd(segment)
            .and_then(|fd| fd.try_clone().ok())
        else {
            return;
        };
        let key = format!("segment/{segment}");
        tracing::info!(prefix = self.paths.prefix, segment, "the arena has grown");
        for (_, tenant) in self.tenants.all() {
            let message = ToPrimary::Fds {
                keys: vec![key.clone()],
                last: true,
            };
            if let Some(channel) = &tenant.channel
                && let Err(error) = channel.try_send(&message, &[fd.as_fd()])
            {
                tracing::warn!(prefix = self.paths.prefix, pid = tenant.pid, error = %error, "new segment not sent");
            }
        }
        self.vault.put(key, fd);
    }

    pub(super) fn zone_ready(&mut self, side: Side, id: u32) {
        let asked = self
            .tenants
            .get(side)
            .is_some_and(|tenant| tenant.building.contains(&id));
        if !asked {
            tracing::warn!(
                prefix = self.paths.prefix,
                zone = id,
                "a zone was called ready by one who did not ask for it"
            );
        } else if let Err(error) = self.directory.publish(id) {
            tracing::error!(prefix = self.paths.prefix, zone = id, error = %error, "zone not published");
        }
        if let Some(tenant) = self.tenants.get_mut(side) {
            tenant.building.retain(|building| *building != id);
        }
        self.answer(side, &ToPrimary::Acknowledged);
    }

    pub(super) fn zone_unwanted(&mut self, side: Side, id: u32) {
        let own = self.tenants.get(side).map(|tenant| tenant.generation);
        let entry = self
            .directory
            .entry(id)
            .ok()
            .filter(|entry| Some(entry.generation) == own);
        match entry {
            Some(entry) => {
                let _ = self.directory.retire(entry.id);
            }
            None => tracing::warn!(
                prefix = self.paths.prefix,
                zone = id,
                "a zone of another generation was to be retired"
            ),
        }
        self.answer(side, &ToPrimary::Acknowledged);
    }

    /// The generation of a tenant that is dead and did not come to forward is given up.
    pub(super) fn free_zones(&mut self) {
        let Some(generation) = self.newer_generation.take() else {
            return;
        };
        if Some(generation) == self.live_generation() {
            return;
        }
        let exported = self
            .exported
            .take()
            .filter(|_| self.tenants.older.is_some());
        if exported.is_some() {
            // The older tenant still writes there; it answers when it has ended that.
            self.ending_export = exported;
            return self.answer(
                Side::Older,
                &ToPrimary::Export {
                    generation,
                    zones: Vec::new(),
                },
            );
        }
        self.retire_generation(generation);
    }

    /// The older tenant has ended its export.
    pub(super) fn export_ended(&mut self) {
        if let Some(generation) = self.ending_export.take() {
            self.retire_generation(generation);
        }
    }

    fn retire_generation(&self, generation: u16) {
        match self.directory.retire_generation(generation) {
            Ok(zones) => tracing::info!(
                prefix = self.paths.prefix,
                generation,
                zones,
                "generation given up"
            ),
            Err(error) => {
                tracing::error!(prefix = self.paths.prefix, generation, error = %error, "zones not retired")
            }
        }
    }

    /// Of each zone only the newest that is live stays.
    pub(super) fn retire_zones(&mut self) {
        let Some(live) = self.live_generation() else {
            return;
        };
        for zone in superseded(&self.directory.list(), live) {
            if let Err(error) = self.directory.retire(zone) {
                tracing::error!(prefix = self.paths.prefix, zone, error = %error, "zone not retired");
            }
        }
    }

    /// The zones that the live generation set uses.
    pub(super) fn live_zones(&self) -> Vec<LiveZone> {
        let Some(live) = self.live_generation() else {
            return Vec::new();
        };
        let all = self.directory.list();
        let old = superseded(&all, live);
        let used = all.iter().filter(|zone| {
            zone.state == ZoneState::Ready && zone.generation <= live && !old.contains(&zone.id)
        });
        used.filter_map(|zone| {
            let schema = self.directory.schema_of(zone).ok()?;
            Some(LiveZone {
                name: zone.name.clone(),
                schema,
                records: zone.count,
                bytes: zone.len,
            })
        })
        .collect()
    }
}

/// Ready zones up to `live` of which there is a newer one up to `live`.
fn superseded(zones: &[ZoneEntry], live: u16) -> Vec<u32> {
    let ready = || {
        zones
            .iter()
            .filter(|zone| zone.state == ZoneState::Ready && zone.generation <= live)
    };
    let mut newest: BTreeMap<&str, u16> = BTreeMap::new();
    for zone in ready() {
        let known = newest.entry(&zone.name).or_insert(zone.generation);
        *known = (*known).max(zone.generation);
    }
    ready()
        .filter(|zone| newest[zone.name.as_str()] > zone.generation)
        .map(|zone| zone.id)
        .collect()
}

#[cfg(test)]
mod tests {
    use baton_schema::{Field, Kind};
    use baton_shared_state::arena::{Arena, ArenaSpec};
    use baton_shared_state::directory::Directory;

    use super::*;

    #[test]
    fn only_zones_with_a_newer_live_generation_are_superseded() {
        let spec = ArenaSpec {
            mbufs: 64,
            tables_bytes: 2 << 20,
            ..ArenaSpec::default()
        };
        let arena = Arena::create(&spec).expect("an arena");
        let directory = Directory::create(&arena).expect("a directory");
        let field = Field {
            name: "a".into(),
            offset: 0,
            size: 8,
            kind: Kind::U64,
            names: vec![],
            doc: String::new(),
        };
        let schema = Schema {
            name: "s".into(),
            version: 1,
            size: 8,
            align: 8,
            fields: vec![field],
            doc: String::new(),
        };
        let make = |name: &str, generation, ready| {
            let spec = ZoneSpec {
                name,
                schema: &schema,
                generation,
                len: 4096,
                policy: Policy::Migrate,
                count: 1,
                stride: 8,
            };
            let id = directory.create_zone(&spec).expect("room").id;
            if ready {
                directory.publish(id).expect("building");
            }
            id
        };
        let old = make("nat.session", 1, true);
        make("nat.session", 2, true);
        make("nat.session", 3, true);
        make("nat.key", 1, true);
        make("nat.session", 4, false);
        assert_eq!(
            superseded(&directory.list(), 2),
            [old],
            "generation 3 is not live, 4 is not ready"
        );
    }
}

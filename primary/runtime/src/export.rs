//! The way down after a commit: the running version, which knows the older layout, builds the older
//! generation and keeps it current, for a successor that knows no newer one.
//!
//! ```text
//!   Export(zones) -> zones made -> lcores write through -> all records copied down -> counters folded -> ready
//! ```
//! Order: an lcore stores a record, then its older form; the copier writes the older form and reads the
//! record again. Failure: nothing the successor has not been given yet is used by anybody; what was
//! exported is given up with its generation.

use crate::datapath::{Datapath, Error};
use crate::mailbox::Ask;
use crate::resolve::{Wanted, declared};
use crate::tenant::Tenant;
use crate::transition::Fold;
use crate::zone::{Opener, Previous, ZoneDecl, Zones};
use baton_schema::control::Report;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long the lcores may take to hear of it; they look every few rounds.
const HEARD: Duration = Duration::from_secs(2);

impl<D: Datapath> Tenant<D> {
    /// Builds these zones (name, version) as `generation`, or ends that when there are none.
    pub(crate) fn export(
        &mut self,
        generation: u16,
        zones: &[(String, u32)],
    ) -> Result<Report, Error> {
        if zones.is_empty() {
            return self.end_export();
        }
        let decls = declared::<D>();
        let (mut older, mut made) = (HashMap::new(), Vec::new());
        for (name, version) in zones {
            let decl = decls
                .iter()
                .find(|decl| decl.name == *name)
                .ok_or_else(|| Error::new(format!("memzone {name:?} is none of this program")))?;
            let (id, previous) = self.make_older(decl, *version, generation)?;
            made.push((name.clone(), id));
            older.insert(name.clone(), previous);
        }
        let older = Arc::new(older);
        self.transition.set_soaking(false);
        self.transition.write_through(true);
        self.tell_lcores(&older)?;
        let records = self.copy_all_down(&older)?;
        self.fold(Fold::Back)?;
        for (name, id) in &made {
            self.authority
                .ready(name, *id)
                .map_err(|why| Error::new(why.to_string()))?;
        }
        Ok(Report {
            counts: vec![("records".into(), records)],
            ..Report::default()
        })
    }

    /// Nobody will need the older generation: counters come back, nothing is written through.
    fn end_export(&mut self) -> Result<Report, Error> {
        self.transition.write_through(false);
        self.fold(Fold::Up)?;
        self.transition.ask_fold(Fold::No);
        self.tell_lcores(&Arc::default())?;
        Ok(Report::default())
    }

    fn make_older(
        &mut self,
        decl: &ZoneDecl,
        version: u32,
        generation: u16,
    ) -> Result<(u32, Previous), Error> {
        let said = |why: &dyn core::fmt::Display| Error::new(why.to_string());
        let schema = decl
            .chain
            .schemas
            .iter()
            .find(|schema| schema.version == version)
            .ok_or_else(|| {
                Error::new(format!(
                    "memzone {:?}: this version knows no way to v{version}; it knows {:?}",
                    decl.name,
                    decl.chain.versions()
                ))
            })?;
        let path = decl
            .chain
            .path(schema.fingerprint())
            .ok_or_else(|| said(&"a chain holds a path from each of its versions"))?;
        let attached = self.attached()?;
        let count = u64::from(attached.zones[&decl.name].capacity);
        let stride = schema.size.next_multiple_of(8);
        let wanted = Wanted {
            name: &decl.name,
            schema,
            policy: decl.policy,
            len: count * u64::from(stride),
            count,
            stride,
        };
        let (id, region) = self
            .authority
            .create(&self.arena, generation, &wanted)
            .map_err(|why| said(&why))?;
        Ok((
            id,
            Previous {
                region,
                stride,
                path,
            },
        ))
    }

    fn tell_lcores(&self, older: &Arc<HashMap<String, Previous>>) -> Result<(), Error> {
        let (answer, answers) = channel();
        let told = self
            .active()
            .map(|mailbox| {
                mailbox.ask(Ask::Export {
                    older: older.clone(),
                    answer: answer.clone(),
                })
            })
            .count();
        for _ in 0..told {
            answers.recv_timeout(HEARD).map_err(|_| {
                Error::new(format!(
                    "an lcore did not answer within {} s",
                    HEARD.as_secs()
                ))
            })?;
        }
        Ok(())
    }

    /// Copies every record down through views of its own, beside the lcores.
    fn copy_all_down(&mut self, older: &HashMap<String, Previous>) -> Result<u64, Error> {
        let mut records = 0;
        for shard in 0..self.shards {
            let attached = self.attached()?;
            let mut opener =
                Opener::new(&attached.zones, shard, self.shards, self.transition.clone());
            let mut state =
                D::State::open(&mut opener).map_err(|why| Error::new(why.to_string()))?;
            state.each(&mut |_, live| {
                live.export(older);
                records += live.copy_down();
            });
        }
        Ok(records)
    }
}

//! The one writer of a classifier. What it keeps in private memory is an index of what is in the
//! region; [`AclWriter::recover`] builds it again after a death.

use core::cmp::Reverse;

use super::cells::{self, Cells};
use super::classes::{Classes, Prefixes, Protos};
use super::compile::insert;
use super::image::{Image, set};
use super::layout::*;
use super::pool::Pool;
use super::ports::Ports;
use super::rule::{Rule, RuleId, RuleRecord};
use super::trie::{Trie, TrieWriter};
use super::{Acl, AclError};
use crate::region::Region;
use crate::sync::Ordering;

/// The writer of a classifier. One at a time; readers use [`AclWriter::reader`].
#[derive(Debug)]
pub struct AclWriter {
    pub(super) shared: Acl,
    pub(super) region: Region,
    pub(super) layout: Layout,
    pub(super) rules: Vec<Option<Rule>>,
    /// The blocks of the published version: number, ids of its rules, best first.
    pub(super) list: Vec<(u32, Vec<u32>)>,
    pub(super) addresses: [Prefixes; 2],
    pub(super) ports: [Ports; 2],
    pub(super) protos: Protos,
    pub(super) classes: Classes,
    pub(super) blocks: Pool,
    pub(super) versions: Pool,
    pub(super) ids: Pool,
    /// The published version.
    pub(super) version: Option<u32>,
}

impl AclWriter {
    /// Fills the tables so that all values are of the first classes, then stores the header.
    pub(super) fn create(region: Region, layout: Layout) -> Result<AclWriter, AclError> {
        let port_cells = |field: usize| Cells::narrow(region, layout.ports[field], PORTS);
        let protos = Cells::narrow(region, layout.proto, PROTOS);
        (0..PROTOS).for_each(|value| protos.set(value, 4));
        let trie = |field: usize| {
            let root = field as u32;
            let trie = TrieWriter::create(Trie::new(region, &layout, field), root);
            Prefixes::new(field, root, trie)
        };
        let all = |what, have| Pool::new(what, have, |_| false, false);
        let sizes = layout.sizes;
        let classes = Pool::new("classes", sizes.classes, |class| class < ROOTS, false);
        let addresses = [trie(0), trie(1)];
        let ports = [
            Ports::create(port_cells(0), 2),
            Ports::create(port_cells(1), 3),
        ];
        layout.store(region);
        Ok(AclWriter {
            shared: Acl::attach(region)?,
            region,
            layout,
            rules: vec![None; sizes.rules as usize],
            list: Vec::new(),
            addresses,
            ports,
            protos: Protos { cells: protos },
            classes: Classes {
                region,
                layout,
                pool: classes,
                high: ROOTS as usize,
                live: vec![],
            },
            blocks: all("blocks", sizes.blocks),
            versions: all("versions", sizes.versions),
            ids: all("rules", sizes.rules),
            version: None,
        })
    }

    /// The view for readers.
    pub fn reader(&self) -> Acl {
        self.shared
    }

    /// Rules in the published version.
    pub fn len(&self) -> usize {
        self.list.iter().map(|(_, rules)| rules.len()).sum()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// A rule of the published version.
    pub fn get(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.0 as usize)?.as_ref()
    }

    /// The rules of the published version, best first.
    pub fn rules(&self) -> impl Iterator<Item = (RuleId, &Rule)> + '_ {
        let ids = self.list.iter().flat_map(|(_, rules)| rules);
        ids.map(|id| (RuleId(*id), self.rule(*id)))
    }

    /// Adds a rule. A lookup sees it or does not; after an error nothing has changed.
    pub fn add(&mut self, rule: &Rule) -> Result<RuleId, AclError> {
        rule.check(self.layout.family)?;
        self.need_for_add(rule)?;
        let id = self.ids.take()?;
        self.store_rule(id, rule);
        self.add_classes(rule)?;
        let accepted = self.accepted(rule);
        let (place, slot) = self.place(rule.priority, id);
        let image = match self.list.get(place) {
            Some((block, _)) => self.image(*block),
            None => Image::new(Vec::new(), (0..self.classes.high).map(|_| [0; 8])),
        };
        let gone = place..place + usize::from(place < self.list.len());
        self.replace(gone, insert(image, slot, id, &accepted))?;
        Ok(RuleId(id))
    }

    /// Removes a rule. A lookup sees it or does not; after an error nothing has changed.
    pub fn remove(&mut self, id: RuleId) -> Result<Rule, AclError> {
        let rule = *self.get(id).ok_or(AclError::NoRule { id: id.0 })?;
        self.blocks.need(1)?;
        self.versions.need(1)?;
        let (place, slot) = self.place(rule.priority, id.0);
        let mut image = self.image(self.list[place].0);
        image.remove(slot);
        let (mut gone, left) = (place..place + 1, image.rules.len());
        let fits = |other: Option<&(u32, Vec<u32>)>| {
            other.is_some_and(|(_, rules)| rules.len() + left <= MERGE_AT)
        };
        if left > 0 && fits(self.list.get(place + 1)) {
            image = image.merge(&self.image(self.list[place + 1].0));
            gone.end += 1;
        } else if left > 0 && place > 0 && fits(self.list.get(place - 1)) {
            image = self.image(self.list[place - 1].0).merge(&image);
            gone.start -= 1;
        }
        self.replace(gone, if left > 0 { vec![image] } else { Vec::new() })?;
        self.forget(id.0, &rule);
        Ok(rule)
    }

    /// Compiles many rules into an empty classifier, and publishes them at once; their ids in
    /// the order given. After an error the classifier is empty, but may have to rest.
    pub fn build(&mut self, rules: &[Rule]) -> Result<Vec<RuleId>, AclError> {
        if !self.is_empty() {
            let rules = self.len() as u32;
            return Err(AclError::NotEmpty { rules });
        }
        rules
            .iter()
            .try_for_each(|rule| rule.check(self.layout.family))?;
        self.ids.need(rules.len())?;
        let mut ids = Vec::with_capacity(rules.len());
        for rule in rules {
            let enough = self.need_classes(rule);
            if let Err(error) = enough.and_then(|()| self.add_classes(rule)) {
                ids.iter().for_each(|id: &RuleId| self.undo(id.0));
                return Err(error);
            }
            let id = self.ids.take()?;
            self.store_rule(id, rule);
            ids.push(RuleId(id));
        }
        let mut order: Vec<u32> = ids.iter().map(|id| id.0).collect();
        order.sort_unstable_by_key(|id| (Reverse(self.rule(*id).priority), *id));
        let images = order.chunks(FILL).map(|ids| self.compile(ids.to_vec()));
        let images: Vec<Image> = images.collect();
        if let Err(error) = self.replace(0..0, images) {
            ids.iter().for_each(|id| self.undo(id.0));
            return Err(error);
        }
        Ok(ids)
    }

    /// Says that every reader has finished the bursts it was in since the last change: what rests
    /// may be used again, and classes that no rule needs are given up. True after each reader
    /// has been seen between two bursts. After an error, which only damage can bring, all that
    /// readers see is as before.
    pub fn quiesced(&mut self) -> Result<(), AclError> {
        self.blocks.quiesced();
        self.versions.quiesced();
        self.classes.live = self.blocks.not_free().collect();
        self.classes.quiesced();
        for id in self.ids.quiesced() {
            cells::put(
                self.region,
                self.layout.rule(id),
                &[0u8; size_of::<RuleRecord>()],
            );
        }
        for addresses in &mut self.addresses {
            addresses.quiesced(&mut self.classes)?;
        }
        for ports in &mut self.ports {
            ports.quiesced(&mut self.classes);
        }
        Ok(())
    }

    /// Adds a rule; where there is no room but what rests, waits with `wait` until every reader
    /// has been seen between two bursts, and tries once more.
    pub fn add_waiting(&mut self, rule: &Rule, wait: impl FnOnce()) -> Result<RuleId, AclError> {
        match self.add(rule) {
            Err(AclError::Full { .. }) => {
                self.wait(wait)?;
                self.add(rule)
            }
            other => other,
        }
    }

    /// As [`AclWriter::add_waiting`], for a removal.
    pub fn remove_waiting(&mut self, id: RuleId, wait: impl FnOnce()) -> Result<Rule, AclError> {
        match self.remove(id) {
            Err(AclError::Full { .. }) => {
                self.wait(wait)?;
                self.remove(id)
            }
            other => other,
        }
    }

    /// Blocks that rest.
    pub fn resting(&self) -> u32 {
        self.blocks.resting()
    }

    /// Bytes that the published version and its rules take.
    pub fn used_bytes(&self) -> usize {
        let class_bytes = self.classes.high * (CLASS_BYTES + 2 * self.list.len());
        let rows = self.list.iter().map(|(block, _)| {
            let at = self.layout.block(*block);
            ROWS_AT + self.region.u32(at + 4).load(Ordering::Relaxed) as usize * ROW_BYTES
        });
        let tries = self.addresses.iter().map(|field| field.trie.used_bytes());
        let fixed = (2 * PORTS + PROTOS) * 2 + self.len() * size_of::<RuleRecord>();
        fixed + class_bytes + rows.sum::<usize>() + tries.sum::<usize>()
    }

    /// Holds the row of every class that a value has against the rules; the number that are
    /// wrong. Classes that rest are left out: only readers of versions before this one meet them.
    pub fn audit(&self) -> usize {
        let mut classes: Vec<u32> = self.protos.inside(0, 0).collect();
        for field in &self.addresses {
            classes.extend(field.map.values().map(|used| used.class));
        }
        for field in &self.ports {
            classes.extend(field.map.values().map(|used| used.class));
        }
        let wrong = self.list.iter().map(|(block, rules)| {
            let (have, want) = (self.image(*block), self.compile(rules.clone()));
            let differs = |class: &&u32| have.row(**class as usize) != want.row(**class as usize);
            classes.iter().filter(differs).count() + usize::from(have.rules != want.rules)
        });
        wrong.sum()
    }

    /// Gives up what rests, once `wait` has seen the readers.
    fn wait(&mut self, wait: impl FnOnce()) -> Result<(), AclError> {
        wait();
        self.quiesced()
    }

    pub(super) fn rule(&self, id: u32) -> &Rule {
        self.rules[id as usize]
            .as_ref()
            .expect("a listed rule is kept")
    }

    fn need_for_add(&self, rule: &Rule) -> Result<(), AclError> {
        self.ids.need(1)?;
        self.blocks.need(2)?;
        self.versions.need(1)?;
        self.need_classes(rule)
    }

    fn need_classes(&self, rule: &Rule) -> Result<(), AclError> {
        let classes = self.addresses[0].need(&rule.src)?
            + self.addresses[1].need(&rule.dst)?
            + self.ports[0].need(rule.sport)
            + self.ports[1].need(rule.dport)
            + self.protos.need(rule.proto, rule.proto_mask);
        self.classes.pool.need(classes)
    }

    fn add_classes(&mut self, rule: &Rule) -> Result<(), AclError> {
        let classes = &mut self.classes;
        self.addresses[0].add(&rule.src, classes)?;
        self.addresses[1].add(&rule.dst, classes)?;
        self.ports[0].add(rule.sport, classes)?;
        self.ports[1].add(rule.dport, classes)?;
        self.protos.add(rule.proto, rule.proto_mask, classes)
    }

    /// The classes that a rule accepts, in all fields.
    fn accepted(&self, rule: &Rule) -> Vec<u64> {
        let mut accepted = vec![0; self.classes.high.div_ceil(64)];
        let mut accept = |class: u32| set(&mut accepted, class as usize);
        self.addresses[0].inside(&rule.src).for_each(&mut accept);
        self.addresses[1].inside(&rule.dst).for_each(&mut accept);
        self.ports[0].inside(rule.sport).for_each(&mut accept);
        self.ports[1].inside(rule.dport).for_each(&mut accept);
        self.protos
            .inside(rule.proto, rule.proto_mask)
            .for_each(&mut accept);
        accepted
    }

    /// The block and slot where a rule is, or would be.
    fn place(&self, priority: i32, id: u32) -> (usize, usize) {
        let key = (Reverse(priority), id);
        let better = |other: &u32| (Reverse(self.rule(*other).priority), *other) < key;
        let last = |rules: &[u32]| *rules.last().expect("no block is empty");
        let place = self.list.partition_point(|(_, rules)| better(&last(rules)));
        // After the last rule of all: behind it, in its block.
        let place = place.min(self.list.len().saturating_sub(1));
        let slot = self
            .list
            .get(place)
            .map(|(_, rules)| rules.partition_point(better));
        (place, slot.unwrap_or(0))
    }

    fn image(&self, block: u32) -> Image {
        Image::load(self.region, &self.layout, block, self.classes.high)
    }

    /// Puts new blocks in the place of those in `gone`, and publishes the list.
    fn replace(&mut self, gone: core::ops::Range<usize>, new: Vec<Image>) -> Result<(), AclError> {
        self.blocks.need(new.len())?;
        self.versions.need(1)?;
        let new: Vec<(u32, Vec<u32>)> = new
            .into_iter()
            .map(|image| {
                let block = self.blocks.take().expect("asked for above");
                self.classes.live.push(block);
                image.store(self.region, &self.layout, block, |id| *self.rule(id));
                (block, image.rules)
            })
            .collect();
        let old: Vec<_> = self.list.splice(gone, new).collect();
        self.publish()?;
        old.iter().for_each(|(block, _)| self.blocks.retire(*block));
        Ok(())
    }

    /// Stores the list of blocks as a new version, then the word that names it.
    fn publish(&mut self) -> Result<(), AclError> {
        let version = self.versions.take()?;
        let at = self.layout.version(version);
        let blocks: Vec<u32> = self.list.iter().map(|(block, _)| *block).collect();
        cells::put(self.region, at, &[blocks.len() as u32]);
        cells::put(self.region, at + 64, blocks.as_slice());
        cells::publish(self.region.u32(ROOT_AT), version + 1);
        if let Some(old) = self.version.replace(version) {
            self.versions.retire(old);
        }
        Ok(())
    }

    fn store_rule(&mut self, id: u32, rule: &Rule) {
        cells::put(self.region, self.layout.rule(id), &RuleRecord::from(rule));
        self.rules[id as usize] = Some(*rule);
    }

    /// No version names the rule any more, but readers may be in one that did.
    fn forget(&mut self, id: u32, rule: &Rule) {
        self.addresses[0].drop(&rule.src);
        self.addresses[1].drop(&rule.dst);
        self.ports[0].drop(rule.sport);
        self.ports[1].drop(rule.dport);
        self.rules[id as usize] = None;
        self.ids.retire(id);
    }

    fn undo(&mut self, id: u32) {
        let rule = *self.rule(id);
        self.forget(id, &rule);
    }
}

/// Rules that a build puts in a block: some room is left, so that a first change splits none.
const FILL: usize = 480;

//! Taking over after a writer's death: everything it kept in private memory is found again from
//! the published version, the rules it names, and the cells.
//!
//! What no published word reaches was being made, or rested: it rests. Recovering twice, or dying
//! while recovering and recovering again, ends the same, because each store here is one that the
//! dead writer would have made next, or takes back one that nothing had named.

use super::cells::Cells;
use super::classes::{Classes, Prefixes, Protos};
use super::layout::*;
use super::pool::Pool;
use super::ports::Ports;
use super::rule::{Rule, RuleRecord};
use super::trie::{Reached, Trie, TrieWriter};
use super::{Acl, AclError, AclWriter};
use crate::region::Region;
use crate::sync::Ordering;

impl AclWriter {
    /// Takes over a classifier whose writer has died or has handed it over. Readers go on
    /// throughout. What is free is known after the next [`AclWriter::quiesced`].
    pub fn recover(region: Region) -> Result<AclWriter, AclError> {
        let layout = Layout::load(region)?;
        let sizes = layout.sizes;
        let (version, list) = published(region, &layout)?;
        let rules = rules_of(region, &layout, &list)?;
        let mut named = Reached::default();
        let tries = [
            walk(region, &layout, 0, &mut named)?,
            walk(region, &layout, 1, &mut named)?,
        ];
        let [sport, dport] = [0, 1].map(|field| {
            Ports::adopt(
                Cells::narrow(region, layout.ports[field], PORTS),
                sizes.classes,
            )
        });
        let ports = [sport?, dport?];
        let protos = Protos {
            cells: Cells::narrow(region, layout.proto, PROTOS),
        };
        named.classes.extend(
            ports
                .iter()
                .flat_map(|p| p.map.values().map(|used| used.class)),
        );
        named.classes.extend(protos.inside(0, 0));
        let classes = classes(region, &layout, &named)?;
        let addresses = fields(&classes, tries);
        let in_list = |block: u32| list.iter().any(|(other, _)| *other == block);
        let blocks = Pool::new("blocks", sizes.blocks, in_list, true);
        let versions = Pool::new("versions", sizes.versions, |n| version == Some(n), true);
        let ids = Pool::new(
            "rules",
            sizes.rules,
            |id| rules[id as usize].is_some(),
            true,
        );
        let shared = Acl::attach(region)?;
        let mut writer = AclWriter {
            shared,
            region,
            layout,
            rules,
            list,
            addresses,
            ports,
            protos,
            classes,
            blocks,
            versions,
            ids,
            version,
        };
        writer.end_what_was_begun(&named)?;
        Ok(writer)
    }

    fn end_what_was_begun(&mut self, named: &Reached) -> Result<(), AclError> {
        self.classes.live = (0..self.layout.sizes.blocks).collect();
        for rule in self.rules.iter().flatten() {
            self.addresses[0].count(&rule.src)?;
            self.addresses[1].count(&rule.dst)?;
            self.ports[0].count(rule.sport)?;
            self.ports[1].count(rule.dport)?;
        }
        for field in &mut self.addresses {
            field.repair(&mut self.classes, |class| named.classes.contains(&class))?;
        }
        self.ports.iter_mut().for_each(Ports::repair);
        Ok(())
    }
}

type List = Vec<(u32, Vec<u32>)>;

/// The published version, and its blocks with the ids of their rules.
fn published(region: Region, layout: &Layout) -> Result<(Option<u32>, List), AclError> {
    let sizes = layout.sizes;
    let root = region.u32(ROOT_AT).load(Ordering::Acquire);
    let Some(version) = root.checked_sub(1) else {
        return Ok((None, List::new()));
    };
    let at = layout.version(at_most("version", version, sizes.versions - 1)?);
    let word = |at: usize| region.u32(at).load(Ordering::Acquire);
    let blocks = at_most("blocks of a version", word(at), MAX_BLOCKS)?;
    let mut list = List::new();
    for i in 0..blocks as usize {
        let block = at_most("block", word(at + 64 + 4 * i), sizes.blocks - 1)?;
        let at = layout.block(block);
        let rules = at_most("rules of a block", word(at), BLOCK_RULES as u32)?;
        let ids = region.u32s(at + RULES_AT, rules as usize);
        list.push((
            block,
            ids.iter().map(|id| id.load(Ordering::Relaxed)).collect(),
        ));
    }
    Ok((Some(version), list))
}

fn rules_of(region: Region, layout: &Layout, list: &List) -> Result<Vec<Option<Rule>>, AclError> {
    let mut rules = vec![None; layout.sizes.rules as usize];
    for id in list.iter().flat_map(|(_, ids)| ids) {
        let id = at_most("rule", *id, layout.sizes.rules - 1)?;
        let rule = Rule::from(&region.read::<RuleRecord>(layout.rule(id)));
        let twice = rules[id as usize].replace(rule).is_some();
        if twice || rule.check(layout.family).is_err() {
            return Err(AclError::Damaged {
                what: "rule",
                number: id,
            });
        }
    }
    Ok(rules)
}

fn walk(
    region: Region,
    layout: &Layout,
    field: usize,
    named: &mut Reached,
) -> Result<TrieWriter, AclError> {
    let trie = Trie::new(region, layout, field);
    let mut reached = Reached::default();
    reached.walk(&trie, layout.sizes.classes)?;
    let writer = TrieWriter::adopt(trie, &reached);
    named.classes.append(&mut reached.classes);
    Ok(writer)
}

/// A class is in use where a cell names it or its record stands.
fn classes(region: Region, layout: &Layout, named: &Reached) -> Result<Classes, AclError> {
    let none = Pool::new("classes", 0, |_| false, false);
    let mut classes = Classes {
        region,
        layout: *layout,
        pool: none,
        high: 0,
        live: Vec::new(),
    };
    let used: Vec<bool> = (0..layout.sizes.classes)
        .map(|class| {
            class < 2 || named.classes.contains(&class) || classes.recorded(class).is_some()
        })
        .collect();
    if let Some(class) = named.classes.last() {
        at_most("class", *class, layout.sizes.classes - 1)?;
    }
    classes.high = used
        .iter()
        .rposition(|used| *used)
        .map_or(0, |last| last + 1);
    classes.pool = Pool::new(
        "classes",
        layout.sizes.classes,
        |class| used[class as usize],
        true,
    );
    Ok(classes)
}

fn fields(classes: &Classes, tries: [TrieWriter; 2]) -> [Prefixes; 2] {
    let [src, dst] = tries;
    let mut fields = [Prefixes::new(0, 0, src), Prefixes::new(1, 1, dst)];
    for class in ROOTS..classes.high as u32 {
        if let Some((field, prefix)) = classes.recorded(class) {
            fields[field].adopt(prefix, class);
        }
    }
    fields
}

fn at_most(what: &'static str, number: u32, most: u32) -> Result<u32, AclError> {
    if number <= most {
        return Ok(number);
    }
    Err(AclError::Damaged { what, number })
}

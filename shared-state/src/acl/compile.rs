//! A block worked out from its rules alone: which of them each class is accepted by.

use super::classes::Prefixes;
use super::image::{Bits, Image, set};
use super::layout::BLOCK_RULES;
use super::ports::Ports;
use super::writer::AclWriter;

impl AclWriter {
    /// Works out a block from its rules alone.
    pub(super) fn compile(&self, ids: Vec<u32>) -> Image {
        let mut rows: Vec<Bits> = vec![[0; 8]; self.classes.high];
        for (slot, id) in ids.iter().enumerate() {
            let rule = self.rule(*id);
            let mut accept = |class: u32| set(&mut rows[class as usize], slot);
            accept(self.addresses[0].map[&rule.src].class);
            accept(self.addresses[1].map[&rule.dst].class);
            self.protos
                .inside(rule.proto, rule.proto_mask)
                .for_each(&mut accept);
            for (ports, range) in self.ports.iter().zip([rule.sport, rule.dport]) {
                // Marked where it begins and where it ends, and filled in between below.
                let after = ports
                    .map
                    .get(&(u32::from(range.1) + 1))
                    .map(|used| used.class);
                let begin = ports.map[&range.0.into()].class;
                for class in [begin].into_iter().chain(after) {
                    rows[class as usize][slot / 64] ^= 1 << (slot % 64);
                }
            }
        }
        self.addresses
            .iter()
            .for_each(|field| inherit(field, &mut rows));
        self.ports.iter().for_each(|field| fill(field, &mut rows));
        Image::new(ids, rows.into_iter())
    }
}

/// Puts a rule into a block, or into one half of a full one.
pub(super) fn insert(mut image: Image, slot: usize, id: u32, accepted: &[u64]) -> Vec<Image> {
    if image.rules.len() < BLOCK_RULES {
        image.insert(slot, id, accepted);
        return vec![image];
    }
    let (mut better, mut worse) = image.split();
    let half = better.rules.len();
    if slot <= half {
        better.insert(slot, id, accepted);
    } else {
        worse.insert(slot - half, id, accepted);
    }
    vec![better, worse]
}

/// A prefix accepts what the prefixes around it accept.
fn inherit(field: &Prefixes, rows: &mut [Bits]) {
    let mut around: Vec<(u128, u32)> = Vec::new();
    for (prefix, used) in &field.map {
        while around.last().is_some_and(|(last, _)| *last < prefix.addr) {
            around.pop();
        }
        if let Some((_, above)) = around.last() {
            let above = rows[*above as usize];
            let row = &mut rows[used.class as usize];
            row.iter_mut()
                .zip(above)
                .for_each(|(bits, more)| *bits |= more);
        }
        around.push((prefix.last(), used.class));
    }
}

/// A piece accepts what the piece before it does, but for the rules that end or begin there.
fn fill(field: &Ports, rows: &mut [Bits]) {
    let mut open: Bits = [0; 8];
    for used in field.map.values() {
        let row = &mut rows[used.class as usize];
        open.iter_mut()
            .zip(*row)
            .for_each(|(bits, change)| *bits ^= change);
        *row = open;
    }
}

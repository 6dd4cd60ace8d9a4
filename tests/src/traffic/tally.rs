//! What arrived in one direction: exactly, by flow and number.
//!
//! - I1 Every number of every flow has one bit, so a duplicate is a duplicate however late it comes.
//! - I2 A packet is *reordered* if a higher number of its flow arrived before it; a duplicate is never also reordered.
//! - I3 `lost` is judged only against the count of what was sent, after the stream has been drained.

use crate::traffic::report::Arrived;

/// Counts of one direction.
#[derive(Debug, Default)]
pub struct Tally {
    flows: Vec<Flow>,
    arrived: Arrived,
    last_ns: Option<u64>,
}

#[derive(Debug, Default, Clone)]
struct Flow {
    bits: Vec<u64>,
    unique: u64,
    next: u64,
}

impl Tally {
    /// A tally of `flows` flows, all empty.
    pub fn new(flows: usize) -> Tally {
        Tally {
            flows: vec![Flow::default(); flows],
            ..Tally::default()
        }
    }

    /// Counts a packet that arrived at `at_ns`, sent at `sent_ns`.
    pub fn count(&mut self, flow: u32, seq: u64, sent_ns: u64, at_ns: u64) {
        let Some(flow) = self.flows.get_mut(flow as usize).filter(|_| seq < MAX_SEQ) else {
            self.arrived.misdelivered += 1;
            return;
        };
        let (word, bit) = ((seq / 64) as usize, 1 << (seq % 64));
        if flow.bits.len() <= word {
            flow.bits.resize(word + 1, 0);
        }
        if flow.bits[word] & bit != 0 {
            self.arrived.duplicated += 1;
            return;
        }
        flow.bits[word] |= bit;
        flow.unique += 1;
        self.arrived.received += 1;
        if seq < flow.next {
            self.arrived.reordered += 1;
        }
        flow.next = flow.next.max(seq + 1);
        self.time(sent_ns, at_ns);
    }

    /// Counts a packet that reached the wrong address, port or flow.
    pub fn misdelivered(&mut self) {
        self.arrived.misdelivered += 1;
    }

    /// Counts a packet whose checksum was wrong.
    pub fn bad_checksum(&mut self) {
        self.arrived.bad_checksums += 1;
    }

    /// Counts a packet whose checksum was unfinished, and rightly marked so.
    pub fn unfinished(&mut self) {
        self.arrived.unfinished_checksums += 1;
    }

    /// The counts, with what is missing of `sent` (by flow).
    pub fn judge(&self, sent: &[u64]) -> Arrived {
        let mut arrived = self.arrived.clone();
        for (flow, (&sent, got)) in sent.iter().zip(&self.flows).enumerate() {
            let missing = sent.saturating_sub(got.unique);
            arrived.lost += missing;
            if missing > 0 && arrived.losers.len() < NAMED_LOSERS {
                arrived.losers.push((flow as u32, got.first_missing()));
            }
        }
        arrived
    }

    /// Longest time without a packet since the last call.
    pub fn take_gap_ns(&mut self) -> u64 {
        std::mem::take(&mut self.arrived.gap_ns)
    }

    /// Packets received so far, duplicates apart.
    pub fn received(&self) -> u64 {
        self.arrived.received
    }

    fn time(&mut self, sent_ns: u64, at_ns: u64) {
        let gap = self.last_ns.map_or(0, |last| at_ns.saturating_sub(last));
        self.arrived.gap_ns = self.arrived.gap_ns.max(gap);
        self.arrived.gap_max_ns = self.arrived.gap_max_ns.max(gap);
        self.arrived.delay_max_ns = self.arrived.delay_max_ns.max(at_ns.saturating_sub(sent_ns));
        self.arrived.first_ns.get_or_insert(at_ns);
        self.arrived.last_ns = Some(at_ns);
        self.last_ns = Some(at_ns);
    }
}

impl Flow {
    fn first_missing(&self) -> u64 {
        let full = self
            .bits
            .iter()
            .take_while(|&&word| word == u64::MAX)
            .count();
        let rest = self.bits.get(full).copied().unwrap_or(0);
        full as u64 * 64 + u64::from(rest.trailing_ones())
    }
}

/// A number above this is no number of ours: it would make the bitmap of one flow 16 MiB.
const MAX_SEQ: u64 = 1 << 27;
/// How many losing flows the report names.
const NAMED_LOSERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(packets: &[(u32, u64)]) -> Tally {
        let mut tally = Tally::new(2);
        for (at, &(flow, seq)) in packets.iter().enumerate() {
            tally.count(flow, seq, at as u64, 10 * at as u64);
        }
        tally
    }

    #[test]
    fn a_clean_stream_is_clean() {
        let arrived = tally(&[(0, 0), (1, 0), (0, 1), (1, 1)]).judge(&[2, 2]);
        assert_eq!(
            (
                arrived.received,
                arrived.lost,
                arrived.duplicated,
                arrived.reordered
            ),
            (4, 0, 0, 0)
        );
        assert_eq!((arrived.gap_max_ns, arrived.delay_max_ns), (10, 27));
        assert_eq!((arrived.first_ns, arrived.last_ns), (Some(0), Some(30)));
    }

    #[test]
    fn missing_late_and_double_packets_are_told_apart() {
        let arrived = tally(&[(0, 0), (0, 2), (0, 1), (0, 1), (1, 0), (0, 0)]).judge(&[4, 3]);
        assert_eq!((arrived.received, arrived.lost), (4, 3));
        assert_eq!((arrived.duplicated, arrived.reordered), (2, 1));
        assert_eq!(arrived.losers, [(0, 3), (1, 1)]);
    }

    #[test]
    fn a_duplicate_is_found_however_late() {
        let mut tally = Tally::new(1);
        (0..5_000).for_each(|seq| tally.count(0, seq, 0, seq));
        tally.count(0, 3, 0, 6_000);
        let arrived = tally.judge(&[5_000]);
        assert_eq!(
            (arrived.duplicated, arrived.lost, arrived.reordered),
            (1, 0, 0)
        );
    }

    #[test]
    fn unknown_flows_and_absurd_numbers_are_misdelivered() {
        let arrived = tally(&[(2, 0), (0, u64::MAX)]).judge(&[0, 0]);
        assert_eq!((arrived.misdelivered, arrived.received), (2, 0));
    }

    #[test]
    fn the_first_missing_number_is_found_across_words() {
        let mut tally = Tally::new(1);
        (0..200)
            .filter(|&seq| seq != 130)
            .for_each(|seq| tally.count(0, seq, 0, 0));
        assert_eq!(tally.judge(&[200]).losers, [(0, 130)]);
    }

    #[test]
    fn a_gap_is_reported_once() {
        let mut tally = tally(&[(0, 0), (0, 1)]);
        assert_eq!((tally.take_gap_ns(), tally.take_gap_ns()), (10, 0));
        assert_eq!(
            tally.judge(&[2, 0]).gap_max_ns,
            10,
            "the largest of all is kept"
        );
    }
}

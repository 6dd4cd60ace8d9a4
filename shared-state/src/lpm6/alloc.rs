//! Free lines of the pool, in the writer's private memory: a successor finds them by marking.

use std::collections::VecDeque;

use crate::rcu::Qsbr;

/// Longer runs of free lines than this are kept apart, to be cut from.
const LISTED: usize = 64;

/// Which lines are free, and which rest until no reader can be in them.
#[derive(Debug)]
pub(super) struct Lines {
    lists: Vec<Vec<u32>>,
    long: Vec<(u32, u32)>,
    resting: VecDeque<(u64, u32, u32)>,
    free: u32,
}

impl Lines {
    pub(super) fn new() -> Lines {
        Lines {
            lists: vec![Vec::new(); LISTED],
            long: Vec::new(),
            resting: VecDeque::new(),
            free: 0,
        }
    }

    /// Adds lines that nobody reads.
    pub(super) fn add(&mut self, first: u32, count: u32) {
        self.free += count;
        match self.lists.get_mut(count as usize) {
            Some(list) => list.push(first),
            None => self.long.push((first, count)),
        }
    }

    /// Adds lines that readers may still be in.
    pub(super) fn rest(&mut self, token: u64, first: u32, count: u32) {
        self.resting.push_back((token, first, count));
    }

    /// Takes `count` lines in a row.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        self.cut(count).or_else(|| {
            self.join();
            self.cut(count)
        })
    }

    pub(super) fn free(&self) -> u32 {
        self.free
    }

    pub(super) fn resting(&self) -> u32 {
        self.resting.iter().map(|(_, _, count)| count).sum()
    }

    /// Gives a token to all that rest without a usable one.
    pub(super) fn restart(&mut self, token: u64) {
        self.resting.iter_mut().for_each(|(of, ..)| *of = token);
    }

    pub(super) fn reclaim(&mut self, qsbr: &Qsbr, mut is_dead: impl FnMut(u16) -> bool) {
        while let Some((token, first, count)) = self.resting.front().copied()
            && qsbr.check(token, &mut is_dead)
        {
            self.add(first, count);
            self.resting.pop_front();
        }
    }

    pub(super) fn quiesced(&mut self) {
        for (_, first, count) in std::mem::take(&mut self.resting) {
            self.add(first, count);
        }
    }

    fn cut(&mut self, count: u32) -> Option<u32> {
        let n = count as usize;
        if let Some(first) = self.lists.get_mut(n).and_then(Vec::pop) {
            self.free -= count;
            return Some(first);
        }
        if let Some(at) = self.long.iter().rposition(|(_, len)| *len >= count) {
            let (first, len) = self.long.swap_remove(at);
            self.free -= len;
            self.give_back(first + count, len - count);
            return Some(first);
        }
        let longer = (n + 1..LISTED).find(|n| !self.lists[*n].is_empty())?;
        let first = self.lists[longer].pop()?;
        self.free -= longer as u32;
        self.give_back(first + count, longer as u32 - count);
        Some(first)
    }

    fn give_back(&mut self, first: u32, count: u32) {
        if count > 0 {
            self.add(first, count);
        }
    }

    /// Joins neighbours: after long churn free lines lie in pieces of the sizes nodes had.
    fn join(&mut self) {
        let mut all = std::mem::take(&mut self.long);
        for (count, list) in self.lists.iter_mut().enumerate() {
            all.extend(list.drain(..).map(|first| (first, count as u32)));
        }
        all.sort_unstable();
        self.free = 0;
        let mut open: Option<(u32, u32)> = None;
        for (first, count) in all {
            match &mut open {
                Some((from, len)) if *from + *len == first => *len += count,
                _ => {
                    if let Some((from, len)) = open.replace((first, count)) {
                        self.add(from, len);
                    }
                }
            }
        }
        if let Some((from, len)) = open {
            self.add(from, len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_given_twice_and_pieces_join_again() {
        let mut lines = Lines::new();
        lines.add(0, 1000);
        let mut taken: Vec<(u32, u32)> = (0..)
            .map(|i| 1 + i % 7)
            .map_while(|n| lines.take(n).map(|first| (first, n)))
            .collect();
        taken.sort_unstable();
        assert!(taken.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0));
        let sum: u32 = taken.iter().map(|(_, n)| n).sum();
        assert_eq!(sum + lines.free(), 1000);
        taken
            .into_iter()
            .for_each(|(first, n)| lines.rest(0, first, n));
        assert_eq!((lines.resting(), lines.take(50)), (sum, None));
        lines.quiesced();
        assert_eq!(lines.take(999), Some(0));
        assert_eq!(lines.free(), 1);
    }
}

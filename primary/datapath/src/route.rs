//! What: static routes as disjoint address ranges, for a table of tens of routes that is made
//! once from the config.
//!
//! Layout: `starts[i]..starts[i + 1]` all go to `hops[i]`; a lookup is one binary search over a
//! few cache lines. Tables of a full Internet's size belong into the shared DIR-24-8.

use std::net::Ipv4Addr;

/// Longest-prefix match over static routes; `T` says where a match goes.
#[derive(Clone, Debug, Default)]
pub struct RouteTable<T> {
    starts: Vec<u32>,
    hops: Vec<Option<T>>,
}

impl<T: Copy> RouteTable<T> {
    /// Builds the table from (prefix, length, target). Of two routes with the same prefix and
    /// length the later one counts; lengths above 32 count as 32.
    #[must_use]
    pub fn new(routes: &[(Ipv4Addr, u8, T)]) -> RouteTable<T> {
        let mut sorted: Vec<(u32, u32, u8, T)> = routes
            .iter()
            .map(|&(prefix, len, hop)| {
                let (first, last) = range(prefix, len);
                (first, last, len, hop)
            })
            .collect();
        sorted.sort_by_key(|route| route.2); // stable: a later equal route paints over
        let mut starts: Vec<u32> = vec![0];
        for &(first, last, ..) in &sorted {
            starts.push(first);
            starts.extend(last.checked_add(1));
        }
        starts.sort_unstable();
        starts.dedup();
        let longest = |start: &u32| {
            let covers = |route: &&(u32, u32, u8, T)| (route.0..=route.1).contains(start);
            sorted.iter().rev().find(covers).map(|route| route.3)
        };
        let hops = starts.iter().map(longest).collect();
        RouteTable { starts, hops }
    }

    /// The target of the longest prefix that covers `address`.
    #[inline]
    #[must_use]
    pub fn lookup(&self, address: Ipv4Addr) -> Option<T> {
        let address = u32::from(address);
        let after = self.starts.partition_point(|&start| start <= address);
        *self.hops.get(after.checked_sub(1)?)?
    }
}

fn range(prefix: Ipv4Addr, len: u8) -> (u32, u32) {
    let host = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
    let first = u32::from(prefix) & !host;
    (first, first | host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let table = RouteTable::new(&[
            (ip("10.1.2.0"), 24, 3),
            (ip("0.0.0.0"), 0, 1),
            (ip("10.0.0.0"), 8, 2),
            (ip("10.1.2.9"), 32, 4),
        ]);
        assert_eq!(table.lookup(ip("10.1.2.9")), Some(4));
        assert_eq!(table.lookup(ip("10.1.2.10")), Some(3));
        assert_eq!(table.lookup(ip("10.255.255.255")), Some(2));
        assert_eq!(table.lookup(ip("11.0.0.0")), Some(1));
        assert_eq!(table.lookup(ip("255.255.255.255")), Some(1));
    }

    #[test]
    fn without_a_default_there_is_no_route() {
        let table = RouteTable::new(&[(ip("10.0.0.0"), 8, 2)]);
        assert_eq!(table.lookup(ip("9.255.255.255")), None);
        assert_eq!(table.lookup(ip("11.0.0.0")), None);
        assert_eq!(RouteTable::<u8>::new(&[]).lookup(ip("1.1.1.1")), None);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_linear_search(
            routes in prop::collection::vec((any::<u32>(), 0u8..=32), 0..20),
            address in any::<u32>(),
        ) {
            let routes: Vec<(Ipv4Addr, u8, usize)> = routes
                .iter()
                .enumerate()
                .map(|(i, &(p, len))| (Ipv4Addr::from(p), len, i))
                .collect();
            let mut best: Option<(u8, usize)> = None;
            for &(prefix, len, i) in &routes {
                let (first, last) = range(prefix, len);
                let covers = (first..=last).contains(&address);
                if covers && best.is_none_or(|(longest, _)| len >= longest) {
                    best = Some((len, i));
                }
            }
            let table = RouteTable::new(&routes);
            prop_assert_eq!(table.lookup(Ipv4Addr::from(address)), best.map(|b| b.1));
        }
    }
}

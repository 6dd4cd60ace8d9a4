//! Pools by NUMA node: one for each, in ranges of one `meta` and one `data` segment.
//!
//! Layout: for each node, in the order of the list, [`Pool::meta_bytes`] and [`Pool::data_bytes`], both rounded up to 2 MiB so that no
//! page is of two pools. The list, the count and the chunk are the config's: nothing of it is stored here.
//!
//! Order and Failure: each pool's own. An index of one pool means nothing in another.

use std::path::Path;

use super::{Pool, PoolError};
use crate::limits::HUGE_PAGE;
use crate::region::Region;
use crate::sys::node;

/// The pools of an arena, a node each.
#[derive(Debug)]
pub struct Sockets {
    pools: Vec<(u32, Pool)>,
    unbound: Vec<u32>,
}

impl Sockets {
    /// Bytes of metadata and of data that `count` buffers for each of `nodes` take.
    pub const fn bytes_for(count: u32, chunk: u32, nodes: usize) -> (usize, usize) {
        let (meta, data) = one(count, chunk);
        (nodes * meta, nodes * data)
    }

    /// Makes a pool of `count` buffers for each node, in zeroed segments that nobody has touched. With more than one
    /// node, the pages of each are asked for there.
    ///
    /// # Errors
    /// As [`Pool::create`]; nothing that was made until then is used.
    pub fn create(
        meta: Region,
        data: Region,
        chunk: u32,
        count: u32,
        nodes: &[u32],
    ) -> Result<Sockets, PoolError> {
        let mut unbound = Vec::new();
        let pools = each(meta, data, chunk, count, nodes, |node, meta, data| {
            let bound = nodes.len() < 2
                || node::prefer_node(&data, node).is_ok() && node::prefer_node(&meta, node).is_ok();
            if !bound {
                unbound.push(node);
            }
            Pool::create_with(meta, data, chunk, count)
        })?;
        Ok(Sockets { pools, unbound })
    }

    /// Opens what another process made of the same count, chunk and nodes; stores nothing.
    ///
    /// # Errors
    /// As [`Pool::attach`].
    pub fn attach(
        meta: Region,
        data: Region,
        chunk: u32,
        count: u32,
        nodes: &[u32],
    ) -> Result<Sockets, PoolError> {
        let unbound = Vec::new();
        let pools = each(meta, data, chunk, count, nodes, |_, meta, data| {
            Pool::attach(meta, data)
        })?;
        Ok(Sockets { pools, unbound })
    }

    /// The pool of a node; the first one for a node that has none.
    pub fn for_socket(&self, node: u32) -> Option<Pool> {
        let own = self.pools.iter().find(|(other, _)| *other == node);
        own.or(self.pools.first()).map(|(_, pool)| *pool)
    }

    /// The pool of the node that a CPU belongs to, by [`node::SYSTEM`] or a directory like it.
    pub fn for_cpu(&self, cpu: usize, system: &Path) -> Option<Pool> {
        self.for_socket(node::node_of_cpu(system, cpu).unwrap_or(0))
    }

    /// Every pool, with its node.
    pub fn all(&self) -> impl Iterator<Item = (u32, Pool)> + use<'_> {
        self.pools.iter().copied()
    }

    /// Nodes whose pages the kernel did not promise: theirs are where they are touched first.
    pub fn unbound(&self) -> &[u32] {
        &self.unbound
    }
}

const fn one(count: u32, chunk: u32) -> (usize, usize) {
    let page = HUGE_PAGE as usize;
    let (meta, data) = (Pool::meta_bytes(count), Pool::data_bytes(count, chunk));
    (meta.next_multiple_of(page), data.next_multiple_of(page))
}

fn each(
    meta: Region,
    data: Region,
    chunk: u32,
    count: u32,
    nodes: &[u32],
    mut make: impl FnMut(u32, Region, Region) -> Result<Pool, PoolError>,
) -> Result<Vec<(u32, Pool)>, PoolError> {
    let (meta_len, data_len) = one(count, chunk);
    let pool = |(i, node): (usize, &u32)| {
        let meta = meta.slice(i * meta_len, meta_len)?;
        let data = data.slice(i * data_len, data_len)?;
        make(*node, meta, data).map(|pool| (*node, pool))
    };
    nodes.iter().enumerate().map(pool).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Audit;

    #[test]
    fn each_cpu_allocates_from_its_own_node() {
        let system = tempfile::tempdir().unwrap();
        for (cpu, node) in [(0, 0), (1, 1), (2, 7)] {
            let path = system.path().join(format!("cpu/cpu{cpu}/node{node}"));
            std::fs::create_dir_all(path).unwrap();
        }
        let (meta, data) = Sockets::bytes_for(100, 2048, 2);
        let (meta, data) = (Region::private(meta), Region::private(data));
        let made = Sockets::create(meta, data, 2048, 100, &[0, 1]).unwrap();
        let [first, second] = [0, 1].map(|cpu| made.for_cpu(cpu, system.path()).unwrap());
        assert!(!first.is(second) && first.count() == 100);
        // A node without a pool, and a CPU nobody knows.
        assert!(
            [2, 3]
                .iter()
                .all(|cpu| made.for_cpu(*cpu, system.path()).unwrap().is(first))
        );
        let m = second.cache(0).alloc().unwrap().into_raw();
        assert!(Audit::new(first).finish().is_exact());
        let found = Sockets::attach(meta, data, 2048, 100, &[0, 1]).unwrap();
        let pool = found.for_socket(1).unwrap();
        let missing = Audit::new(pool).finish().unaccounted;
        assert_eq!(missing.iter().map(|(m, _)| *m).collect::<Vec<_>>(), [m]);
        assert_eq!(found.all().count(), 2);
    }

    #[test]
    fn a_machine_of_one_node_has_one_pool_and_binds_nothing() {
        let (meta, data) = Sockets::bytes_for(64, 2048, 1);
        let (meta, data) = (Region::private(meta), Region::private(data));
        let made = Sockets::create(meta, data, 2048, 64, &[0]).unwrap();
        assert_eq!((made.all().count(), made.unbound().len()), (1, 0));
        assert!(
            Sockets::create(meta, data, 2048, 64, &[0, 1]).is_err(),
            "no room for two"
        );
        assert!(
            Sockets::create(meta, data, 2048, 64, &[])
                .unwrap()
                .for_socket(0)
                .is_none()
        );
    }
}

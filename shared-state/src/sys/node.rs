//! NUMA nodes: which a CPU belongs to, and where the pages of a mapping come from.

use std::io;
use std::path::Path;

use crate::region::Region;
use crate::sys::checked;

/// Where sysfs says what the machine is made of.
pub const SYSTEM: &str = "/sys/devices/system";

/// The node of a CPU, by the directory of [`SYSTEM`] or one like it; `None` on a kernel without nodes.
pub fn node_of_cpu(system: &Path, cpu: usize) -> Option<u32> {
    let entries = std::fs::read_dir(system.join(format!("cpu/cpu{cpu}"))).ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix("node")?.parse().ok()
    })
}

/// The nodes that are online, in order; node 0 alone on a kernel without nodes.
pub fn online_nodes(system: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(system.join("node/online")).unwrap_or_default();
    let ranges = text.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    let nodes: Vec<u32> = ranges.flatten().take(MOST_NODES as usize).collect();
    if nodes.is_empty() { vec![0] } else { nodes }
}

/// Nodes that a mask here has bits for (`CONFIG_NODES_SHIFT` is 10 at most).
const MOST_NODES: u32 = 1024;
/// `MPOL_PREFERRED` of `linux/mempolicy.h`.
const PREFERRED: libc::c_long = 1;

/// Asks for pages of a node, where it has some, when bytes of the region are touched first; the region starts on a
/// page. For a mapped file this holds for all processes.
///
/// # Errors
/// The kernel's: there is no such node, or no `mbind`.
pub fn prefer_node(region: &Region, node: u32) -> io::Result<()> {
    let mut mask = [0u64; MOST_NODES as usize / 64];
    let word = mask.get_mut(node as usize / 64);
    *word.ok_or(io::ErrorKind::InvalidInput)? |= 1 << (node % 64);
    // SAFETY: says where pages come from and touches none; the mask has so many bits, and one more is counted as the
    // kernel wants it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            region.as_ptr(),
            region.len(),
            PREFERRED,
            mask.as_ptr(),
            u64::from(MOST_NODES) + 1,
            0,
        )
    };
    checked(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_of_a_machine_of_two_sockets_are_read() {
        let root = tempfile::tempdir().unwrap();
        for (cpu, node) in [(0, 0), (1, 1), (2, 1)] {
            let path = root.path().join(format!("cpu/cpu{cpu}/node{node}"));
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::create_dir_all(root.path().join("cpu/cpu3/topology")).unwrap();
        std::fs::create_dir_all(root.path().join("node")).unwrap();
        std::fs::write(root.path().join("node/online"), "0-1,4\n").unwrap();
        let nodes = [0, 1, 2, 3, 9].map(|cpu| node_of_cpu(root.path(), cpu));
        assert_eq!(nodes, [Some(0), Some(1), Some(1), None, None]);
        assert_eq!(online_nodes(root.path()), [0, 1, 4]);
        assert_eq!(online_nodes(Path::new("/nowhere")), [0]);
    }

    #[test]
    fn this_machine_has_a_node_or_says_that_it_has_none() {
        let region = Region::private(1 << 20);
        let node = online_nodes(Path::new(SYSTEM))[0];
        if let Err(error) = prefer_node(&region, node) {
            // A kernel without NUMA, or a sandbox without the call.
            let code = error.raw_os_error();
            assert!(matches!(code, Some(libc::ENOSYS | libc::EPERM)), "{error}");
        }
        region.touch();
        assert!(prefer_node(&region, MOST_NODES).is_err());
    }
}

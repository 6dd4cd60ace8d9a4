//! Link-layer addresses: an interface's own, and its neighbour's.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use super::{SocketError, failed};
use crate::traffic::frame::Mac;

/// The link-layer address of `interface`.
pub fn mac_of(interface: &str) -> Result<Mac, SocketError> {
    let addresses =
        nix::ifaddrs::getifaddrs().map_err(|e| failed(interface, "getifaddrs")(e.into()))?;
    addresses
        .filter(|a| a.interface_name == interface)
        .find_map(|a| a.address?.as_link_addr()?.addr())
        .ok_or_else(|| SocketError::NoMac {
            interface: interface.into(),
        })
}

/// The link-layer address of a neighbour: asks the kernel to send to it and reads its ARP table.
pub fn neighbour(interface: &str, address: Ipv4Addr, wait: Duration) -> Result<Mac, SocketError> {
    let ask = || {
        UdpSocket::bind("0.0.0.0:0")?
            .send_to(&[0], (address, 9))
            .map(drop)
    };
    let started = Instant::now();
    while started.elapsed() < wait {
        let _ = ask(); // "no route" passes as soon as the interface is up
        let table = std::fs::read_to_string("/proc/thread-self/net/arp");
        let table = table.map_err(failed(interface, "/proc/thread-self/net/arp"))?;
        if let Some(mac) = table.lines().find_map(|line| arp_entry(line, address)) {
            return Ok(mac);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(SocketError::NoNeighbour {
        interface: interface.into(),
        address,
        waited: wait,
    })
}

/// `10.0.0.1  0x1  0x2  02:00:00:00:00:01  *  c0`; the third column has bit 2 once the entry is complete.
fn arp_entry(line: &str, address: Ipv4Addr) -> Option<Mac> {
    let mut columns = line.split_whitespace();
    let same = columns.next()?.parse() == Ok(address);
    let flags = columns.nth(1)?.strip_prefix("0x")?;
    let complete = u32::from_str_radix(flags, 16).ok()? & 2 != 0;
    let mut mac = Mac::default();
    let parts: Vec<&str> = columns.next()?.split(':').collect();
    for (byte, part) in mac.iter_mut().zip(&parts) {
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    (same && complete && parts.len() == mac.len()).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_arp_entry_is_read_and_an_incomplete_one_is_not() {
        let address = Ipv4Addr::new(10, 0, 0, 1);
        let line = "10.0.0.1         0x1         0x2         02:ab:00:00:00:01     *        c0";
        assert_eq!(arp_entry(line, address), Some([2, 0xab, 0, 0, 0, 1]));
        assert_eq!(arp_entry(line, Ipv4Addr::new(10, 0, 0, 2)), None);
        assert_eq!(arp_entry(&line.replace("0x2", "0x0"), address), None);
        assert_eq!(
            arp_entry("IP address       HW type     Flags", address),
            None
        );
    }

    #[test]
    fn a_missing_interface_is_named() {
        let error = mac_of("baton-none0")
            .expect_err("no such interface")
            .to_string();
        assert!(error.starts_with("baton-none0: "), "{error}");
    }
}

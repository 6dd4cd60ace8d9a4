//! What a port is asked to be: DPDK's `vdev` strings, read strictly.
//!
//! ```text
//! net_af_xdp0,iface=ens5f0,queue_count=2,start_queue=0,mode=native
//! net_af_packet0,iface=ens5f0,qpairs=2      net_tap0,iface=tap0,queues=2
//! net_ring0    net_pcap0,rx_pcap=in.pcap,tx_pcap=out.pcap    net_null0,size=64
//! ```
//!
//! An unknown driver, an unknown, missing or doubled key, or a value out of range is an error that
//! names it; nothing is guessed.

use std::collections::BTreeMap;

use crate::error::SpecError;

/// Queues a port may have at most.
pub const MAX_QUEUES: u16 = 62;

/// Receive and transmit descriptors of a queue that does not say how many.
pub const DEFAULT_RING: u32 = 2048;

/// The drivers of this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Driver {
    /// AF_XDP sockets.
    AfXdp,
    /// Packet sockets with TPACKET_V2 rings.
    AfPacket,
    /// A TAP interface.
    Tap,
    /// Two rings in shared memory.
    Ring,
    /// Capture files.
    Pcap,
    /// Packets from a template; what is sent is freed.
    Null,
}

/// A key of a driver: its name and whether it must be there (with an example value).
type Key = (&'static str, Option<&'static str>);

impl Driver {
    /// Every driver, in the order in which errors list them.
    pub const ALL: [Driver; 6] = [
        Driver::AfXdp,
        Driver::AfPacket,
        Driver::Tap,
        Driver::Ring,
        Driver::Pcap,
        Driver::Null,
    ];

    /// The name in vdev strings, without the number.
    pub fn name(self) -> &'static str {
        match self {
            Driver::AfXdp => "net_af_xdp",
            Driver::AfPacket => "net_af_packet",
            Driver::Tap => "net_tap",
            Driver::Ring => "net_ring",
            Driver::Pcap => "net_pcap",
            Driver::Null => "net_null",
        }
    }

    fn keys(self) -> &'static [Key] {
        match self {
            Driver::AfXdp => &[
                ("iface", Some("eth0")),
                ("queue_count", None),
                ("start_queue", None),
                ("mode", None),
                ("force_copy", None),
            ],
            Driver::AfPacket => &[
                ("iface", Some("eth0")),
                ("qpairs", None),
                ("qdisc_bypass", None),
            ],
            Driver::Tap => &[("iface", Some("tap0")), ("queues", None), ("mac", None)],
            Driver::Ring => &[("queues", None), ("mac", None)],
            Driver::Pcap => &[
                ("rx_pcap", None),
                ("tx_pcap", None),
                ("infinite_rx", None),
                ("mac", None),
            ],
            Driver::Null => &[
                ("size", None),
                ("queues", None),
                ("no-rx", None),
                ("template", None),
                ("flows", None),
                ("spread", None),
                ("mac", None),
            ],
        }
    }

    fn queues_key(self) -> &'static str {
        match self {
            Driver::AfXdp => "queue_count",
            Driver::AfPacket => "qpairs",
            _ => "queues",
        }
    }
}

/// One port as the config asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// The name in the config; the device's name (`net_tap0`) until [`PortSpec::named`].
    pub name: String,
    /// The port's number, which its packets carry.
    pub id: u16,
    /// The driver.
    pub driver: Driver,
    /// The kernel interface, for the drivers that have one.
    pub iface: Option<String>,
    /// Queues, one per shard.
    pub queues: u16,
    /// The first hardware queue (AF_XDP).
    pub start_queue: u16,
    /// Entries of each receive ring.
    pub rxd: u32,
    /// Entries of each transmit ring.
    pub txd: u32,
    /// The remaining keys of the vdev string.
    pub params: BTreeMap<String, String>,
}

impl PortSpec {
    /// Reads a DPDK vdev string.
    ///
    /// # Errors
    /// [`SpecError`] names the driver, key or value that cannot be used.
    pub fn parse_vdev(vdev: &str) -> Result<PortSpec, SpecError> {
        let mut parts = vdev.split(',');
        let device = parts.next().unwrap_or_default().trim();
        let driver = driver_of(device).ok_or_else(|| SpecError::UnknownDriver {
            vdev: vdev.to_owned(),
            found: device.to_owned(),
            known: Driver::ALL.map(Driver::name).join(", "),
        })?;
        let mut params = pairs(vdev, driver, parts)?;
        for (key, example) in driver.keys() {
            if let (Some(example), false) = (example, params.contains_key(*key)) {
                return Err(SpecError::MissingKey {
                    vdev: vdev.to_owned(),
                    key,
                    example,
                });
            }
        }
        let queues = number(vdev, &mut params, driver.queues_key(), 1, 1..=MAX_QUEUES)?;
        let start_queue = number(vdev, &mut params, "start_queue", 0, 0..=1023)?;
        let iface = params.remove("iface");
        if let Some(iface) = &iface {
            check_iface(vdev, iface)?;
        }
        check_values(vdev, driver, &params)?;
        Ok(PortSpec {
            name: device.to_owned(),
            id: 0,
            driver,
            iface,
            queues,
            start_queue,
            rxd: DEFAULT_RING,
            txd: DEFAULT_RING,
            params,
        })
    }

    /// The same port under the config's name and number.
    pub fn named(mut self, name: &str, id: u16) -> PortSpec {
        self.name = name.to_owned();
        self.id = id;
        self
    }

    /// The same port with rings of these sizes.
    ///
    /// # Errors
    /// When a size is no power of two from 64 to 32,768.
    pub fn with_rings(mut self, rxd: u32, txd: u32) -> Result<PortSpec, SpecError> {
        for (key, value) in [("rxd", rxd), ("txd", txd)] {
            if !value.is_power_of_two() || !(64..=32_768).contains(&value) {
                return Err(SpecError::BadValue {
                    vdev: self.name.clone(),
                    key: key.to_owned(),
                    value: value.to_string(),
                    expected: "a power of two from 64 to 32768".to_owned(),
                });
            }
        }
        self.rxd = rxd;
        self.txd = txd;
        Ok(self)
    }

    /// The value of a key, if it was given.
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params.get(key).map(String::as_str)
    }

    /// Whether a switch (`key=1`) is on.
    pub fn switch(&self, key: &str) -> bool {
        self.param(key) == Some("1")
    }

    /// The interface, or the port's name where there is none: what errors name.
    pub fn place(&self) -> &str {
        self.iface.as_deref().unwrap_or(&self.name)
    }
}

/// Reads `02:00:00:00:00:01`.
pub fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next().filter(|part| part.len() == 2)?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// Reads an even number of hexadecimal digits.
pub(crate) fn parse_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

fn driver_of(device: &str) -> Option<Driver> {
    Driver::ALL.into_iter().find(|driver| {
        device.strip_prefix(driver.name()).is_some_and(|number| {
            !number.is_empty() && number.len() <= 4 && number.bytes().all(|b| b.is_ascii_digit())
        })
    })
}

fn pairs<'a>(
    vdev: &str,
    driver: Driver,
    parts: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, String>, SpecError> {
    let mut found = BTreeMap::new();
    for part in parts {
        let (key, value) = part
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, value)| !key.is_empty() && !value.is_empty())
            .ok_or_else(|| SpecError::NotKeyValue {
                vdev: vdev.to_owned(),
                part: part.to_owned(),
            })?;
        if !driver.keys().iter().any(|(known, _)| *known == key) {
            let known: Vec<&str> = driver.keys().iter().map(|(key, _)| *key).collect();
            return Err(SpecError::UnknownKey {
                vdev: vdev.to_owned(),
                driver: driver.name(),
                key: key.to_owned(),
                known: known.join(", "),
            });
        }
        if found.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(SpecError::DuplicateKey {
                vdev: vdev.to_owned(),
                key: key.to_owned(),
            });
        }
    }
    Ok(found)
}

fn number(
    vdev: &str,
    params: &mut BTreeMap<String, String>,
    key: &str,
    default: u16,
    range: std::ops::RangeInclusive<u16>,
) -> Result<u16, SpecError> {
    let Some(text) = params.remove(key) else {
        return Ok(default);
    };
    text.parse()
        .ok()
        .filter(|value| range.contains(value))
        .ok_or_else(|| {
            let expected = format!("a number from {} to {}", range.start(), range.end());
            bad(vdev, key, &text, &expected)
        })
}

/// The kernel's rules for interface names (`dev_valid_name`).
fn check_iface(vdev: &str, iface: &str) -> Result<(), SpecError> {
    let fine = iface.len() < libc::IFNAMSIZ
        && iface != "."
        && iface != ".."
        && iface
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
    if fine {
        Ok(())
    } else {
        Err(bad(
            vdev,
            "iface",
            iface,
            "an interface name of 1 to 15 characters",
        ))
    }
}

fn check_values(
    vdev: &str,
    driver: Driver,
    params: &BTreeMap<String, String>,
) -> Result<(), SpecError> {
    for (key, value) in params {
        let (fine, expected) = match key.as_str() {
            "force_copy" | "qdisc_bypass" | "infinite_rx" | "no-rx" | "spread" => {
                (value == "0" || value == "1", "0 or 1")
            }
            "mode" => (
                ["auto", "native", "generic"].contains(&value.as_str()),
                "auto, native or generic",
            ),
            "mac" => (
                parse_mac(value).is_some_and(|mac| mac[0] & 1 == 0 && mac != [0; 6]),
                "a unicast Ethernet address as 02:00:00:00:00:01",
            ),
            "size" => (
                value.parse::<u16>().is_ok_and(|n| (14..=1514).contains(&n)),
                "a number of bytes from 14 to 1514",
            ),
            "flows" => (
                value
                    .parse::<u32>()
                    .is_ok_and(|n| (1..=1 << 24).contains(&n)),
                "a number of flows from 1 to 16777216",
            ),
            "template" => (
                parse_hex(value).is_some_and(|b| (14..=1514).contains(&b.len())),
                "a frame of 14 to 1514 bytes in hexadecimal digits",
            ),
            _ => continue,
        };
        if !fine {
            return Err(bad(vdev, key, value, expected));
        }
    }
    if driver == Driver::Pcap && !params.contains_key("rx_pcap") && !params.contains_key("tx_pcap")
    {
        return Err(SpecError::MissingKey {
            vdev: vdev.to_owned(),
            key: "rx_pcap",
            example: "in.pcap (or tx_pcap=out.pcap)",
        });
    }
    Ok(())
}

fn bad(vdev: &str, key: &str, value: &str, expected: &str) -> SpecError {
    SpecError::BadValue {
        vdev: vdev.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests;

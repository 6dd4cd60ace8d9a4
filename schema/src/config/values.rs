//! Values of the config that are written as text and mean something. Their mistakes say what was
//! expected and found; the key in front is [`super::Document`]'s.

use super::MOST_LCORES;
use core::fmt;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;

/// A file-prefix that can name files and sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub String);

impl Prefix {
    /// Whether `text` may name an instance.
    pub fn is_valid(text: &str) -> bool {
        (1..=31).contains(&text.len())
            && !text.starts_with('-')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Prefix, String> {
        match Prefix::is_valid(text) {
            true => Ok(Prefix(text.to_owned())),
            false => Err(format!(
                "expected 1 to 31 letters, digits, '_' or '-', and not '-' first, found {text:?}"
            )),
        }
    }
}

/// CPUs as DPDK lists them: `1-2`, `2,4`, `1,1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lcores(pub Vec<u16>);

impl FromStr for Lcores {
    type Err = String;

    fn from_str(text: &str) -> Result<Lcores, String> {
        let mut cpus = Vec::new();
        for part in text.split(',').map(str::trim) {
            let bad = || format!("expected CPUs as \"1-2\", \"2,4\" or \"1,1\", found {text:?}");
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: u16 = first.trim().parse().map_err(|_| bad())?;
            let last: u16 = last.trim().parse().map_err(|_| bad())?;
            if last < first {
                return Err(bad());
            }
            if cpus.len() + usize::from(last - first) >= MOST_LCORES {
                return Err(format!(
                    "expected at most {MOST_LCORES} CPUs, found more in {text:?}; `shards` puts several shards on one"
                ));
            }
            cpus.extend(first..=last);
        }
        Ok(Lcores(cpus))
    }
}

/// MB per NUMA socket: `"1024"` or `"1024,0"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketMem(pub Vec<u32>);

impl SocketMem {
    /// All sockets together.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|mb| u64::from(*mb) << 20).sum()
    }
}

impl FromStr for SocketMem {
    type Err = String;

    fn from_str(text: &str) -> Result<SocketMem, String> {
        let all = text.split(',').map(|part| part.trim().parse::<u32>());
        all.collect::<Result<_, _>>().map(SocketMem).map_err(|_| {
            format!("expected MB per NUMA socket as \"1024\" or \"1024,0\", found {text:?}")
        })
    }
}

/// An address with the length of its network's prefix, `10.0.0.1/16`; a bare address is alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// The prefix's length.
    pub len: u8,
}

impl Network {
    /// What the address is in the network of that length, if it is none that a host can have.
    pub fn no_host(&self) -> Option<&'static str> {
        match self.address {
            address if address.is_unspecified() => Some("which stands for none"),
            address if address.is_multicast() => Some("which is a group"),
            address if address.is_loopback() => Some("which is each host's own"),
            IpAddr::V4(address) if address.is_broadcast() => Some("which is everybody"),
            // RFC 3021: a network of 31 bits is its two hosts.
            IpAddr::V4(address) if self.len < 31 => {
                let hosts = u32::MAX >> self.len;
                match u32::from(address) & hosts {
                    0 => Some("which is the network itself"),
                    all if all == hosts => Some("which is everybody in the network"),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let bad = || {
            format!(
                "expected an address and the length of its network's prefix as \"10.0.0.1/24\", found {text:?}"
            )
        };
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let len = match len {
            Some(len) => len.parse().map_err(|_| bad())?,
            None => most,
        };
        if len > most {
            return Err(format!(
                "expected a prefix length of 0 to {most}, found {text:?}"
            ));
        }
        Ok(Network { address, len })
    }
}

/// An address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub IpAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let bad = |_| format!("expected an address as \"192.0.2.1\", found {text:?}");
        text.parse().map(Address).map_err(bad)
    }
}

/// Reads text by a value's own parser, inside the deserializer: it then knows the place of a mistake,
/// also within an array.
///
/// # Errors
/// The parser's sentence, or that no text was found.
pub fn from_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(Text(PhantomData))
}

struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! read_from_text {
    ($($value:ty)*) => {$(
        impl<'de> Deserialize<'de> for $value {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$value, D::Error> {
                from_text(deserializer)
            }
        }
    )*};
}

read_from_text!(Prefix Lcores SocketMem Network Address);

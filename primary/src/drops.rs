//! What: every reason for which the gateway drops a packet, each a named counter.

use baton::prelude::Reason;
use baton_datapath::Refused;

/// Why a packet was dropped. The names, in snake case, are what operators see: they never change
/// their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Reason)]
pub enum Drop {
    /// Neither IPv4 nor ARP.
    NotIp,
    /// IPv6 is not built.
    Ipv6NotBuilt,
    /// VLAN tags are not built.
    VlanNotBuilt,
    /// Fragments are not built.
    FragmentNotBuilt,
    /// Truncated, or its lengths contradict each other.
    BadHeader,
    /// The IPv4 header's checksum is wrong.
    BadChecksum,
    /// Its Ethernet destination is another station, or a group.
    NotForUs,
    /// Its source is no host's address, or one of ours.
    BadSource,
    /// Its time to live ran out; the sender was told.
    TtlExpired,
    /// No route leads to its destination.
    NoRoute,
    /// Longer than the next link carries.
    TooBig,
    /// The next hop's Ethernet address is being asked for.
    NeighbourPending,
    /// No address and port of the pool is free for it.
    NatPortsExhausted,
    /// The session table is full.
    SessionsFull,
    /// Its source holds as many sessions as one may.
    SourceLimit,
    /// It comes from outside and belongs to no session and no forward.
    NoSession,
    /// A protocol that is not translated.
    ProtocolNotBuilt,
    /// It is for the gateway itself, and nothing here answers it.
    NoService,
}

impl From<Refused> for Drop {
    fn from(refused: Refused) -> Drop {
        match refused {
            Refused::NotIp => Drop::NotIp,
            Refused::Ipv6NotBuilt => Drop::Ipv6NotBuilt,
            Refused::VlanNotBuilt => Drop::VlanNotBuilt,
            Refused::FragmentNotBuilt => Drop::FragmentNotBuilt,
            Refused::BadHeader => Drop::BadHeader,
            Refused::BadChecksum => Drop::BadChecksum,
        }
    }
}

//! What: the session records of both released versions, and what the gateway asks of a version.
//!
//! Layout: `layouts/nat.session-v1.txt` and `-v2.txt`, frozen. The key is shared by both.
//!
//! ```text
//! nat.session.key   inside end, remote end, protocol          adopted
//! nat.session v1    outside end, TCP state, flags, binding
//! nat.session v2    v1, then the QoS class and when it was made
//! counters          baton.hot v1 (32 bits) / v2 (64 bits)      carried
//! ```
//!
//! Invariants: I1 `down(up(x)) == x`; I2 an outside port that no forward gave has the session's
//! bucket as its low byte.

use crate::config::{NoQos, Qos, QosClasses};
use baton::prelude::{Loss, Migrate, Record};
use baton_datapath::common::RawEnd;
use baton_datapath::rewrite::End;
use baton_datapath::tcp_state::TcpState;
use baton_shared_state::table::{Hot32, Hot64, HotWords};
use std::net::Ipv4Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The session was made by a static forward; its outside end belongs to the config.
pub const STATIC: u8 = 1;
/// The session was opened from outside, or by the far side of a hairpin.
pub const FROM_OUTSIDE: u8 = 2;

/// No binding: the outside end belongs to a static forward.
pub const NO_BINDING: u32 = u32::MAX;

/// What a session is found by: its inside end, its remote end, its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "nat.session.key", version = 1)]
#[repr(C)]
pub struct SessionKey {
    /// The translated host.
    #[field(kind = "ipv4")]
    pub inside_addr: [u8; 4],
    /// Whom it talks to.
    #[field(kind = "ipv4")]
    pub remote_addr: [u8; 4],
    /// The host's port; the identifier of an echo.
    #[field(kind = "port")]
    pub inside_port: [u8; 2],
    /// The other's port; 0 for an echo.
    #[field(kind = "port")]
    pub remote_port: [u8; 2],
    /// IP protocol number.
    #[field(kind = "protocol")]
    pub protocol: u8,
    /// Zero.
    pub _pad: [u8; 3],
}

impl SessionKey {
    /// The key of a flow between two ends.
    #[must_use]
    pub fn new(protocol: u8, inside: End, remote: End) -> SessionKey {
        SessionKey {
            inside_addr: inside.address.octets(),
            remote_addr: remote.address.octets(),
            inside_port: inside.port.to_be_bytes(),
            remote_port: remote.port.to_be_bytes(),
            protocol,
            _pad: [0; 3],
        }
    }

    /// The translated end.
    #[must_use]
    pub fn inside(&self) -> End {
        end(self.inside_addr, self.inside_port)
    }

    /// The other end.
    #[must_use]
    pub fn remote(&self) -> End {
        end(self.remote_addr, self.remote_port)
    }
}

/// What 1.0 stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "nat.session", version = 1)]
#[repr(C)]
pub struct SessionV1 {
    /// What the host looks like from outside.
    #[field(kind = "ipv4")]
    pub outside_addr: [u8; 4],
    /// The port it looks like, or the echo identifier.
    #[field(kind = "port")]
    pub outside_port: [u8; 2],
    /// How far a TCP connection has come.
    #[field(names(
        "none",
        "syn_sent",
        "established",
        "fin_opener",
        "fin_other",
        "closing"
    ))]
    pub tcp_state: u8,
    /// 1 = made by a static forward, 2 = opened from outside.
    pub flags: u8,
    /// Id of the row in `nat.binding`; 4294967295 for a static forward.
    pub binding: u32,
}

/// What 2.0 stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "nat.session", version = 2, follows = SessionV1)]
#[repr(C)]
pub struct SessionV2 {
    /// What the host looks like from outside.
    #[field(kind = "ipv4")]
    pub outside_addr: [u8; 4],
    /// The port it looks like, or the echo identifier.
    #[field(kind = "port")]
    pub outside_port: [u8; 2],
    /// How far a TCP connection has come.
    #[field(names(
        "none",
        "syn_sent",
        "established",
        "fin_opener",
        "fin_other",
        "closing"
    ))]
    pub tcp_state: u8,
    /// 1 = made by a static forward, 2 = opened from outside.
    pub flags: u8,
    /// Id of the row in `nat.binding`; 4294967295 for a static forward.
    pub binding: u32,
    /// Service class by the first packet's DSCP; 0 = none, or made before 2.0.
    pub qos_class: u8,
    /// Zero.
    pub _pad: [u8; 3],
    /// When the session was made; 0 = before 2.0.
    #[field(kind = "time_sec")]
    pub created: u32,
}

const _: () = assert!(size_of::<SessionKey>() == 16);
const _: () = assert!(size_of::<SessionV1>() == 12);
const _: () = assert!(size_of::<SessionV2>() == 20);

impl Migrate<SessionV1> for SessionV2 {
    const LOSES: &'static [Loss] = &[Loss("qos_class"), Loss("created")];

    fn up(old: SessionV1) -> SessionV2 {
        SessionV2 {
            outside_addr: old.outside_addr,
            outside_port: old.outside_port,
            tcp_state: old.tcp_state,
            flags: old.flags,
            binding: old.binding,
            qos_class: 0,
            _pad: [0; 3],
            created: 0,
        }
    }

    fn down(new: SessionV2) -> SessionV1 {
        SessionV1 {
            outside_addr: new.outside_addr,
            outside_port: new.outside_port,
            tcp_state: new.tcp_state,
            flags: new.flags,
            binding: new.binding,
        }
    }
}

/// What the gateway wants to remember of a new session; a version keeps what it has fields for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// What the host looks like from outside.
    pub outside: End,
    /// The first packet's effect on a TCP connection.
    pub state: TcpState,
    /// [`STATIC`], [`FROM_OUTSIDE`].
    pub flags: u8,
    /// The row of its binding, or [`NO_BINDING`].
    pub binding: u32,
    /// Service class.
    pub qos_class: u8,
    /// Seconds since boot.
    pub created: u32,
}

/// What every version of the record can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What the host looks like from outside.
    pub outside: End,
    /// How far a TCP connection has come.
    pub state: TcpState,
    /// [`STATIC`], [`FROM_OUTSIDE`].
    pub flags: u8,
    /// The row of its binding, or [`NO_BINDING`].
    pub binding: u32,
}

/// What a packet of a running session asks of its record, in the record's first word: the outside end,
/// as it lies in a frame, then the TCP state and the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning(pub u64);

impl Beginning {
    /// What the host looks like from outside.
    #[inline]
    #[must_use]
    pub fn outside(self) -> RawEnd {
        RawEnd::of_word(self.0)
    }

    /// The same with another end.
    #[inline]
    #[must_use]
    pub fn with_end(self, end: RawEnd) -> Beginning {
        Beginning(self.0 ^ self.outside().word() ^ end.word())
    }

    /// How far a TCP connection has come.
    #[inline]
    #[must_use]
    pub fn state(self) -> TcpState {
        TcpState::from_byte((self.0 >> 48) as u8)
    }

    /// [`STATIC`], [`FROM_OUTSIDE`].
    #[inline]
    #[must_use]
    pub fn flags(self) -> u8 {
        (self.0 >> 56) as u8
    }
}

/// One version of the gateway: the record and counters it stores, the config it understands.
pub trait SessionLayout: Record + std::fmt::Debug {
    /// The counters' layout.
    type Hot: HotWords + std::fmt::Debug;
    /// What it makes of the key `qos`.
    type Qos: QosClasses;
    /// The program's version.
    const VERSION_NAME: &'static str;

    /// The record of a new session.
    fn of(new: &NewSession) -> Self;
    /// What the record says.
    fn known(&self) -> Known;
    /// What the first word of a stored record says, the same as [`SessionLayout::known`].
    fn beginning(word: u64) -> Beginning;
    /// The same session in another TCP state.
    #[must_use]
    fn with_state(self, state: TcpState) -> Self;
}

impl SessionLayout for SessionV1 {
    type Hot = Hot32;
    type Qos = NoQos;
    const VERSION_NAME: &'static str = "1.0.0";

    fn of(new: &NewSession) -> SessionV1 {
        SessionV1 {
            outside_addr: new.outside.address.octets(),
            outside_port: new.outside.port.to_be_bytes(),
            tcp_state: new.state as u8,
            flags: new.flags,
            binding: new.binding,
        }
    }

    fn known(&self) -> Known {
        Known {
            outside: end(self.outside_addr, self.outside_port),
            state: TcpState::from_byte(self.tcp_state),
            flags: self.flags,
            binding: self.binding,
        }
    }

    fn beginning(word: u64) -> Beginning {
        Beginning(word)
    }

    fn with_state(self, state: TcpState) -> SessionV1 {
        SessionV1 {
            tcp_state: state as u8,
            ..self
        }
    }
}

impl SessionLayout for SessionV2 {
    type Hot = Hot64;
    type Qos = Qos;
    const VERSION_NAME: &'static str = "2.0.0";

    fn of(new: &NewSession) -> SessionV2 {
        SessionV2 {
            qos_class: new.qos_class,
            created: new.created,
            ..SessionV2::up(SessionV1::of(new))
        }
    }

    fn known(&self) -> Known {
        SessionV2::down(*self).known()
    }

    fn beginning(word: u64) -> Beginning {
        Beginning(word)
    }

    fn with_state(self, state: TcpState) -> SessionV2 {
        SessionV2 {
            tcp_state: state as u8,
            ..self
        }
    }
}

fn end(address: [u8; 4], port: [u8; 2]) -> End {
    End {
        address: Ipv4Addr::from(address),
        port: u16::from_be_bytes(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_schema::golden::assert_golden;
    use proptest::prelude::*;

    #[test]
    fn released_layouts_never_change() {
        assert_golden(&SessionKey::schema(), "layouts/nat.session.key-v1.txt");
        assert_golden(&SessionV1::schema(), "layouts/nat.session-v1.txt");
        assert_golden(&SessionV2::schema(), "layouts/nat.session-v2.txt");
    }

    #[test]
    fn a_newer_session_goes_down_with_everything_but_class_and_birth() {
        let new = NewSession {
            outside: End {
                address: Ipv4Addr::new(203, 0, 113, 17),
                port: 40_213,
            },
            state: TcpState::Established,
            flags: FROM_OUTSIDE,
            binding: 7,
            qos_class: 5,
            created: 99,
        };
        let newer = SessionV2::of(&new);
        assert_eq!((newer.qos_class, newer.created), (5, 99));
        assert_eq!(SessionV2::down(newer), SessionV1::of(&new));
        assert_eq!(newer.known(), SessionV1::of(&new).known());
        let losses: Vec<&str> = SessionV2::LOSES.iter().map(|loss| loss.0).collect();
        assert_eq!(losses, ["qos_class", "created"]);
    }

    proptest! {
        #[test]
        fn up_and_down_gives_the_same_bytes(bytes in any::<[u8; 12]>()) {
            let old = SessionV1::read_from_bytes(&bytes).unwrap();
            prop_assert_eq!(SessionV2::down(SessionV2::up(old)), old);
        }

        #[test]
        fn the_first_word_says_what_the_record_says(bytes in any::<[u8; 20]>()) {
            let newer = SessionV2::read_from_bytes(&bytes).unwrap();
            let older = SessionV1::read_from_bytes(&bytes[..12]).unwrap();
            let word = u64::from_le_bytes(*bytes.first_chunk().unwrap());
            for (known, said) in [
                (older.known(), SessionV1::beginning(word)),
                (newer.known(), SessionV2::beginning(word)),
            ] {
                prop_assert_eq!((said.state(), said.flags()), (known.state, known.flags));
                let (address, port) = (known.outside.address, known.outside.port);
                prop_assert_eq!(said.outside(), RawEnd::new(address.octets(), port.to_be_bytes()));
            }
        }

        #[test]
        fn a_change_of_state_changes_nothing_else(bytes in any::<[u8; 20]>()) {
            let old = SessionV2::read_from_bytes(&bytes).unwrap();
            let new = old.with_state(TcpState::Closing);
            prop_assert_eq!(new.known().state, TcpState::Closing);
            prop_assert_eq!(SessionV2 { tcp_state: old.tcp_state, ..new }, old);
        }
    }
}

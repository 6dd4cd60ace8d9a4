//! What: how far a TCP connection has come, as a translator sees it (RFC 5382, RFC 7857), and how
//! long each state may stay silent.
//!
//! States:
//!
//! ```text
//!            reply                FIN of one side            FIN of the other
//! syn_sent ────────► established ─────────────────► fin ────────────────────► closing
//!     ▲                    │ RST                     │ RST                      │
//!     │                    └────────► closing ◄──────┘                          │
//!     └──────────────────────── SYN of the opener (the port is used again) ─────┘
//! ```
//!
//! The numbers are stored in session records and never change their meaning.

/// TCP flags.
pub mod flag {
    /// No more data from this side.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Ends a connection at once.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// How far a connection has come. `NONE` stands for protocols without states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TcpState {
    /// Not TCP.
    None = 0,
    /// Opened by one side, not yet answered.
    SynSent = 1,
    /// Answered.
    Established = 2,
    /// The opener sent FIN.
    FinOpener = 3,
    /// The other side sent FIN.
    FinOther = 4,
    /// Both sent FIN, or one RST.
    Closing = 5,
}

/// Which side a segment came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who opened the connection.
    Opener,
    /// The one who was called.
    Other,
}

impl TcpState {
    /// The state stored as `byte`; a number this build does not know reads as `SynSent`, the
    /// state with the short timeout.
    #[must_use]
    pub fn from_byte(byte: u8) -> TcpState {
        match byte {
            0 => TcpState::None,
            2 => TcpState::Established,
            3 => TcpState::FinOpener,
            4 => TcpState::FinOther,
            5 => TcpState::Closing,
            _ => TcpState::SynSent,
        }
    }

    /// The state's name, as `baton dump` shows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TcpState::None => "none",
            TcpState::SynSent => "syn_sent",
            TcpState::Established => "established",
            TcpState::FinOpener | TcpState::FinOther => "fin",
            TcpState::Closing => "closing",
        }
    }

    /// The state after a segment with `flags` from `side`.
    #[must_use]
    pub fn next(self, side: Side, flags: u8) -> TcpState {
        use TcpState::{Closing, Established, FinOpener, FinOther, None, SynSent};
        if self == None {
            return None;
        }
        if flags & flag::RST != 0 {
            return Closing;
        }
        let fin = flags & flag::FIN != 0;
        match (self, side) {
            (SynSent, Side::Other) if fin => FinOther,
            (SynSent, Side::Other) => Established,
            (Established, Side::Opener) if fin => FinOpener,
            (Established, Side::Other) if fin => FinOther,
            (FinOpener, Side::Other) | (FinOther, Side::Opener) if fin => Closing,
            (Closing, Side::Opener) if flags & (flag::SYN | flag::ACK) == flag::SYN => SynSent,
            (same, _) => same,
        }
    }
}

/// How many seconds a session may stay silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP (RFC 4787: at least 2 minutes, 5 recommended).
    pub udp: u32,
    /// An established TCP connection (RFC 5382: at least 2 hours 4 minutes).
    pub tcp_established: u32,
    /// A TCP connection that opens or closes (RFC 5382: at least 4 minutes).
    pub tcp_transitory: u32,
    /// ICMP echo (RFC 5508: at least 60 seconds).
    pub icmp: u32,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            udp: 300,
            tcp_established: 7_440,
            tcp_transitory: 240,
            icmp: 60,
        }
    }
}

impl Timeouts {
    /// The timeout for a session of `protocol` in `state`.
    #[must_use]
    pub fn of(&self, protocol: u8, state: TcpState) -> u32 {
        match (protocol, state) {
            (crate::parse::UDP, _) => self.udp,
            (crate::parse::TCP, TcpState::Established) => self.tcp_established,
            (crate::parse::TCP, _) => self.tcp_transitory,
            _ => self.icmp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flag::{ACK, FIN, RST, SYN};

    fn walk(segments: &[(Side, u8)]) -> TcpState {
        segments
            .iter()
            .fold(TcpState::SynSent, |state, &(side, flags)| {
                state.next(side, flags)
            })
    }

    const OPEN: [(Side, u8); 3] = [
        (Side::Opener, SYN),
        (Side::Other, SYN | ACK),
        (Side::Opener, ACK),
    ];

    #[test]
    fn a_connection_opens_and_closes() {
        assert_eq!(walk(&OPEN), TcpState::Established);
        let mut all = OPEN.to_vec();
        all.push((Side::Other, FIN | ACK));
        assert_eq!(walk(&all).name(), "fin");
        all.push((Side::Other, FIN | ACK)); // a retransmission is not the other side's FIN
        assert_eq!(walk(&all).name(), "fin");
        all.push((Side::Opener, FIN | ACK));
        assert_eq!(walk(&all), TcpState::Closing);
    }

    #[test]
    fn a_syn_alone_never_establishes() {
        assert_eq!(
            walk(&[(Side::Opener, SYN), (Side::Opener, ACK)]),
            TcpState::SynSent
        );
    }

    #[test]
    fn a_reset_shortens_the_life_at_once() {
        let mut all = OPEN.to_vec();
        all.push((Side::Other, RST));
        let state = walk(&all);
        assert_eq!(state, TcpState::Closing);
        let timeouts = Timeouts::default();
        assert_eq!(timeouts.of(6, state), 240);
        assert_eq!(timeouts.of(6, TcpState::Established), 7_440);
    }

    #[test]
    fn a_port_used_again_starts_over() {
        assert_eq!(TcpState::Closing.next(Side::Opener, SYN), TcpState::SynSent);
        assert_eq!(TcpState::Closing.next(Side::Other, SYN), TcpState::Closing);
    }

    #[test]
    fn stored_numbers_read_back_and_unknown_ones_get_the_short_timeout() {
        for byte in 0..=5 {
            assert_eq!(TcpState::from_byte(byte) as u8, byte);
        }
        assert_eq!(TcpState::from_byte(99), TcpState::SynSent);
    }

    #[test]
    fn protocols_without_states_stay_without() {
        assert_eq!(TcpState::None.next(Side::Other, RST), TcpState::None);
        assert_eq!(Timeouts::default().of(17, TcpState::None), 300);
        assert_eq!(Timeouts::default().of(1, TcpState::None), 60);
    }
}

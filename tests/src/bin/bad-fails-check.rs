//! A gateway whose migration can be undone and is wrong all the same: sessions come out with an outside port that is
//! not in their bucket. Its own check of the migrated zone finds it.

use std::process::ExitCode;

use baton::prelude::{FromBytes, Hot64, Immutable, IntoBytes, Loss, Migrate, Record};
use baton_datapath::tcp_state::TcpState;
use baton_primary::Gateway;
use baton_primary::config::Qos;
use baton_primary::session::{Beginning, Known, NewSession, SessionLayout, SessionV1};

/// The session of version 1 with the lowest bit of the outside port turned over.
#[derive(Clone, Copy, Debug, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "nat.session", version = 2, follows = SessionV1)]
#[repr(C)]
struct Wrong {
    #[field(kind = "ipv4")]
    outside_addr: [u8; 4],
    #[field(kind = "port")]
    outside_port: [u8; 2],
    tcp_state: u8,
    flags: u8,
    binding: u32,
    filler: u32,
}

impl Migrate<SessionV1> for Wrong {
    const LOSES: &'static [Loss] = &[Loss("filler")];

    fn up(old: SessionV1) -> Wrong {
        let SessionV1 {
            outside_addr,
            outside_port: [high, low],
            tcp_state,
            flags,
            binding,
        } = old;
        Wrong {
            outside_addr,
            outside_port: [high, low ^ 1],
            tcp_state,
            flags,
            binding,
            filler: 0,
        }
    }

    fn down(new: Wrong) -> SessionV1 {
        let Wrong {
            outside_addr,
            outside_port: [high, low],
            tcp_state,
            flags,
            binding,
            ..
        } = new;
        SessionV1 {
            outside_addr,
            outside_port: [high, low ^ 1],
            tcp_state,
            flags,
            binding,
        }
    }
}

impl SessionLayout for Wrong {
    type Hot = Hot64;
    type Qos = Qos;
    const VERSION_NAME: &'static str = "2.0.1-fails-check";

    fn of(new: &NewSession) -> Wrong {
        Wrong::up(SessionV1::of(new))
    }

    fn known(&self) -> Known {
        let mut old = Wrong::down(*self);
        old.outside_port = self.outside_port;
        old.known()
    }

    fn beginning(word: u64) -> Beginning {
        Beginning(word)
    }

    fn with_state(self, state: TcpState) -> Wrong {
        Wrong {
            tcp_state: state as u8,
            ..self
        }
    }
}

fn main() -> ExitCode {
    baton::main::<Gateway<Wrong>>()
}

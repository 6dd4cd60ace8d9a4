//! A gateway that stores sessions in a layout to which no migration leads.

use std::process::ExitCode;

use baton::prelude::{FromBytes, Hot64, Immutable, IntoBytes, Record};
use baton_datapath::tcp_state::TcpState;
use baton_primary::Gateway;
use baton_primary::config::Qos;
use baton_primary::session::{Beginning, Known, NewSession, SessionLayout, SessionV1};

/// What a version 4 may look like whose authors dropped support for what came before.
#[derive(Clone, Copy, Debug, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "nat.session", version = 4)]
#[repr(C)]
struct Rootless {
    #[field(kind = "ipv4")]
    outside_addr: [u8; 4],
    #[field(kind = "port")]
    outside_port: [u8; 2],
    tcp_state: u8,
    flags: u8,
    binding: u32,
    era: u32,
}

impl SessionLayout for Rootless {
    type Hot = Hot64;
    type Qos = Qos;
    const VERSION_NAME: &'static str = "4.0.0-no-path";

    fn of(new: &NewSession) -> Rootless {
        let SessionV1 {
            outside_addr,
            outside_port,
            tcp_state,
            flags,
            binding,
        } = SessionV1::of(new);
        Rootless {
            outside_addr,
            outside_port,
            tcp_state,
            flags,
            binding,
            era: 4,
        }
    }

    fn known(&self) -> Known {
        let Rootless {
            outside_addr,
            outside_port,
            tcp_state,
            flags,
            binding,
            ..
        } = *self;
        SessionV1 {
            outside_addr,
            outside_port,
            tcp_state,
            flags,
            binding,
        }
        .known()
    }

    fn beginning(word: u64) -> Beginning {
        Beginning(word)
    }

    fn with_state(self, state: TcpState) -> Rootless {
        Rootless {
            tcp_state: state as u8,
            ..self
        }
    }
}

fn main() -> ExitCode {
    baton::main::<Gateway<Rootless>>()
}

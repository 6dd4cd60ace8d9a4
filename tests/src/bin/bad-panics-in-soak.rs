//! A gateway that forwards for a second and then panics in the middle of a burst.

use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use baton::prelude::{FromBytes, Hot64, Immutable, IntoBytes, Loss, Migrate, Record};
use baton_datapath::tcp_state::TcpState;
use baton_primary::Gateway;
use baton_primary::config::Qos;
use baton_primary::session::{Beginning, Known, NewSession, SessionLayout, SessionV1};

/// The session of version 1, and nothing more.
#[derive(Clone, Copy, Debug, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "nat.session", version = 2, follows = SessionV1)]
#[repr(C)]
struct Fuse {
    #[field(kind = "ipv4")]
    outside_addr: [u8; 4],
    #[field(kind = "port")]
    outside_port: [u8; 2],
    tcp_state: u8,
    flags: u8,
    binding: u32,
    filler: u32,
}

impl Migrate<SessionV1> for Fuse {
    const LOSES: &'static [Loss] = &[Loss("filler")];

    fn up(old: SessionV1) -> Fuse {
        let SessionV1 {
            outside_addr,
            outside_port,
            tcp_state,
            flags,
            binding,
        } = old;
        Fuse {
            outside_addr,
            outside_port,
            tcp_state,
            flags,
            binding,
            filler: 0,
        }
    }

    fn down(new: Fuse) -> SessionV1 {
        let Fuse {
            outside_addr,
            outside_port,
            tcp_state,
            flags,
            binding,
            ..
        } = new;
        SessionV1 {
            outside_addr,
            outside_port,
            tcp_state,
            flags,
            binding,
        }
    }
}

impl SessionLayout for Fuse {
    type Hot = Hot64;
    type Qos = Qos;
    const VERSION_NAME: &'static str = "2.0.1-panics";

    fn of(new: &NewSession) -> Fuse {
        Fuse::up(SessionV1::of(new))
    }

    fn known(&self) -> Known {
        burn();
        Fuse::down(*self).known()
    }

    fn beginning(word: u64) -> Beginning {
        burn();
        Beginning(word)
    }

    fn with_state(self, state: TcpState) -> Fuse {
        Fuse {
            tcp_state: state as u8,
            ..self
        }
    }
}

/// The first packet that an lcore forwards lights the fuse, a second later the next one burns.
fn burn() {
    static LIT: OnceLock<Instant> = OnceLock::new();
    let on_lcore = std::thread::current()
        .name()
        .is_some_and(|name| name.starts_with("lcore"));
    if on_lcore {
        let lit = LIT.get_or_init(Instant::now);
        assert!(
            lit.elapsed() < Duration::from_secs(1),
            "bad-panics-in-soak: as promised"
        );
    }
}

fn main() -> ExitCode {
    baton::main::<Gateway<Fuse>>()
}

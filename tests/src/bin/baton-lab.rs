//! The program behind `scripts/demo`, `scripts/soak`, `scripts/bench gap` and `scripts/bench dump`.
//!
//! Exit 0: the zeros; 1: something else; 2: wrong usage; 3: the machine loses packets without any upgrade;
//! 7: it lacks something; 130: a signal ended it.

use std::process::ExitCode;

use baton_tests::lab::PortKind;
use baton_tests::show::{self, Failure};
use baton_tests::wait::{catch_signals, interrupted};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs a gateway between two namespaces and replaces it under traffic.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    show: Show,
}

#[derive(Debug, Subcommand)]
enum Show {
    /// Upgrade, roll back, upgrade again, with TCP beside the stream.
    Demo {
        #[command(flatten)]
        lab: LabArgs,
        /// Length of the run, and of the one without an upgrade before it.
        #[arg(long, default_value_t = 15)]
        seconds: u64,
    },
    /// Many changes of hands under one stream.
    Soak {
        #[command(flatten)]
        lab: LabArgs,
        /// How many changes of hands.
        #[arg(long, default_value_t = 200)]
        cycles: u32,
    },
    /// The gaps of many changes of hands, with their conditions.
    Gap {
        #[command(flatten)]
        lab: LabArgs,
        /// How many changes of hands.
        #[arg(long, default_value_t = 200)]
        cycles: u32,
    },
    /// What a look at the sessions costs the datapath; needs no namespaces.
    Dump {
        /// Sessions of the gateway, at most 60,000.
        #[arg(long, default_value_t = 50_000)]
        sessions: u32,
        /// Half seconds with a reader, and as many without.
        #[arg(long, default_value_t = 20)]
        turns: u32,
    },
}

#[derive(Debug, Args)]
struct LabArgs {
    /// Driver of the gateway's ports; af_xdp as root, else af_packet.
    #[arg(long)]
    port: Option<PortKind>,
    /// Packets/s of sequenced UDP, both directions together.
    #[arg(long, default_value_t = 100_000)]
    rate: u64,
    /// Flows that carry the rate.
    #[arg(long, default_value_t = 1_000)]
    flows: u32,
    /// Further sessions, refreshed seldom.
    #[arg(long, default_value_t = 10_000)]
    sessions: u32,
    /// Shards of the gateway, and queues of its ports.
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// Whether the peers leave checksums to their interfaces, as veth does by default.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    offloads: Switch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl LabArgs {
    fn wishes(&self) -> show::Wishes {
        show::Wishes {
            port: self.port,
            rate: self.rate,
            flows: self.flows,
            sessions: self.sessions,
            shards: self.shards,
            offloads: match self.offloads {
                Switch::On => baton_tests::lab::Offloads::On,
                Switch::Off => baton_tests::lab::Offloads::Off,
            },
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = catch_signals() {
        eprintln!("signals: {error}");
        return ExitCode::from(1);
    }
    let shown = match cli.show {
        Show::Demo { lab, seconds } => show::demo(&lab.wishes(), seconds),
        Show::Soak { lab, cycles } => show::soak(&lab.wishes(), cycles),
        Show::Gap { lab, cycles } => show::gap(&lab.wishes(), cycles),
        Show::Dump { sessions, turns } => show::dump(sessions, turns),
    };
    match shown {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(_) if interrupted() => {
            eprintln!("interrupted; everything is removed");
            ExitCode::from(130)
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(match failure {
                Failure::TooSlow { .. } => 3,
                Failure::Unfit { .. } => 7,
                Failure::Lab(_) => 1,
            })
        }
    }
}

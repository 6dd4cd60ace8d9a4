//! `baton::main`: from the command line to a running primary.

use crate::args::Args;
use crate::config;
use crate::datapath::{Datapath, Error};
use crate::open_ports;
use crate::resolve::manifest;
use crate::setup::{CsumSource, Mac, PortId, PortInfo, RouteConfig, Setup};
use crate::{log, standalone, supervised};
use clap::Parser;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Exit code for a config or command line that cannot be used.
const USAGE: u8 = 2;

/// The whole of a program's `main`: flags, config, ports, lcores, takeover in both directions.
pub fn main<D: Datapath>() -> ExitCode {
    let args = Args::parse();
    if args.version {
        println!("{} {}", D::name(), D::version());
        return ExitCode::SUCCESS;
    }
    if args.manifest {
        return print_manifest::<D>();
    }
    if let Some(path) = &args.check_config {
        return match check_config::<D>(path) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => complain(&why, USAGE),
        };
    }
    log::init();
    end_process_on_panic();
    if let Err(why) = baton_shared_state::sys::set_dumpable(false) {
        tracing::warn!(%why, "other processes of this user may reach the shared memory through /proc");
    }
    let term = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        if let Err(why) = signal_hook::flag::register(signal, term.clone()) {
            return complain(
                &Error::new(format!("signal {signal} cannot be watched: {why}")),
                1,
            );
        }
    }
    let ended = match &args.supervisor {
        Some(socket) => supervised::run::<D>(socket, &term),
        None => standalone::run::<D>(&args, &term),
    };
    ended.unwrap_or_else(|why| complain(&why, 1))
}

fn print_manifest<D: Datapath>() -> ExitCode {
    match serde_json::to_string_pretty(&manifest::<D>()) {
        Ok(text) => {
            // A reader that closed early has what it wanted.
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(why) => complain(&Error::new(why.to_string()), 1),
    }
}

fn complain(why: &Error, code: u8) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(code)
}

/// A panic anywhere ends the process at once: its lifelines report it, and the shards are taken over
/// by who may. No backtrace is resolved before: that takes a second in which nobody polls.
fn end_process_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}\nthis process ends, so that its shards can be taken over");
        std::process::abort();
    }));
}

/// Everything that can be said about a config without touching a device.
fn check_config<D: Datapath>(path: &Path) -> Result<(), Error> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|why| Error::new(format!("{name}: {why}")))?;
    let config = config::parse::<D::Config>(&text, &name, &D::name())?;
    let named = |why: Error| Error::new(format!("{name}: {why}"));
    config::parse_lcores(&config.instance.lcores).map_err(named)?;
    let shards = config.shards().map_err(named)?;
    let specs = open_ports::specs(&config.ports, shards).map_err(named)?;
    let mut ports = Vec::new();
    for (port, spec) in config.ports.iter().zip(specs) {
        let addresses: Result<Vec<_>, Error> = port
            .address
            .iter()
            .map(|text| config::parse_network(text, "port.address"))
            .collect();
        ports.push(PortInfo {
            id: PortId(spec.id),
            name: port.name.clone(),
            mac: Mac::default(),
            mtu: port.mtu.unwrap_or(1500),
            addresses: addresses.map_err(named)?,
            csum: CsumSource::Detect,
        });
    }
    let routes: Result<Vec<RouteConfig>, Error> = config
        .routes
        .iter()
        .map(|route| {
            config::parse_network(&route.prefix, "route.prefix").map(|(prefix, len)| RouteConfig {
                prefix,
                len,
                via: route.via,
            })
        })
        .collect();
    let setup = Setup::new(ports, routes.map_err(named)?, 0, shards);
    D::check_config(&config.program, &setup).map_err(named)
}

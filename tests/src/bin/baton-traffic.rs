//! Sequenced UDP through two network namespaces: `baton_tests::traffic` as a program.
//!
//! Commands come as JSON lines on standard input, events go as JSON lines to standard output; the last one is the
//! report. Exit 0: nothing lost, doubled or out of order; 1: something was; 2: it could not run.

use std::fs::File;
use std::io::{BufRead, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender as Tx, channel};
use std::time::Duration;

use baton_tests::traffic::frame::{Checksum, MIN_PAYLOAD, Mac};
use baton_tests::traffic::report::{Command, Event};
use baton_tests::traffic::socket::{Sender, Sink, mac_of, neighbour};
use baton_tests::traffic::stream::{End, Plan, Stream};
use clap::Parser;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends numbered UDP packets both ways through a device under test and judges what arrives.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Network namespace of the client (a file such as /proc/PID/ns/net); this one if left out.
    #[arg(long)]
    client_netns: Option<PathBuf>,
    /// Network namespace of the server.
    #[arg(long)]
    server_netns: Option<PathBuf>,
    /// Interface of the client.
    #[arg(long)]
    client_if: String,
    /// Interface of the server.
    #[arg(long)]
    server_if: String,
    /// The client's neighbour, by whom everything goes.
    #[arg(long, default_value = "10.0.0.1")]
    gateway: Ipv4Addr,
    /// First source address of the flows.
    #[arg(long, default_value = "10.1.0.0")]
    source: Ipv4Addr,
    /// Where the client sends to.
    #[arg(long, default_value = "198.51.100.9")]
    target: Ipv4Addr,
    /// Packets/s, both directions together.
    #[arg(long, default_value_t = 100_000)]
    rate: u64,
    /// Flows that carry the rate.
    #[arg(long, default_value_t = 1_000)]
    flows: u32,
    /// Further flows, refreshed seldom and once more at the end.
    #[arg(long, default_value_t = 0)]
    sessions: u32,
    /// Seconds between two refreshes.
    #[arg(long, default_value_t = 20.0)]
    refresh: f64,
    /// Length in seconds; without it the stream runs until `stop`.
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds without any packet after which those missing are lost.
    #[arg(long, default_value_t = 5.0)]
    drain: f64,
    /// Seconds in which every flow must be open.
    #[arg(long, default_value_t = 20.0)]
    open_within: f64,
    /// Bytes of UDP payload.
    #[arg(long, default_value_t = 58)]
    payload: usize,
    /// Leave checksums unfinished, as a kernel neighbour on veth does.
    #[arg(long)]
    unfinished: bool,
    /// MiB of each sink's ring.
    #[arg(long, default_value_t = 16)]
    ring_mib: usize,
    /// Begin at once instead of waiting for `start` on standard input.
    #[arg(long)]
    now: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("baton-traffic: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool, Failure> {
    let plan = plan(args)?;
    nix::sys::prctl::set_timerslack(1)?; // the default of 50 us is several packets
    let near = args.gateway;
    let (client, gateway) = inside(args.client_netns.clone(), {
        let (plan, interface) = (plan.clone(), args.client_if.clone());
        move || {
            Ok((
                open(&plan, &interface)?,
                neighbour(&interface, near, Duration::from_secs(10))?,
            ))
        }
    })?;
    let server = inside(args.server_netns.clone(), {
        let (plan, interface) = (plan.clone(), args.server_if.clone());
        move || open(&plan, &interface)
    })?;
    let mut stream = Stream::new(plan, client, server, gateway);
    tell(stream.open()?);
    let commands = commands(args.now);
    if !args.now && !told_to_start(&commands)? {
        return Ok(true);
    }
    let report = stream.run(&commands, tell)?;
    let clean = report.is_clean();
    tell(Event::Report(Box::new(report)));
    Ok(clean)
}

fn told_to_start(commands: &Receiver<Command>) -> Result<bool, Failure> {
    loop {
        match commands.recv()? {
            Command::Start => return Ok(true),
            Command::Stop => return Ok(false),
            Command::Mark { .. } => {}
        }
    }
}

fn plan(args: &Args) -> Result<Plan, Failure> {
    if args.payload < MIN_PAYLOAD || args.payload > 1_472 {
        return Err(format!("--payload {}: from {MIN_PAYLOAD} to 1472", args.payload).into());
    }
    if args.flows == 0 || args.rate < 2 || args.ring_mib == 0 {
        return Err("--flows, --rate and --ring-mib must not be zero".into());
    }
    Ok(Plan {
        rate: args.rate,
        flows: args.flows,
        sessions: args.sessions,
        refresh: Duration::try_from_secs_f64(args.refresh.max(0.1))?,
        length: args.seconds.map(Duration::try_from_secs_f64).transpose()?,
        drain: Duration::try_from_secs_f64(args.drain)?,
        open_within: Duration::try_from_secs_f64(args.open_within)?,
        payload: args.payload,
        checksum: if args.unfinished {
            Checksum::Unfinished
        } else {
            Checksum::Complete
        },
        ring_mib: args.ring_mib,
        source: args.source,
        target: args.target,
    })
}

fn open(plan: &Plan, interface: &str) -> Result<End, Failure> {
    let mac: Mac = mac_of(interface)?;
    let sender = Sender::open(interface, plan.checksum)?;
    let sink = Sink::open(interface, plan.ring_mib, plan.payload + 42)?;
    Ok(End { sender, sink, mac })
}

/// Runs `work` in a thread of its own that has entered the namespace; sockets stay where they were opened.
fn inside<T: Send + 'static>(
    netns: Option<PathBuf>,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let thread = std::thread::spawn(move || {
        if let Some(path) = netns {
            let file = File::open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let enter = nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET);
            enter.map_err(|e| format!("{}: entering the namespace: {e}", path.display()))?;
        }
        work()
    });
    thread
        .join()
        .map_err(|_| "the thread that opens the sockets panicked")?
}

/// Reads commands from standard input in a thread; with `now` its end means nothing.
fn commands(now: bool) -> Receiver<Command> {
    let (tx, rx) = channel();
    std::thread::spawn(move || read_commands(tx, now));
    rx
}

fn read_commands(tx: Tx<Command>, now: bool) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(command) => {
                let _ = tx.send(command); // the run is over if nobody takes it
            }
            Err(error) => eprintln!("baton-traffic: {line:?} is no command: {error}"),
        }
    }
    if now {
        std::mem::forget(tx); // keeps the channel open
    }
}

fn tell(event: Event) {
    let line = serde_json::to_string(&event).expect("plain data");
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush()); // whoever listened is gone
}

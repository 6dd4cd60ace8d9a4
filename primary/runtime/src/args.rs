//! The command line: the flags of DPDK's EAL that have a meaning here, and those of the supervisor.

use baton_ports::{PortSpec, SpecError};
use baton_schema::config::{Lcores, Prefix, SocketMem};
use clap::Parser;
use std::path::PathBuf;

/// Flags of every program built on this runtime; they override the config file.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true)]
pub(crate) struct Args {
    /// The instance's TOML file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Names arena, sockets and metrics.
    #[arg(long, value_name = "PREFIX")]
    pub file_prefix: Option<Prefix>,
    /// CPUs of the lcores, one lcore each: 1-2 or 1,1.
    #[arg(long, short = 'l', value_name = "LIST")]
    pub lcores: Option<Lcores>,
    /// Megabytes for tables.
    #[arg(long, value_name = "MB")]
    pub socket_mem: Option<SocketMem>,
    /// Which process this is; `primary` is the only one this program can be.
    #[arg(long, value_parser = ["auto", "primary"], default_value = "auto")]
    pub proc_type: String,
    /// A PCI device (VFIO); no driver of this build takes one.
    #[arg(long, short = 'a', value_name = "PCI")]
    pub allow: Vec<String>,
    /// A virtual device, in the order of the config's ports: net_af_xdp0,iface=eth0
    #[arg(long, value_name = "DEVICE", value_parser = vdev)]
    pub vdev: Vec<String>,
    /// The supervisor's control socket; it starts this program with it.
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub supervisor: Option<PathBuf>,
    /// Prints what this program reads and writes, as JSON, and ends.
    #[arg(long)]
    pub manifest: bool,
    /// Reads a config as this version understands it, and ends: 0 if it is good, 2 if not.
    #[arg(long, value_name = "FILE")]
    pub check_config: Option<PathBuf>,
    /// Prints name and version.
    #[arg(long)]
    pub version: bool,
}

/// A vdev string that a driver of this build understands.
fn vdev(text: &str) -> Result<String, SpecError> {
    PortSpec::parse_vdev(text).map(|_| text.to_owned())
}

//! A gateway that says hello, takes the segments, and never answers again.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use baton_schema::control::{FromPrimary, ToPrimary};
use baton_shared_state::channel::Channel;

fn main() -> ExitCode {
    let mut arguments = std::env::args()
        .skip_while(|argument| argument != "--supervisor")
        .skip(1);
    let Some(socket) = arguments.next() else {
        return baton_primary::newest();
    };
    if let Err(error) = hang(Path::new(&socket)) {
        eprintln!("bad-hangs-in-attach: {error}");
    }
    ExitCode::FAILURE
}

fn hang(socket: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let output = Command::new("/proc/self/exe").arg("--manifest").output()?;
    let manifest = serde_json::from_slice(&output.stdout)?;
    let channel = Channel::connect(socket)?;
    let hello = FromPrimary::Hello {
        pid: std::process::id(),
        manifest,
        resume: None,
    };
    channel.send(&hello, &[])?;
    loop {
        match channel.recv::<ToPrimary>(Instant::now() + Duration::from_secs(600))? {
            Some((ToPrimary::Fds { .. }, _)) => channel.send(&FromPrimary::Acknowledged, &[])?,
            Some((ToPrimary::Welcome { .. }, _)) => {}
            Some((ToPrimary::Go(_), _)) => std::thread::sleep(Duration::from_secs(600)),
            _ => return Ok(()),
        }
    }
}

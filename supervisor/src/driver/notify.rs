//! Signals in, service manager out.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::Driver;
use crate::state::{Event, State};

/// The signals that end the supervisor, as a descriptor.
#[derive(Debug)]
pub(super) struct Signals {
    pipe: UnixStream,
    asked: Arc<AtomicBool>,
}

impl Signals {
    pub(super) fn new() -> io::Result<Signals> {
        let (pipe, write) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // The second one ends the process at once: whoever sends two means it.
            signal_hook::flag::register_conditional_shutdown(signal, 1, asked.clone())?;
            signal_hook::flag::register(signal, asked.clone())?;
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Signals { pipe, asked })
    }

    /// Whether one came since it was last asked.
    fn taken(&mut self) -> bool {
        let mut bytes = [0; 16];
        while matches!(self.pipe.read(&mut bytes), Ok(n) if n > 0) {}
        self.asked.load(Ordering::Relaxed)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// The service manager's watchdog, if it wants one.
#[derive(Debug)]
pub(super) struct Watchdog {
    every: Option<Duration>,
    last: Instant,
}

impl Watchdog {
    pub(super) fn new() -> Watchdog {
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        Watchdog {
            every,
            last: Instant::now(),
        }
    }

    /// Says that this loop turns.
    pub(super) fn pat(&mut self) {
        if let Some(every) = self.every
            && self.last.elapsed() >= every
        {
            self.last = Instant::now();
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }
}

impl Driver {
    /// SIGTERM or SIGINT: the supervisor goes, forwarding stays.
    pub(super) fn signalled(&mut self) {
        if !self.signals.taken() || self.leaving {
            return;
        }
        self.leaving = true;
        match self.machine.state {
            // Nothing forwards yet, so there is nothing to leave behind.
            State::Idle | State::Starting(crate::state::Start::First, _) => self.event(Event::Stop),
            _ => {
                tracing::info!(
                    prefix = self.paths.prefix,
                    "asked to end: an upgrade that has not committed is rolled back first"
                );
                if let Some(record) = &mut self.record
                    && record.verdict().is_none()
                {
                    record.why = Some("its supervisor was asked to end".into());
                }
                self.event(Event::Rollback);
            }
        }
    }

    /// The state in a line, for `systemctl status`.
    pub(super) fn notify_state(&self) {
        let number = self.record.as_ref().map_or(String::new(), |record| {
            format!(" (upgrade #{})", record.number)
        });
        let text = format!("{}{number}", self.machine.state.word());
        let _ = sd_notify::notify(&[NotifyState::Status(&text)]);
    }

    /// Forwarding has begun.
    pub(super) fn notify_ready(&self) {
        let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("forwarding")]);
    }

    /// This supervisor ends.
    pub(super) fn notify_stopping(&self) {
        let _ = sd_notify::notify(&[
            NotifyState::Stopping,
            NotifyState::Status("forwarding, headless"),
        ]);
    }
}

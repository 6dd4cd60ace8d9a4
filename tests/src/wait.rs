//! Waiting with a deadline: the only way in which anything here waits. A signal ends every wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Nothing came within the deadline.
#[derive(Debug, thiserror::Error)]
#[error("{what}: not within {waited:?}; last seen: {last}")]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// For how long.
    pub waited: Duration,
    /// What the last look said.
    pub last: String,
}

/// Looks every few milliseconds until `look` finds something (`Ok`) or `within` has passed; its last `Err` is kept.
pub fn wait_for<T, E: std::fmt::Display>(
    what: impl Into<String>,
    within: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> Result<T, TimedOut> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        let last = match look() {
            Ok(found) => return Ok(found),
            Err(last) => last.to_string(),
        };
        if started.elapsed() >= within || interrupted() {
            return Err(TimedOut {
                what: what.into(),
                waited: started.elapsed(),
                last,
            });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Sleeps, unless a signal comes.
pub fn pause(length: Duration) -> Result<(), TimedOut> {
    let started = Instant::now();
    while started.elapsed() < length {
        if interrupted() {
            return Err(TimedOut {
                what: "a pause".into(),
                waited: started.elapsed(),
                last: "a signal came".into(),
            });
        }
        std::thread::sleep(
            length
                .saturating_sub(started.elapsed())
                .min(Duration::from_millis(50)),
        );
    }
    Ok(())
}

/// From now on SIGINT, SIGTERM and SIGHUP end every wait instead of the process, whose destructors then clean up.
pub fn catch_signals() -> std::io::Result<()> {
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(flag()))?;
    }
    Ok(())
}

/// Whether one of those signals came.
pub fn interrupted() -> bool {
    flag().load(Ordering::Relaxed)
}

fn flag() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(Arc::default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_returned_and_what_does_not_is_named() {
        let mut looks = 0;
        let found = wait_for("three looks", Duration::from_secs(10), || {
            looks += 1;
            if looks < 3 { Err("not yet") } else { Ok(looks) }
        });
        assert_eq!(found.expect("found in time"), 3);
        let error = wait_for("the end", Duration::from_millis(5), || {
            Err::<(), _>("still going")
        });
        let error = error.expect_err("never comes").to_string();
        assert!(
            error.starts_with("the end: not within") && error.ends_with("last seen: still going"),
            "{error}"
        );
    }
}

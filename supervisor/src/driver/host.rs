//! What a receipt and a plan say of this machine.

use baton_shared_state::sys;

use crate::history::hex;
use crate::receipt::Host;

/// This machine.
pub(super) fn host() -> Host {
    let uname = nix::sys::utsname::uname().ok();
    let text = |part: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        uname.as_ref().map_or_else(
            || "?".to_owned(),
            |found| part(found).to_string_lossy().into_owned(),
        )
    };
    Host {
        name: text(|found| found.nodename()),
        boot_id: sys::boot_id()
            .map(|id| hex(&id))
            .unwrap_or_else(|_| "?".to_owned()),
        kernel: text(|found| found.release()),
        supervisor: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The name of a user, if the machine knows it.
pub(super) fn user_name(uid: u32) -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok()??;
    Some(user.name)
}

/// Bytes the kernel could give without swapping.
pub(super) fn available_bytes() -> Option<u64> {
    available_of(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn available_of(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_named() {
        let host = host();
        assert!(!host.name.is_empty() && !host.kernel.is_empty());
        assert_eq!(host.boot_id.len(), 32);
        assert_eq!(user_name(0).as_deref(), Some("root"));
    }

    #[test]
    fn available_memory_is_read_in_bytes() {
        assert_eq!(
            available_of("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(available_of("MemTotal: 9 kB\n"), None);
    }
}

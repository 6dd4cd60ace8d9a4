//! The clock that all processes of one boot share, and the name of that boot.

use std::io;

/// Nanoseconds since boot, suspend included: the one clock whose values mean the same in every
/// process and after a restart of any of them.
#[inline]
pub fn clock_boottime_ns() -> u64 {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is a valid place for the answer; the clock exists since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

/// The kernel's name for this boot: words that carry another one are void.
pub fn boot_id() -> io::Result<[u8; 16]> {
    random_id("/proc/sys/kernel/random/boot_id")
}

/// A fresh random name, from the kernel.
pub fn new_uuid() -> io::Result<[u8; 16]> {
    random_id("/proc/sys/kernel/random/uuid")
}

fn random_id(path: &str) -> io::Result<[u8; 16]> {
    let text = std::fs::read_to_string(path)?;
    parse_uuid(text.trim()).ok_or_else(|| {
        let found = format!("{path} holds {text:?}, not a uuid");
        io::Error::new(io::ErrorKind::InvalidData, found)
    })
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    let mut id = [0; 16];
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_never_goes_back() {
        let first = clock_boottime_ns();
        assert!(first > 0 && clock_boottime_ns() >= first);
    }

    #[test]
    fn one_boot_has_one_name_and_uuids_differ() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert_ne!(new_uuid().unwrap(), new_uuid().unwrap());
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        assert!(parse_uuid("12345678-1234-1234-1234-1234567890ab").is_some());
        for bad in ["", "1234", "zz345678-1234-1234-1234-1234567890ab", "é"] {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
    }
}

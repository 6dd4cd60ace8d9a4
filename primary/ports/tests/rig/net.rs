//! A network namespace of a test's own with a veth pair in it, and a raw socket as the neighbour.
//!
//! The namespace belongs to one thread and goes away with it and with the last socket in it: no
//! name, nothing to clean up, also after a kill.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

/// An Ethernet type for local experiments: the kernel's own packets never carry it.
pub(crate) const ETHERTYPE: u16 = 0x88b5;
/// How long a test waits for a packet.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Prints why a test did nothing, past the capture of passing tests.
pub(crate) fn skip(test: &str, why: &str) {
    use std::io::Write;
    let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
}

/// Runs a test in a thread with a network namespace of its own; `false` if there can be none.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce() + Send + 'static) -> bool {
    let name = test.to_owned();
    let thread = std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            skip(
                &name,
                &format!("no network namespace of its own ({error}); run it as root"),
            );
            return false;
        }
        // No neighbour discovery between the test's packets.
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        if !ip(&["link", "set", "lo", "up"]) {
            skip(&name, "`ip` is missing; install iproute2");
            return false;
        }
        body();
        true
    });
    match thread.join() {
        Ok(ran) => ran,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs `ip` in this thread's namespace.
pub(crate) fn ip(arguments: &[&str]) -> bool {
    let output = Command::new("ip").args(arguments).output();
    match output {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("ip {}: {said}", arguments.join(" "));
        }
        Err(_) => false,
    }
}

/// Makes the pair `gw0` (the port's) and `peer0` (the neighbour's) with that many queues, both up;
/// an older pair goes away, with the sockets that are still bound to it.
pub(crate) fn veth(queues: u16) {
    if nix::net::if_::if_nametoindex("gw0").is_ok() {
        assert!(ip(&["link", "del", "gw0"]));
    }
    let n = queues.to_string();
    let ends = ["numrxqueues", &n, "numtxqueues", &n];
    let mut arguments = vec!["link", "add", "gw0"];
    arguments.extend(ends);
    arguments.extend(["type", "veth", "peer", "name", "peer0"]);
    arguments.extend(ends);
    assert!(ip(&arguments));
    assert!(ip(&["link", "set", "gw0", "up"]));
    assert!(ip(&["link", "set", "peer0", "up"]));
}

/// A raw packet socket on an interface: what the neighbour sends and receives.
pub(crate) struct Wire {
    fd: OwnedFd,
}

impl Wire {
    /// Opens it for frames of [`ETHERTYPE`].
    pub(crate) fn open(iface: &str) -> Wire {
        Wire::of(iface, ETHERTYPE)
    }

    /// Opens it for frames of an Ethernet type, by which the kernel takes those that it sends.
    pub(crate) fn of(iface: &str, ethertype: u16) -> Wire {
        let protocol = i32::from(ethertype.to_be());
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, protocol) };
        assert!(fd >= 0, "packet socket: {}", io::Error::last_os_error());
        // SAFETY: the kernel just gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let wire = Wire { fd };
        wire.option(263, 23, 1); // SOL_PACKET, PACKET_IGNORE_OUTGOING
        wire.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 16 << 20);
        wire.option(libc::SOL_SOCKET, libc::SO_RCVBUF, 4 << 20);
        let index = nix::net::if_::if_nametoindex(iface).expect("the interface is there");
        // SAFETY: all-zero bytes are a `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ethertype.to_be();
        address.sll_ifindex = index as i32;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address is readable for the length given.
        let bound = unsafe { libc::bind(wire.fd.as_raw_fd(), (&raw const address).cast(), len) };
        assert_eq!(bound, 0, "bind: {}", io::Error::last_os_error());
        wire
    }

    /// Sets an option; one that needs rights may fail.
    fn option(&self, level: i32, name: i32, value: i32) {
        let len = size_of::<i32>() as libc::socklen_t;
        // SAFETY: the value is readable for the length given.
        unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                len,
            )
        };
    }

    /// Sends a frame; waits while the kernel has no room.
    pub(crate) fn send(&self, frame: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // SAFETY: the frame is readable for its length.
            let sent =
                unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            if sent == frame.len() as isize {
                return;
            }
            let error = io::Error::last_os_error();
            let wait = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS));
            assert!(wait && Instant::now() < deadline, "send: {error}");
            std::thread::yield_now();
        }
    }

    /// The next frame, if one is there.
    pub(crate) fn recv(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 2048];
        // SAFETY: the buffer is writable for the length given.
        let got = unsafe {
            libc::recv(
                self.fd.as_raw_fd(),
                frame.as_mut_ptr().cast(),
                frame.len(),
                0,
            )
        };
        frame.truncate(usize::try_from(got).ok()?);
        Some(frame)
    }
}

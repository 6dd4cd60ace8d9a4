//! `net_pcap`: received packets are read from a capture, sent ones are written to another.
//!
//! Layout of both: the classic format, a header of 24 bytes and 16 before each frame; either byte
//! order and both resolutions are read, the machine's order with microseconds is written.
//!
//! Cursors: 0 = where reading goes on, 1 = where writing goes on, file offsets. They are stored
//! after the burst they cover; positions in `place` are the low 31 bits of the offsets.
//!
//! Failure: a frame read and not covered by the cursor is read again, one written and not covered
//! is written again over itself.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use baton_shared_state::Region;
use baton_shared_state::mbuf::Packet;
use baton_shared_state::mempool::{Cache, Pool};
use baton_shared_state::place::{Holder, Place};
use baton_shared_state::sync::{AtomicU64, Ordering};

use crate::cursors::{Cursors, Facts, add};
use crate::driver::{Created, FdSource, need_fd, queue_key};
use crate::error::PortError;
use crate::hand::{Hand, before};
use crate::net_null::own_mac;
use crate::port::{CsumSource, Port, Totals};
use crate::spec::PortSpec;
use crate::vnet;

const FILE_HEADER: u64 = 24;
const FRAME_HEADER: usize = 16;
const ETHERNET_HEADER: usize = 14;
const MAGIC_US: u32 = 0xa1b2_c3d4;
const MAGIC_NS: u32 = 0xa1b2_3c4d;
const LINKTYPE_ETHERNET: u32 = 1;
const SNAPLEN: u32 = 65_535;

const RX_AT: usize = 0;
const TX_AT: usize = 1;
const RX_OVERSIZED: usize = 0;
const WRITE_ERRORS: usize = 1;
const RX_SHORT: usize = 2;

pub(crate) fn create(spec: &PortSpec, cursors: Region) -> Result<Vec<Created>, PortError> {
    let facts = Facts {
        mac: own_mac(spec),
        mtu: 1500,
        mode: 0,
    };
    let mut created = Created::new(0);
    if let Some(path) = spec.param("rx_pcap").map(Path::new) {
        let file = File::open(path).map_err(|source| failed(path, "open", source))?;
        byte_order(path, &file)?;
        created
            .fds
            .push((queue_key(spec, 0, "rx_pcap"), file.into()));
    }
    if let Some(path) = spec.param("tx_pcap").map(Path::new) {
        let file = File::create(path).map_err(|source| failed(path, "create", source))?;
        let header = file_header();
        file.write_all_at(&header, 0)
            .map_err(|source| failed(path, "write", source))?;
        created
            .fds
            .push((queue_key(spec, 0, "tx_pcap"), file.into()));
    }
    let cursors = Cursors::create(spec, 0, cursors, facts)?;
    for at in [RX_AT, TX_AT] {
        cursors.word(at).store(FILE_HEADER, Ordering::Release);
    }
    Ok(vec![created])
}

pub(crate) fn adopt(
    spec: &PortSpec,
    queue: u16,
    fds: &FdSource<'_>,
    pool: &Pool,
    cursors: Region,
) -> Result<Box<dyn Port>, PortError> {
    let cursors = Cursors::open(spec, queue, cursors)?;
    let file = |key: &str| -> Result<Option<File>, PortError> {
        match spec.param(key) {
            Some(_) => Ok(Some(
                need_fd(spec, fds, &queue_key(spec, queue, key))?.into(),
            )),
            None => Ok(None),
        }
    };
    let rx = match file("rx_pcap")? {
        Some(file) => {
            let path = PathBuf::from(spec.param("rx_pcap").unwrap_or_default());
            Some((byte_order(&path, &file)?, file))
        }
        None => None,
    };
    let hand = Hand {
        pool: *pool,
        port: spec.id,
        queue,
    };
    Ok(Box::new(PcapPort {
        buffer: vec![0; FRAME_HEADER + hand.room()],
        hand,
        cursors,
        rx,
        tx: file("tx_pcap")?,
        again: spec.switch("infinite_rx"),
    }))
}

struct PcapPort {
    hand: Hand,
    cursors: Cursors,
    rx: Option<(ByteOrder, File)>,
    tx: Option<File>,
    /// Whether reading starts again at the end of the capture.
    again: bool,
    /// One frame with its header.
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    fn word(self, bytes: &[u8]) -> u32 {
        let word = [bytes[0], bytes[1], bytes[2], bytes[3]];
        match self {
            ByteOrder::Little => u32::from_le_bytes(word),
            ByteOrder::Big => u32::from_be_bytes(word),
        }
    }
}

impl PcapPort {
    fn cursor(&self, at: usize) -> &'static AtomicU64 {
        self.cursors.word(at)
    }

    /// Reads the next frame that fits a buffer: its length, and where the one after it starts.
    fn next_frame(&mut self, mut at: u64) -> Option<(usize, u64)> {
        let (order, file) = self.rx.as_ref()?;
        let mut restarted = false;
        loop {
            let got = file.read_at(&mut self.buffer, at).ok()?;
            let len = match got {
                FRAME_HEADER.. => order.word(&self.buffer[8..12]) as usize,
                _ if self.again && !restarted => {
                    (at, restarted) = (FILE_HEADER, true);
                    continue;
                }
                _ => return None,
            };
            let next = at + (FRAME_HEADER + len) as u64;
            if len < ETHERNET_HEADER {
                add(self.cursors.counter(RX_SHORT), 1);
                at = next;
                continue;
            }
            if FRAME_HEADER + len <= got {
                return Some((len, next));
            }
            if FRAME_HEADER + len <= self.buffer.len() {
                return None; // the capture ends in the middle of this frame
            }
            add(self.cursors.counter(RX_OVERSIZED), 1);
            at = next;
        }
    }

    /// Writes one mbuf at the cursor; the cursor moves when all of it is in the file.
    fn write(&mut self, m: u32) -> io::Result<u64> {
        let Some(file) = &self.tx else {
            return Ok(self.cursor(TX_AT).load(Ordering::Relaxed));
        };
        let at = self.cursor(TX_AT).load(Ordering::Relaxed);
        let mut packet = Packet::from_raw(m, self.hand.pool);
        if let Some(csum) = packet.csum_partial() {
            vnet::finish(packet.data_mut(), csum);
            packet.set_csum_partial(None);
        }
        let len = packet.len();
        self.buffer[..FRAME_HEADER].copy_from_slice(&frame_header(len as u32));
        if self.buffer.len() < FRAME_HEADER + len {
            self.buffer.resize(FRAME_HEADER + len, 0);
        }
        self.buffer[FRAME_HEADER..FRAME_HEADER + len].copy_from_slice(packet.data());
        packet.into_raw();
        file.write_all_at(&self.buffer[..FRAME_HEADER + len], at)?;
        Ok(at + (FRAME_HEADER + len) as u64)
    }

    fn send(&mut self, cache: &mut Cache, m: u32) {
        match self.write(m) {
            Ok(next) => self.cursor(TX_AT).store(next, Ordering::Release),
            Err(_) => add(self.cursors.counter(WRITE_ERRORS), 1),
        }
        cache.free_burst(&[m]);
    }

    fn tx_holder(&self) -> Holder {
        Holder::tx(self.hand.port, self.hand.queue)
    }
}

impl Port for PcapPort {
    fn rx_burst(&mut self, cache: &mut Cache, out: &mut [u32]) -> usize {
        let mut at = self.cursor(RX_AT).load(Ordering::Relaxed);
        let (mut n, mut bytes) = (0, 0);
        while n < out.len() {
            let Some((len, next)) = self.next_frame(at) else {
                break;
            };
            if cache.alloc_burst(&mut out[n..=n]) == 0 {
                break;
            }
            let frame = &self.buffer[FRAME_HEADER..FRAME_HEADER + len];
            let position = next.wrapping_sub(1) as u32 & (u32::MAX >> 1);
            self.hand.copied(cache.shard(), out[n], frame, position);
            (at, n, bytes) = (next, n + 1, bytes + len as u64);
        }
        self.cursor(RX_AT).store(at, Ordering::Release);
        self.cursors.count_rx(n as u64, bytes);
        n
    }

    fn tx_burst(&mut self, cache: &mut Cache, mbufs: &[u32]) -> usize {
        for m in mbufs {
            let at = self.cursor(TX_AT).load(Ordering::Relaxed);
            let bytes = u64::from(self.hand.pool.data_len(*m));
            self.hand
                .pool
                .set_place(*m, Place::new(self.tx_holder(), at as u32));
            self.send(cache, *m);
            self.cursors.count_tx(1, bytes);
        }
        mbufs.len()
    }

    fn kick(&mut self) {}

    fn release(&mut self, _cache: &mut Cache) {}

    fn resume(&mut self, _cache: &mut Cache) {}

    fn repair(&mut self, cache: &mut Cache, held: &mut Vec<u32>) {
        let read = self.cursor(RX_AT).load(Ordering::Acquire) as u32;
        self.hand.settle(cache, read & (u32::MAX >> 1), held);
        let written = self.cursor(TX_AT).load(Ordering::Acquire) as u32;
        for (at, m) in self.hand.placed(self.tx_holder(), written) {
            if before(at, written) {
                cache.free_burst(&[m]);
            } else {
                self.send(cache, m);
            }
        }
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn ring_used(&self) -> (u32, u32) {
        (0, 0)
    }

    fn posted(&self) -> u32 {
        0
    }

    fn totals(&self) -> Totals {
        self.cursors.totals()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let load = |i: usize| self.cursors.counter(i).load(Ordering::Relaxed);
        vec![
            ("rx_oversized", load(RX_OVERSIZED)),
            ("rx_short", load(RX_SHORT)),
            ("tx_write_errors", load(WRITE_ERRORS)),
        ]
    }

    fn windows(&self, _visit: &mut dyn FnMut(Holder, u32)) {}

    fn in_kernel(&self) -> u32 {
        0
    }

    fn mac(&self) -> [u8; 6] {
        self.cursors.facts().mac
    }

    fn mtu(&self) -> u16 {
        self.cursors.facts().mtu
    }

    fn csum(&self) -> CsumSource {
        CsumSource::Detect
    }

    fn mode(&self) -> &'static str {
        "file"
    }

    fn link_up(&self) -> bool {
        true
    }
}

/// Reads and checks the header of a capture.
fn byte_order(path: &Path, file: &File) -> Result<ByteOrder, PortError> {
    let not_pcap = |found: String| PortError::NotPcap {
        path: path.to_owned(),
        found,
    };
    let mut header = [0; FILE_HEADER as usize];
    file.read_exact_at(&mut header, 0)
        .map_err(|_| not_pcap("shorter than a header of 24 bytes".to_owned()))?;
    let order = [ByteOrder::Little, ByteOrder::Big]
        .into_iter()
        .find(|order| [MAGIC_US, MAGIC_NS].contains(&order.word(&header[..4])))
        .ok_or_else(|| {
            let found = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            not_pcap(format!("magic {found:08x}"))
        })?;
    let link = order.word(&header[20..24]);
    if link != LINKTYPE_ETHERNET {
        return Err(not_pcap(format!("link type {link}")));
    }
    Ok(order)
}

fn file_header() -> [u8; FILE_HEADER as usize] {
    let mut header = [0; FILE_HEADER as usize];
    header[..4].copy_from_slice(&MAGIC_US.to_le_bytes());
    header[4..6].copy_from_slice(&2u16.to_le_bytes());
    header[6..8].copy_from_slice(&4u16.to_le_bytes());
    header[16..20].copy_from_slice(&SNAPLEN.to_le_bytes());
    header[20..24].copy_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
    header
}

fn frame_header(len: u32) -> [u8; FRAME_HEADER] {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut header = [0; FRAME_HEADER];
    header[..4].copy_from_slice(&(now.as_secs() as u32).to_le_bytes());
    header[4..8].copy_from_slice(&now.subsec_micros().to_le_bytes());
    header[8..12].copy_from_slice(&len.to_le_bytes());
    header[12..].copy_from_slice(&len.to_le_bytes());
    header
}

fn failed(path: &Path, op: &'static str, source: io::Error) -> PortError {
    PortError::File {
        path: path.to_owned(),
        op,
        source,
    }
}

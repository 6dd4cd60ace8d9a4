//! The numbers a tenant tells its supervisor: shards, drops, ports, and where every buffer is.

use crate::counters::Count;
use crate::datapath::Datapath;
use crate::lcore::Run;
use crate::mailbox::{Ask, Inventory, Mailbox, Rendezvous};
use crate::tenant::{Attached, Tenant};
use baton_schema::Reason;
use baton_schema::control::{MbufStats, PortStats, ShardStats, Stats};
use baton_shared_state::mempool::Pool;
use baton_shared_state::place::{Holder, HolderKind};
use baton_shared_state::sync::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Numbers by name.
type Named = Vec<(String, u64)>;

/// How long lcores may take to answer; they look every few rounds.
const ANSWER: Duration = Duration::from_secs(2);
/// How often an audit is tried before it is left out.
const AUDIT_TRIES: u32 = 3;

impl<D: Datapath> Run<D> {
    /// The state of this shard's queues.
    pub(crate) fn port_stats(&self) -> Vec<PortStats> {
        let queue = self.shard.index();
        self.shard
            .io
            .queues
            .iter()
            .map(|port| {
                let (used, entries) = port.ring_used();
                let totals = port.totals();
                PortStats {
                    queue,
                    mode: port.mode().into(),
                    up: port.link_up(),
                    rx_packets: totals.rx_packets,
                    tx_packets: totals.tx_packets,
                    rx_bytes: totals.rx_bytes,
                    tx_bytes: totals.tx_bytes,
                    rx_ring_entries: entries,
                    rx_ring_used: used,
                    posted: port.posted(),
                    device: port
                        .counters()
                        .into_iter()
                        .map(|(name, count)| (name.to_owned(), count))
                        .collect(),
                    ..PortStats::default()
                }
            })
            .collect()
    }

    /// Every buffer in a published window of this shard.
    pub(crate) fn inventory(&self, inventory: &mut Inventory) {
        let shard = self.shard.index();
        for (port, queue) in self.shard.io.queues.iter().enumerate() {
            queue.windows(&mut |holder, mbuf| inventory.windows.push((holder, mbuf)));
            inventory
                .in_kernel
                .push((port as u16, shard, queue.in_kernel()));
        }
        self.steering
            .window(&mut |holder, mbuf| inventory.windows.push((holder, mbuf)));
    }

    /// What the pool itself holds, and where every buffer says it is.
    pub(crate) fn pool_inventory(&self, inventory: &mut Inventory) {
        let pool = self.shard.io.pool;
        pool.windows(&mut |holder, mbuf| inventory.windows.push((holder, mbuf)));
        inventory
            .places
            .extend((0..pool.count()).map(|mbuf| pool.place(mbuf)));
    }
}

impl<D: Datapath> Tenant<D> {
    /// All numbers. The audit makes the lcores stand still for as long as listing the buffers takes.
    pub(crate) fn stats(&self, audit: bool) -> Stats {
        let Some(attached) = &self.attached else {
            return Stats::default();
        };
        let (drops, program) = self.drop_stats(attached);
        Stats {
            shards: self.shard_stats(attached),
            drops,
            ports: self.port_stats(attached),
            mbufs: if audit {
                self.audit(attached).unwrap_or_default()
            } else {
                MbufStats::default()
            },
            program,
        }
    }

    fn shard_stats(&self, attached: &Attached) -> Vec<ShardStats> {
        let counters = &attached.zones[crate::counters::SHARD_ZONE].region;
        (0..self.shards)
            .map(|shard| {
                let words = crate::counters::Words::of_shard(counters, shard);
                let lcore = usize::from(shard) % self.cpus.len();
                let owner = self.ledger.owner_word(usize::from(shard));
                let mine = owner.lcore.is_some_and(|slot| {
                    slot / baton_shared_state::LCORES_PER_TENANT as u16 == self.standing.tenant
                });
                let heartbeat = owner.lcore.map_or(0, |slot| {
                    self.ledger.heartbeat(slot).load(Ordering::Relaxed)
                });
                ShardStats {
                    shard,
                    lcore: lcore as u16,
                    cpu: self.cpus[lcore] as u16,
                    owned: mine,
                    sessions: words.get(Count::Records as usize),
                    rx_packets: words.get(Count::RxPackets as usize),
                    tx_packets: words.get(Count::TxPackets as usize),
                    heartbeat_ns: heartbeat,
                    ..ShardStats::default()
                }
            })
            .collect()
    }

    /// The program's reasons; beside them what the runtime itself dropped.
    fn drop_stats(&self, attached: &Attached) -> (Named, Named) {
        let mut drops: Vec<(String, u64)> = <D::Drop as Reason>::NAMES
            .iter()
            .enumerate()
            .map(|(at, name)| {
                (
                    (*name).to_owned(),
                    attached.drops.iter().map(|words| words.get(at)).sum(),
                )
            })
            .collect();
        let counters = &attached.zones[crate::counters::SHARD_ZONE].region;
        let total = |which: Count| {
            (0..self.shards)
                .map(|shard| crate::counters::Words::of_shard(counters, shard).get(which as usize))
                .sum::<u64>()
        };
        for (name, which) in [
            ("runtime_tx_full", Count::TxFull),
            ("runtime_steer_full", Count::SteerFull),
            ("runtime_forgotten", Count::Forgotten),
        ] {
            drops.push((name.into(), total(which)));
        }
        let program = vec![
            ("steered".into(), total(Count::SteeredOut)),
            ("bursts".into(), total(Count::Bursts)),
        ];
        (drops, program)
    }

    fn port_stats(&self, attached: &Attached) -> Vec<PortStats> {
        let (answer, answers) = channel();
        let asked = self
            .active()
            .map(|mailbox| mailbox.ask(Ask::Ports(answer.clone())))
            .count();
        let names = attached.ports.names();
        let mut all: Vec<PortStats> = collect(&answers, asked).into_iter().flatten().collect();
        for (at, stats) in all.iter_mut().enumerate() {
            let (name, driver) = names[at % names.len()].clone();
            (stats.name, stats.driver) = (name, driver);
        }
        all
    }

    pub(crate) fn active(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.mailboxes().filter(|mailbox| mailbox.active())
    }

    /// Accounts for every buffer while all owners stand still; `None` if they did not gather.
    fn audit(&self, attached: &Attached) -> Option<MbufStats> {
        (0..AUDIT_TRIES).find_map(|_| {
            let owners: Vec<_> = self.active().collect();
            let together = Arc::new(Rendezvous::of(owners.len()));
            let (answer, answers) = channel();
            for (at, mailbox) in owners.iter().enumerate() {
                mailbox.ask(Ask::Audit {
                    together: together.clone(),
                    leads: at == 0,
                    answer: answer.clone(),
                });
            }
            let inventories = collect(&answers, owners.len());
            let exact = inventories.iter().all(|inventory| inventory.exact);
            (!inventories.is_empty() && inventories.len() == owners.len() && exact)
                .then(|| summary(attached.pool, &inventories))
        })
    }
}

/// The sum over all buffers, drawn after everybody went on.
fn summary(pool: Pool, inventories: &[Inventory]) -> MbufStats {
    let total = pool.count() as usize;
    let (mut seen, mut doubled) = (vec![false; total], 0);
    let mut by_holder: BTreeMap<Holder, u64> = BTreeMap::new();
    let windows = inventories.iter().flat_map(|inventory| &inventory.windows);
    for &(holder, mbuf) in windows {
        match seen.get_mut(mbuf as usize) {
            Some(seen) if !*seen => {
                *seen = true;
                *by_holder.entry(holder).or_default() += 1;
            }
            _ => doubled += 1,
        }
    }
    let places = inventories.iter().flat_map(|inventory| &inventory.places);
    let mut missing: BTreeMap<Holder, u64> = BTreeMap::new();
    for (place, _) in places.zip(&seen).filter(|(_, seen)| !**seen) {
        *missing.entry(place.holder).or_default() += 1;
    }
    let in_kernel = inventories
        .iter()
        .flat_map(|inventory| &inventory.in_kernel);
    for &(port, queue, most) in in_kernel {
        let holder = Holder::tx(port, queue);
        let found = missing
            .get(&holder)
            .copied()
            .unwrap_or_default()
            .min(u64::from(most));
        *missing.entry(holder).or_default() -= found;
        *by_holder.entry(holder).or_default() += found;
    }
    let accounted: u64 = by_holder.values().sum();
    let is_free = |holder: &Holder| matches!(holder.kind(), HolderKind::Pool | HolderKind::Cache);
    MbufStats {
        total: total as u64,
        free: by_holder
            .iter()
            .filter(|(holder, _)| is_free(holder))
            .map(|(_, n)| n)
            .sum(),
        accounted,
        unaccounted: total as u64 - accounted,
        doubled,
        holders: by_holder
            .iter()
            .map(|(holder, n)| (holder.to_string(), *n))
            .collect(),
    }
}

fn collect<T>(answers: &Receiver<T>, count: usize) -> Vec<T> {
    (0..count)
        .map_while(|_| answers.recv_timeout(ANSWER).ok())
        .collect()
}

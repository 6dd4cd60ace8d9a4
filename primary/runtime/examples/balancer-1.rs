//! The sticky load balancer as it was in version 1.0: what the test upgrades from.
#![forbid(unsafe_code)]
use baton::prelude::*;

/// What 1.0 stores.
#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "lb.flow", version = 1)]
#[repr(C)]
struct Flow {
    server: u32,
}

/// Everything that outlives a process, with its policy.
#[derive(Zones)]
struct State {
    #[zone(migrate)]
    flows: Table<FlowKey, Flow>,
}

/// Everything that does not: made anew from the config by each version.
struct Balancer {
    servers: Vec<Mac>,
    lan: PortId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    servers: Vec<Mac>,
}

#[derive(Reason, Clone, Copy)]
enum Drop {
    NotIp,
    TableFull,
    ServerGone,
}

impl Datapath for Balancer {
    type Config = Config; // the [balancer] table of baton.toml
    type State = State;
    type Drop = Drop;

    fn version() -> &'static str {
        "1.0.0"
    }

    fn new(config: &Config, setup: &Setup) -> Result<Self> {
        Ok(Balancer {
            servers: config.servers.clone(),
            lan: setup.port("lan")?,
        })
    }

    fn burst(&mut self, shard: &mut Shard<Self>, burst: Burst) {
        for (mut packet, key, found) in shard.state.flows.find_burst(burst, Packet::flow_key) {
            let Some(key) = key else {
                shard.drop(packet, Drop::NotIp);
                continue;
            };
            let first = || Flow {
                server: key.spread(self.servers.len()) as u32,
            };
            let flow = found.or_else(|| shard.state.flows.find_or_insert(key, first).ok());
            let Some(flow) = flow else {
                shard.drop(packet, Drop::TableFull);
                continue;
            };
            let Some(mac) = self.servers.get(flow.server as usize) else {
                shard.drop(packet, Drop::ServerGone); // the config may be younger than the flow
                continue;
            };
            packet.set_dst_mac(*mac);
            shard.transmit(self.lan, packet);
        }
    }
}

fn main() -> ExitCode {
    baton::main::<Balancer>()
}

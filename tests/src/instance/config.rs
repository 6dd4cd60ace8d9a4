//! The config of the lab's instance.

use std::path::Path;

use super::PREFIX;
use crate::lab::Lab;

/// The gateway's config: the one of the manual, with a route to the flows' sources.
pub fn config_text(lab: &Lab, binary: &Path) -> String {
    let shape = lab.shape();
    let [inside, outside] = lab.vdevs();
    let (rxd, shards) = (shape.rxd, shape.shards);
    // Twice what the rings of both ports can hold.
    let mbufs = (8 * u32::from(shards) * rxd)
        .next_power_of_two()
        .max(16_384);
    format!(
        r#"# The lab's instance, written by the test harness.
[instance]
file-prefix = "{PREFIX}"
binary = "{binary}"
lcores = "{lcores}"
shards = {shards}
mbufs = {mbufs}

[[port]]
name = "inside"
vdev = "{inside}"
address = ["10.0.0.1/24"]
rxd = {rxd}

[[port]]
name = "outside"
vdev = "{outside}"
address = ["203.0.113.2/24"]
rxd = {rxd}

[[route]]
prefix = "0.0.0.0/0"
via = "203.0.113.1"

[[route]]
prefix = "10.1.0.0/16"
via = "10.0.0.2"

[gateway.nat]
inside = ["inside"]
outside = "outside"
pool = ["203.0.113.16/28"]
sessions = {capacity}
per-source = 16384

[upgrade]
soak = "{soak}ms"
deadline = "{deadline}s"
"#,
        binary = binary.display(),
        lcores = shape.cpus.lcores,
        capacity = shape.capacity,
        soak = shape.soak.as_millis(),
        deadline = shape.deadline.as_secs(),
    )
}

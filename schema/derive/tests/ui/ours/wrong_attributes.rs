use baton_schema::{Reason, Record, Zones};

#[derive(Record, Clone, Copy)]
#[repr(C)]
struct Nameless {
    server: u32,
}

#[derive(Record, Clone, Copy)]
#[record(name = "LB Flow", version = 1)]
#[repr(C)]
struct Shouting {
    server: u32,
}

#[derive(Record, Clone, Copy)]
#[record(name = "lb.flow", version = 1)]
#[repr(C)]
struct Kindless {
    #[field(kind = "ip")]
    server: u32,
}

#[derive(Reason)]
enum Drop {
    TableFull(u32),
}

#[derive(Zones)]
struct State {
    flows: u32,
}

#[derive(Zones)]
struct Other {
    #[zone(keep)]
    flows: u32,
}

fn main() {}

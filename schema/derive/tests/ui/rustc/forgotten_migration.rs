use baton_schema::Record;
use zerocopy::{FromBytes, Immutable, IntoBytes};

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "lb.flow", version = 1)]
#[repr(C)]
struct FlowV1 {
    server: u32,
}

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "lb.flow", version = 2, follows = FlowV1)]
#[repr(C)]
struct Flow {
    server: u32,
    class: u32,
}

fn main() {}

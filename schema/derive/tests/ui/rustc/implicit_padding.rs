use baton_schema::Record;
use zerocopy::{FromBytes, Immutable};

#[derive(Record, FromBytes, Immutable, Clone, Copy)]
#[record(name = "lb.flow", version = 1)]
#[repr(C)]
struct Flow {
    class: u8,
    server: u32,
}

fn main() {}

use baton_schema::{Loss, Migrate, Record};
use zerocopy::{FromBytes, Immutable, IntoBytes};

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "lb.flow", version = 2)]
#[repr(C)]
struct Old {
    server: u32,
}

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "lb.flow", version = 2, follows = Old)]
#[repr(C)]
struct New {
    server: u32,
}

impl Migrate<Old> for New {
    const LOSES: &'static [Loss] = &[];
    fn up(old: Old) -> New {
        New { server: old.server }
    }
    fn down(new: New) -> Old {
        Old { server: new.server }
    }
}

fn main() {}

use baton_schema::Record;

#[derive(Record, Clone, Copy)]
#[record(name = "lb.flow", version = 1)]
#[repr(C)]
struct Flow {
    next: *const Flow,
}

#[derive(Record, Clone, Copy)]
#[record(name = "lb.count", version = 1)]
#[repr(C)]
struct Count {
    count: [usize; 2],
}

#[derive(Record, Clone, Copy)]
#[record(name = "lb.unordered", version = 1)]
struct Unordered {
    count: u32,
}

#[derive(Record, Clone, Copy)]
#[record(name = "lb.state", version = 1)]
#[repr(u8)]
enum State {
    New,
}

fn main() {}

use baton_schema::Record;

#[derive(Record, Clone, Copy)]
#[record(name = "lb.flow", version = 1)]
#[repr(C)]
struct Flow {
    server: u32,
    seen: bool,
}

fn main() {}

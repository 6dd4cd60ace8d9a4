//! What: the records beside a session's: which outside end an inside end has, and what an inside address holds.
//! What keeps them in step is in [`crate::state`].

use baton_datapath::rewrite::End;
use baton_schema::Record;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An inside end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "nat.binding.key", version = 1)]
#[repr(C)]
pub struct BindingKey {
    /// The translated host.
    #[field(kind = "ipv4")]
    pub inside_addr: [u8; 4],
    /// Its port, or the identifier of its echo.
    #[field(kind = "port")]
    pub inside_port: [u8; 2],
    /// IP protocol number.
    #[field(kind = "protocol")]
    pub protocol: u8,
    /// Zero.
    pub _pad: u8,
}

impl BindingKey {
    /// What leads to a binding from outside: its outside end in place of the inside.
    pub(crate) fn seen_from_outside(protocol: u8, outside: End) -> BindingKey {
        BindingKey {
            inside_addr: outside.address.octets(),
            inside_port: outside.port.to_be_bytes(),
            protocol,
            _pad: 0,
        }
    }

    /// The inside end.
    #[must_use]
    pub fn inside(&self) -> End {
        End {
            address: self.inside_addr.into(),
            port: u16::from_be_bytes(self.inside_port),
        }
    }
}

/// What an inside end looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "nat.binding", version = 1)]
#[repr(C)]
pub struct Binding {
    /// The pool address.
    #[field(kind = "ipv4")]
    pub outside_addr: [u8; 4],
    /// The port, or the identifier of the echo.
    #[field(kind = "port")]
    pub outside_port: [u8; 2],
    /// Zero.
    pub _pad: [u8; 2],
    /// Sessions that use it.
    pub sessions: u32,
}

impl Binding {
    /// The outside end.
    #[must_use]
    pub fn outside(&self) -> End {
        End {
            address: self.outside_addr.into(),
            port: u16::from_be_bytes(self.outside_port),
        }
    }
}

/// An inside address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "nat.source.key", version = 1)]
#[repr(C)]
pub struct SourceKey {
    /// The translated host.
    #[field(kind = "ipv4")]
    pub inside_addr: [u8; 4],
}

/// What an inside address holds on one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "nat.source", version = 1)]
#[repr(C)]
pub struct Source {
    /// Sessions.
    pub sessions: u32,
}

const _: () = assert!(size_of::<BindingKey>() == 8 && size_of::<Binding>() == 12);

#[cfg(test)]
mod tests {
    use super::*;
    use baton_schema::golden::assert_golden;

    #[test]
    fn released_layouts_never_change() {
        assert_golden(&BindingKey::schema(), "layouts/nat.binding.key-v1.txt");
        assert_golden(&Binding::schema(), "layouts/nat.binding-v1.txt");
        assert_golden(&SourceKey::schema(), "layouts/nat.source.key-v1.txt");
        assert_golden(&Source::schema(), "layouts/nat.source-v1.txt");
    }
}

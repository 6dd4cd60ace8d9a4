//! Why a packet was dropped: an enum of the program's own, derived into named counters.

/// A closed list of drop reasons. `#[derive(Reason)]` on an enum without data; `TableFull` becomes the
/// counter `table_full`.
pub trait Reason: Sized + 'static {
    /// Counter names, in the order of the variants.
    const NAMES: &'static [&'static str];

    /// Which of [`NAMES`](Reason::NAMES).
    fn index(self) -> usize;
}

#[cfg(test)]
mod tests {
    use crate::Reason;

    #[derive(Reason)]
    enum Drop {
        NotIp,
        TableFull,
        Ipv6NotBuilt,
    }

    #[test]
    fn variants_become_counter_names() {
        assert_eq!(Drop::NAMES, ["not_ip", "table_full", "ipv6_not_built"]);
        assert_eq!(Drop::NotIp.index(), 0);
        assert_eq!(Drop::TableFull.index(), 1);
        assert_eq!(Drop::Ipv6NotBuilt.index(), 2);
    }
}

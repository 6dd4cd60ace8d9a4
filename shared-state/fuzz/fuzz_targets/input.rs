//! A fuzzer's bytes as numbers; zeros when there are none left.
#![allow(dead_code, reason = "each target uses a part")]

/// What is left of an input.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.bytes();
        byte
    }

    /// The next two bytes.
    pub fn half(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    /// The next four bytes.
    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    /// The next bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let n = N.min(self.0.len());
        bytes[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        bytes
    }

    /// Up to `n` bytes as they are.
    pub fn slice(&mut self, n: usize) -> &[u8] {
        let (slice, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        slice
    }
}

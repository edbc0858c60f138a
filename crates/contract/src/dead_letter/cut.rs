//! Dead letters that contain only the beginning of the original value, because the whole value is too large to store.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};

/// Number of bytes that a dead letter keeps of a value that is too large to be stored whole.
pub const KEPT_BYTES: usize = 64 * 1024;

/// Describes the whole original value of a dead letter that contains only the first [`KEPT_BYTES`] of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Size of the original value in bytes.
    pub size: u64,
    /// SHA-256 of the original value, 64 lower-case hex digits.
    pub sha256: String,
}

/// The beginning of a value that cannot be stored whole, and the size and hash of the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutValue<'v> {
    /// The first [`KEPT_BYTES`] of the original value.
    pub kept: &'v [u8],
    /// Size and hash of the original value.
    pub cut: Cut,
}

impl<'v> CutValue<'v> {
    /// Truncates a value that is completely in memory.
    #[must_use]
    pub fn of(value: &'v [u8]) -> Self {
        let hash = digest(&SHA256, value);
        let mut sha256 = String::with_capacity(64);
        for byte in hash.as_ref() {
            write!(sha256, "{byte:02x}").expect("a String takes everything");
        }
        Self { kept: &value[..value.len().min(KEPT_BYTES)], cut: Cut { size: value.len() as u64, sha256 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_value_keeps_its_beginning_size_and_hash() {
        let value = vec![b'x'; KEPT_BYTES + 1];
        let CutValue { kept, cut } = CutValue::of(&value);
        assert_eq!((kept.len(), cut.size, cut.sha256.len()), (KEPT_BYTES, KEPT_BYTES as u64 + 1, 64));
        assert_eq!(
            CutValue::of(b"abc").cut.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "the first test vector of FIPS 180-2"
        );
    }
}

//! SHA-256 for keys, ids and hashed addresses.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256, digest};

/// Computes the SHA-256 of data that arrives in pieces.
#[derive(Clone)]
pub struct Sha256(Context);

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256")
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Sha256 {
    /// Adds the next piece of data.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// Returns the hash of the concatenated pieces as 64 lower-case hex digits.
    #[must_use]
    pub fn hex(self) -> String {
        encode_hex(self.0.finish().as_ref())
    }
}

/// Returns the SHA-256 of the concatenated parts as 64 lower-case hex digits.
#[must_use]
pub fn sha256_hex<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::default();
    for part in parts {
        hash.update(part.as_bytes());
    }
    hash.hex()
}

/// Returns the first half of the SHA-256 of `bytes`. Half a hash is enough to distinguish values, and saves memory.
#[must_use]
pub fn sha256_half(bytes: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..16]);
    half
}

pub(crate) fn encode_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(DIGITS[usize::from(nibble)]));
        }
    }
    text
}

//! SHA-256 in hex, as keys, ids and hashed addresses use it.

use aws_lc_rs::digest::{Context, SHA256};

/// SHA-256 of the parts, one after the other: 64 lower-case hex digits.
#[must_use]
pub fn sha256_hex<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part.as_bytes());
    }
    encode_hex(context.finish().as_ref())
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

//! Signs and verifies webhooks (reporting-webhooks specification, "Securely verify requests").
//!
//! A signature is `hex(HMAC-SHA256(key, "v0:" + X-CIO-Timestamp + ":" + body))`. The key is the text of the signing key
//! as Customer.io shows it. Several keys may be live at the same time, so that a key can be changed without refusing
//! any event. This module does not check the age of the timestamp.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use crate::hash::encode_hex;

/// A signing key, ready for use. Its `Debug` form does not show the key.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([redacted])")
    }
}

impl SigningKey {
    /// Creates a key from the text that Customer.io shows. The text itself is the key; it is not decoded as hex or
    /// base64.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()))
    }
}

/// The text of `X-CIO-Timestamp`: 1 to 20 ASCII digits.
///
/// The signed text is `v0:{timestamp}:{body}`. If a timestamp could contain a `:`, anyone with one signed request could
/// move the boundary between timestamp and body. The signature would then be valid for a part of the body. The
/// restriction to digits prevents this attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureTimestamp<'a>(&'a [u8]);

impl<'a> SignatureTimestamp<'a> {
    /// Number of digits of the largest unsigned 64-bit number.
    const LONGEST: usize = 20;

    /// Parses the header's value. Returns `None` if it does not consist of 1 to 20 ASCII digits.
    #[must_use]
    pub fn parse(header: &'a [u8]) -> Option<Self> {
        let is_timestamp = (1..=Self::LONGEST).contains(&header.len()) && header.iter().all(u8::is_ascii_digit);
        is_timestamp.then_some(Self(header))
    }

    /// Returns the time in Unix seconds; `None` if it does not fit into an `i64`.
    #[must_use]
    pub fn seconds(self) -> Option<i64> {
        std::str::from_utf8(self.0).ok()?.parse().ok()
    }
}

/// The signature matches none of the live keys. The error does not say which part was wrong, and the response to the
/// sender must not say it either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature fits none of the live signing keys")]
pub struct SignatureMismatch;

const SIGNATURE_BYTES: usize = 32;

/// Verifies the signature of a body that arrives in pieces.
#[derive(Debug)]
pub struct Verifier {
    contexts: Vec<Context>,
}

/// An HMAC in progress.
struct Context(hmac::Context);

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

impl Verifier {
    /// Starts the verification. `timestamp` is the header `X-CIO-Timestamp` as received.
    #[must_use]
    pub fn new(keys: &[SigningKey], timestamp: SignatureTimestamp<'_>) -> Self {
        let begin = |key: &SigningKey| {
            let mut context = hmac::Context::with_key(&key.0);
            context.update(b"v0:");
            context.update(timestamp.0);
            context.update(b":");
            Context(context)
        };
        Self { contexts: keys.iter().map(begin).collect() }
    }

    /// Adds the next piece of the body, as received.
    pub fn update(&mut self, piece: &[u8]) {
        for context in &mut self.contexts {
            context.0.update(piece);
        }
    }

    /// Compares the result with the header `X-CIO-Signature`, whose hex digits may be in upper or lower case.
    ///
    /// # Errors
    /// Returns [`SignatureMismatch`] if the header is malformed or matches no key.
    pub fn finish(self, signature: &[u8]) -> Result<(), SignatureMismatch> {
        let claimed = decode_hex(signature).ok_or(SignatureMismatch)?;
        // Every key is tried even after a match, so that the duration reveals nothing.
        let mut fits = false;
        for context in self.contexts {
            fits |= verify_slices_are_equal(context.0.sign().as_ref(), &claimed).is_ok();
        }
        if fits { Ok(()) } else { Err(SignatureMismatch) }
    }
}

/// Verifies a complete body against every live key, in constant time for a given number of keys.
///
/// # Errors
/// Returns [`SignatureMismatch`] if the signature is malformed or matches no key.
pub fn verify(
    keys: &[SigningKey],
    timestamp: SignatureTimestamp<'_>,
    body: &[u8],
    signature: &[u8],
) -> Result<(), SignatureMismatch> {
    let mut verifier = Verifier::new(keys, timestamp);
    verifier.update(body);
    verifier.finish(signature)
}

/// Signs a body as Customer.io does. Returns 64 lower-case hex digits.
#[must_use]
pub fn sign(key: &SigningKey, timestamp: &str, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&key.0);
    context.update(b"v0:");
    context.update(timestamp.as_bytes());
    context.update(b":");
    context.update(body);
    encode_hex(context.sign().as_ref())
}

fn decode_hex(text: &[u8]) -> Option<[u8; SIGNATURE_BYTES]> {
    if text.len() != SIGNATURE_BYTES * 2 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; SIGNATURE_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (digit(*pair.first()?)?, digit(*pair.last()?)?);
        *byte = high << 4 | low;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;

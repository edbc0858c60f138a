//! Customer.io's reporting webhooks: body, signature, catalogue of events and person key.
//!
//! The crate is pure: it uses no I/O, no clock and no environment. It does not know XDM or Kafka.

mod beginning;
pub mod catalogue;
mod check;
mod hash;
mod person_key;
pub mod sample;
mod signature;
mod visible;
pub mod webhook;

pub use beginning::Beginning;
pub use check::{CHECK_OBJECT_TYPE, TEST_OBJECT_TYPE, TestPerson, check_body, is_check, test_body};
pub use hash::{Sha256, sha256_half, sha256_hex};
pub use person_key::{Identifier, PersonKey, person_key};
pub use signature::{SignatureMismatch, SignatureTimestamp, SigningKey, Verifier, sign, verify};
pub use visible::visible;

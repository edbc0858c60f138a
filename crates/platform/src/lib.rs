//! A client of Adobe Experience Platform. For streaming ingestion, it has the message envelope, access tokens, the
//! batch request, and the verdict on each record. The module [`control`] is the client of the control plane: schemas,
//! datasets, flows and their state.
//!
//! The crate knows neither Kafka nor Customer.io: callers pass in XDM JSON. The pure function [`verdict::classify`]
//! decides what a response means for each record, and the sink decides what to do next.

mod address;
pub mod client;
pub mod control;
mod credential;
pub mod envelope;
mod failure;
pub mod inlet;
pub mod token;
pub mod verdict;

pub use reqwest::Url;

pub use address::{ImsUrl, is_unencrypted};
pub use client::{ClientError, ClientSettings, HttpSettings, OnDate, PlatformClient};
pub use credential::CredentialNames;
pub use envelope::{BatchBody, Envelope, EnvelopeSettings, REQUEST_LIMIT};
pub use failure::{Failure, Unreached};
pub use inlet::InletUrl;
pub use token::{Grant, RefreshOutcome, TokenError, TokenProvider, TokenSettings};
pub use verdict::{Answer, HoldReason, RecordVerdict, Response, RetryReason, Verdict, classify};

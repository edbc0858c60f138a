//! A client of Adobe Experience Platform. For streaming ingestion: message envelope, access tokens, the batch request,
//! and what its responses mean for each record. For the [`control`] plane: schemas, datasets, flows and their state.
//!
//! It knows neither Kafka nor Customer.io: callers pass in finished XDM JSON. A pure function ([`verdict::classify`])
//! decides what a response means; the sink decides what follows.

mod address;
pub mod client;
pub mod control;
pub mod envelope;
mod failure;
pub mod inlet;
pub mod token;
pub mod verdict;

pub use reqwest::Url;

pub use address::{ImsUrl, is_unencrypted};
pub use client::{ClientError, ClientSettings, HttpSettings, OnDate, PlatformClient};
pub use envelope::{BatchBody, Envelope, EnvelopeSettings, REQUEST_LIMIT};
pub use failure::{Failure, Unreached};
pub use inlet::InletUrl;
pub use token::{RefreshOutcome, TokenError, TokenProvider, TokenSettings};
pub use verdict::{Answer, HoldReason, RecordVerdict, Response, RetryReason, Verdict, classify};

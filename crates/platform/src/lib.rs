//! A client of Adobe Experience Platform. Streaming ingestion: message envelope, access tokens, the batch request, and
//! what its answers mean for each record. The [`control`] plane: schemas, datasets, flows, and what they say.
//!
//! It knows nothing of Kafka and nothing of Customer.io: it is given finished XDM JSON. The meaning of an answer is
//! a pure function ([`verdict::judge`]); what to do about it is the sink's business.

mod address;
pub mod client;
pub mod control;
pub mod envelope;
pub mod inlet;
pub mod token;
pub mod verdict;

pub use reqwest::Url;

pub use address::{ImsUrl, is_unencrypted};
pub use client::{ClientError, ClientSettings, HttpSettings, OnDate, PlatformClient};
pub use envelope::{BatchBody, Envelope, EnvelopeSettings, REQUEST_LIMIT};
pub use inlet::InletUrl;
pub use token::{RefreshOutcome, TokenError, TokenProvider, TokenSettings};
pub use verdict::{Answer, Failure, HoldReason, RecordVerdict, Response, RetryReason, Unreached, Verdict, judge};

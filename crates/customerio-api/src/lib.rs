//! A client of Customer.io's App API: reporting webhooks, workspaces, sender addresses, and the signing key of a
//! workspace.
//!
//! - Requests ([`ApiRequest`]) and responses are values: building a request and interpreting a response does not need
//!   I/O.
//! - A webhook is replaced as a whole. [`WebhookUpdate`] starts from everything that the API returned, so no field is
//!   lost, whether this version knows it or not.
//! - One [`RequestBudget`] keeps the request rate below Customer.io's limit of 10 per second; a 429 pauses all clients
//!   that share the budget.
//! - Only requests whose repetition is harmless are repeated. A create whose outcome is unknown ends in
//!   [`UnconfirmedCreate`], which returns the [`NewWebhook`] only after a check of the list.
//! - No key, token or signing key appears in `Debug` output or in a message.
//!
//! The crate knows neither Kafka nor Experience Platform, and does not read configuration: the caller passes settings
//! in. Error messages mention the caller's environment variables.

mod account;
mod address;
mod answer;
mod change;
mod client;
mod credential;
mod error;
mod event_name;
mod pace;
mod request;
mod signing_key;
mod transport;
mod webhook;

pub use reqwest::{Certificate, Proxy, Url};

pub use account::{SenderAddress, Workspace, WorkspaceId};
pub use address::{AddressError, ApiAddress, Region, UnencryptedHttp};
pub use answer::{Answer, ErrorDetail, error_details};
pub use change::{FieldChange, NewWebhook, WebhookUpdate};
pub use client::{ApiSettings, AppApiClient, ClientError, Deletion};
pub use credential::{AppApiKey, CredentialError, ServiceAccountToken};
pub use error::{ApiError, Call, CreateError, Looked, Remedy, UnconfirmedCreate};
pub use event_name::{EmptySelection, EventName, EventSelection, SubscribableEvent, UnknownEvent};
pub use pace::{RequestBudget, RetryPolicy};
pub use request::{ApiRequest, Repeat};
pub use signing_key::{FetchedKey, ServiceAccountClient, SigningKeyError, SigningKeySource};
pub use webhook::{MessageContent, Resolution, UnreadableWebhook, Webhook, WebhookId, WebhookKind, WebhookList};

//! A client of Customer.io's App API: reporting webhooks, workspaces, sender addresses, and the signing key of a workspace.
//!
//! - Requests ([`ApiRequest`]) and answers are values. Building a request and interpreting a response need no I/O.
//! - A webhook is replaced as a whole. [`WebhookUpdate`] starts from everything that the API returned, so no field is lost,
//!   whether this version knows it or not.
//! - One [`RequestBudget`] keeps below Customer.io's 10 requests a second; 429 pauses all that share it.
//! - Only harmless requests are repeated. A create whose outcome is unknown ends in [`UnconfirmedCreate`], which
//!   returns the webhook after the list was checked.
//! - No key, token or signing key appears in a `Debug` form or a message.
//!
//! It knows neither Kafka nor Experience Platform, and reads no configuration: options belong to the caller, whose
//! variables the messages name.

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

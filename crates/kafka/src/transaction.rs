//! Consume, transform and produce in Kafka transactions: each input record's effect and its offset become visible
//! together, or not at all.
//!
//! [`machine`] decides what to do next and is a plain value; [`producer`](self) and [`worker`] carry it out on one
//! thread per worker. What a record turns into is the [`Processor`]'s business.

mod clients;
mod cursor;
mod end;
pub mod machine;
mod new_partitions;
mod outbox;
mod output_log;
mod oversized;
mod process;
mod processor;
mod producer;
mod restore;
mod session;
mod settings;
mod tail;
mod worker;
mod writer;

pub use outbox::Outbox;
pub use processor::{Disposition, Processor};
pub use settings::WorkerSettings;
pub use tail::{Lookback, PartitionState};
pub use worker::run;
pub use writer::TransactionalWriter;

//! Consume, transform and produce in Kafka transactions: each input record's effect and its offset become visible
//! together, or not at all.
//!
//! [`machine`] is a plain value that decides the next step. The sessions of a [`worker`] execute the steps, on one
//! thread per worker. A [`Processor`] turns each record into output.

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

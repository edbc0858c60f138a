//! What the benchmarks measure: the transformer's work on one event, without Kafka.

use mapping::{ReceivedAt, Rejection, SourceOptions};
use xdm::avro::{EncodeError, Encoder, Framing};

/// A click in an email of a campaign, as Customer.io sends it: 1.2 kB, the size that the budgets are about.
pub const TYPICAL: &[u8] = include_bytes!("../typical.json");

/// When it was received.
const RECEIVED_AT: i64 = 1_700_000_001_480;

/// What a worker of the transformer keeps from one event to the next.
#[derive(Debug)]
pub struct Worker {
    source: SourceOptions,
    encoder: Encoder,
    value: Vec<u8>,
}

impl Worker {
    /// One as the transformer makes it without further configuration.
    ///
    /// # Errors
    /// If the Avro schema cannot be resolved.
    pub fn new() -> Result<Self, EncodeError> {
        let encoder = Encoder::new(Framing::SingleObject)?;
        Ok(Self { source: SourceOptions::default(), encoder, value: Vec::with_capacity(4096) })
    }

    /// Parses, maps and encodes one body; returns the bytes of the record's value.
    ///
    /// # Errors
    /// When the body is refused.
    pub fn work(&mut self, body: &[u8]) -> Result<usize, Rejection> {
        let mapped = mapping::map(body, ReceivedAt::from_millis(RECEIVED_AT), &self.source)?;
        self.value.clear();
        self.encoder.encode(&mapped.event, &mut self.value)?;
        Ok(self.value.len())
    }
}

//! The work that the benchmarks measure: one event in the transformer, without Kafka.

use mapping::{ReceivedAt, Rejection, SourceOptions};
use xdm::avro::{EncodeError, Encoder, Framing};

/// A click in an email of a campaign, as Customer.io sends it. It has 1.2 kB, the size for which the budgets are set.
pub const TYPICAL: &[u8] = include_bytes!("../typical.json");

/// Receive time of the body (`received-at`): milliseconds since 1970.
const RECEIVED_AT: i64 = 1_700_000_001_480;

/// The state that a worker of the transformer keeps between events.
#[derive(Debug)]
pub struct Worker {
    source: SourceOptions,
    encoder: Encoder,
    value: Vec<u8>,
}

impl Worker {
    /// Creates the state of a transformer with default options.
    ///
    /// # Errors
    /// Returns an error if the Avro schema cannot be resolved.
    pub fn new() -> Result<Self, EncodeError> {
        let encoder = Encoder::new(Framing::SingleObject)?;
        Ok(Self { source: SourceOptions::default(), encoder, value: Vec::with_capacity(4096) })
    }

    /// Parses, maps and encodes one body; returns the bytes of the record's value.
    ///
    /// # Errors
    /// Returns the [`Rejection`] if the mapping refuses the body.
    pub fn work(&mut self, body: &[u8]) -> Result<usize, Rejection> {
        let mapped = mapping::map(body, ReceivedAt::from_millis(RECEIVED_AT), &self.source)?;
        self.value.clear();
        self.encoder.encode(&mapped.event, &mut self.value)?;
        Ok(self.value.len())
    }
}

//! Writes an event as XDM JSON, up to the size that a request can contain.

use std::fmt;

use xdm::{ExperienceEvent, TenantId};

/// Writes events into a buffer that is reused.
#[derive(Debug)]
pub(crate) struct EventJson {
    tenant: TenantId,
    /// Maximum size of an event in a request, in bytes.
    largest: usize,
    scratch: Vec<u8>,
}

/// Error: the event is larger than a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge {
    bytes: usize,
    largest: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the event is {} bytes of JSON; a request takes {}", self.bytes, self.largest)
    }
}

impl EventJson {
    pub(crate) fn new(tenant: TenantId, largest: usize) -> Self {
        Self { tenant, largest, scratch: Vec::new() }
    }

    /// Writes the event's JSON; the result is valid until the next call.
    pub(crate) fn write(&mut self, event: &ExperienceEvent<'_>) -> Result<&[u8], TooLarge> {
        self.scratch.clear();
        xdm::write_json(event, &self.tenant, &mut self.scratch);
        let (bytes, largest) = (self.scratch.len(), self.largest);
        if bytes > largest {
            // Drops the buffer, so that one large event does not increase the sink's memory permanently.
            self.scratch = Vec::new();
            return Err(TooLarge { bytes, largest });
        }
        Ok(&self.scratch)
    }
}

#[cfg(test)]
mod tests {
    use xdm::avro::{Decoder, Encoder, Framing};

    use super::*;

    const MIB: usize = 1024 * 1024;
    const LARGEST: usize = 999_000;

    fn decoded(text: String) -> ExperienceEvent<'static> {
        let mut event = ExperienceEvent { id: "01E4".into(), ..ExperienceEvent::default() };
        event.tenant.customerio.metric = text.into();
        let mut record = Vec::new();
        Encoder::new(Framing::SingleObject).unwrap().encode(&event, &mut record).unwrap();
        Decoder::new().unwrap().decode(&record).unwrap()
    }

    #[test]
    fn an_event_over_the_limit_is_refused_and_does_not_grow_the_buffer() {
        let mut json = EventJson::new("acme".parse().unwrap(), LARGEST);
        for (size, fits) in
            [(LARGEST - 1024, true), (MIB, false), (8 * MIB, false), (10 * MIB, false), (64 * MIB, false)]
        {
            for size in [size - 1, size, size + 1] {
                let event = decoded("x".repeat(size));
                match json.write(&event) {
                    Ok(written) => assert!(fits && (size..=LARGEST).contains(&written.len()), "{size}"),
                    Err(TooLarge { bytes, .. }) => assert!(!fits && (size..size + 1024).contains(&bytes), "{size}"),
                }
                assert!(json.scratch.capacity() <= 2 * LARGEST, "{} bytes kept", json.scratch.capacity());
            }
        }
    }

    #[test]
    fn the_limit_applies_to_the_json_and_not_to_the_avro_record() {
        let mut json = EventJson::new("acme".parse().unwrap(), LARGEST);
        // Each of these characters takes six bytes in JSON.
        let error = json.write(&decoded("\u{1}".repeat(LARGEST / 5))).unwrap_err();
        assert!(error.to_string().ends_with("a request takes 999000"), "{error}");
    }
}

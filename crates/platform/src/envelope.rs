//! The body of a batch request: `{"messages":[{"header":…,"body":{"xdmMeta":…,"xdmEntity":…}},…]}` (Adobe, streaming
//! ingestion API, "XDM" messages).

use bytes::Bytes;
use serde_json::json;

/// Maximum size of a request in bytes (streaming ingestion API: 1 MB). Platform responds with 413 to a larger request.
pub const REQUEST_LIMIT: usize = 1_000_000;

const OPEN: &[u8] = b"{\"messages\":[";
const CLOSE: &[u8] = b"]}";

/// Content type of a schema reference. The dataset and its messages must use the same one.
const SCHEMA_CONTENT_TYPE: &str = "application/vnd.adobe.xed-full+json;version=1";

/// The fields that all messages of one sink have in common.
#[derive(Debug, Clone)]
pub struct EnvelopeSettings {
    /// `$id` of the dataset's XDM schema.
    pub schema_id: String,
    /// Id of the dataset.
    pub dataset_id: String,
    /// Id of the organisation, `…@AdobeOrg`.
    pub ims_org: String,
    /// Id of the dataflow; needed if several dataflows use the inlet.
    pub flow_id: Option<String>,
}

/// The constant parts of a message, which are copied before and after each event.
#[derive(Debug, Clone)]
pub struct Envelope {
    before: Vec<u8>,
    after: &'static [u8],
}

impl Envelope {
    /// Builds the constant parts from the settings.
    #[must_use]
    pub fn new(settings: &EnvelopeSettings) -> Self {
        let schema = json!({"id": settings.schema_id, "contentType": SCHEMA_CONTENT_TYPE});
        let mut header = json!({
            "schemaRef": schema,
            "imsOrgId": settings.ims_org,
            "datasetId": settings.dataset_id,
            "source": {"name": "customerio-aep"},
        });
        if let (Some(flow_id), Some(header)) = (&settings.flow_id, header.as_object_mut()) {
            header.insert("flowId".to_owned(), json!(flow_id));
        }
        let meta = json!({"schemaRef": schema});
        let before = format!(r#"{{"header":{header},"body":{{"xdmMeta":{meta},"xdmEntity":"#);
        Self { before: before.into_bytes(), after: b"}}" }
    }

    /// Number of bytes that a message takes in a batch in addition to its event, including the comma.
    #[must_use]
    pub fn overhead_per_message(&self) -> usize {
        self.before.len() + self.after.len() + 1
    }

    /// Number of bytes that a batch takes in addition to its messages.
    #[must_use]
    pub fn overhead_per_batch(&self) -> usize {
        OPEN.len() + CLOSE.len()
    }

    /// Maximum size in bytes of an event that fits alone into a request.
    #[must_use]
    pub fn largest_event(&self) -> usize {
        REQUEST_LIMIT - self.overhead_per_batch() - self.overhead_per_message()
    }
}

/// Body of a batch request under construction.
#[derive(Debug)]
pub struct BatchBody<'e> {
    envelope: &'e Envelope,
    bytes: Vec<u8>,
    messages: usize,
}

impl<'e> BatchBody<'e> {
    /// Creates an empty body with room for `capacity` bytes.
    #[must_use]
    pub fn new(envelope: &'e Envelope, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(OPEN);
        Self { envelope, bytes, messages: 0 }
    }

    /// Adds one event, given as XDM JSON.
    pub fn add(&mut self, event: &[u8]) {
        if self.messages > 0 {
            self.bytes.push(b',');
        }
        self.bytes.extend_from_slice(&self.envelope.before);
        self.bytes.extend_from_slice(event);
        self.bytes.extend_from_slice(self.envelope.after);
        self.messages += 1;
    }

    /// Returns the finished body.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.bytes.extend_from_slice(CLOSE);
        self.bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_body_has_the_documented_form_and_the_calculated_size() {
        let settings = EnvelopeSettings {
            schema_id: "https://ns.adobe.com/acme/schemas/1".into(),
            dataset_id: "d1".into(),
            ims_org: "o@AdobeOrg".into(),
            flow_id: Some("f1".into()),
        };
        let envelope = Envelope::new(&settings);
        let mut body = BatchBody::new(&envelope, 0);
        for event in [r#"{"_id":"a"}"#, r#"{"_id":"b"}"#] {
            body.add(event.as_bytes());
        }
        let body = body.finish();
        let size = envelope.overhead_per_batch() + 2 * (envelope.overhead_per_message() + 11);
        assert_eq!(body.len(), size - 1, "the first message has no comma");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let message = &body["messages"][1];
        assert_eq!(message["body"]["xdmEntity"]["_id"], "b");
        assert_eq!(message["header"]["schemaRef"], message["body"]["xdmMeta"]["schemaRef"]);
        assert_eq!(message["header"]["schemaRef"]["contentType"], "application/vnd.adobe.xed-full+json;version=1");
        assert_eq!(message["header"]["imsOrgId"], "o@AdobeOrg");
        assert_eq!((&message["header"]["datasetId"], &message["header"]["flowId"]), (&json!("d1"), &json!("f1")));
        assert_eq!(message["header"]["source"]["name"], "customerio-aep");
        let bare = Envelope::new(&EnvelopeSettings { flow_id: None, ..settings });
        assert!(!String::from_utf8(bare.before).unwrap().contains("flowId"));
    }
}

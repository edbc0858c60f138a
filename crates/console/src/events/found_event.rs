//! All data about one event: its history, the webhook and event records that the page shows, and the result of mapping
//! the webhook with today's rules.

use contract::dead_letter::Stage;
use contract::{Offset, Position};
use mapping::{Explanation, ReceivedAt, SourceOptions, decoded, explain};
use operator::dead_letters::Body;
use operator::find::{Step, StepKind, StepRecord, StoredRecord, StoredValue, StoredWebhook, Timeline};
use serde_json::Value;
use xdm::TenantId;

/// Maximum size of a body whose fields are shown and explained, in bytes. The command line has no such limit.
const LARGEST_SHOWN: usize = 1024 * 1024;
/// Number of bytes that are kept of a body that is not JSON.
const BEGINNING: usize = 16 * 1024;
/// Maximum number of ignored webhook values that are kept.
const MOST_IGNORED: usize = 500;

/// All data about one event, which includes personal data and is kept for ten minutes.
#[derive(Debug)]
pub(super) struct FoundEvent {
    pub(super) timeline: Timeline,
    pub(super) webhook: Option<Webhook>,
    pub(super) sent: Option<Sent>,
    pub(super) today: Today,
}

/// A webhook as received.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) record: StepRecord,
    pub(super) source: Option<String>,
    /// Size of the whole body in bytes.
    pub(super) size: u64,
    pub(super) body: WebhookBody,
}

#[derive(Debug)]
pub(super) enum WebhookBody {
    Json(Value),
    /// The beginning of a body that is not JSON or was shortened.
    Text(String),
    /// The body has more than [`LARGEST_SHOWN`] bytes.
    TooLarge,
}

/// An event as the sink sends it to Platform.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) record: StepRecord,
    pub(super) size: usize,
    pub(super) body: Body,
}

impl Sent {
    /// Returns the event if the record could be decoded.
    pub(super) fn event(&self) -> Option<&Value> {
        match &self.body {
            Body::Event { event, .. } | Body::Json(event) => Some(event),
            Body::Text(_) | Body::Bytes(_) => None,
        }
    }
}

/// Result of mapping the webhook with the current rules and options.
#[derive(Debug)]
pub(super) enum Today {
    Explained(Box<Explanation>),
    Rejected {
        code: &'static str,
        message: String,
    },
    /// The webhook cannot be mapped, for this reason: a sentence.
    Unknown(&'static str),
}

/// The options that mapping a webhook needs.
#[derive(Debug)]
pub(super) struct Rules {
    /// Mapping options of the webhook's source; `None` if the source is not configured.
    pub(super) options: Option<SourceOptions>,
    pub(super) tenant: TenantId,
    pub(super) max_body: usize,
}

/// The records of a history that a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) webhook: Option<StepRecord>,
    pub(super) sent: Option<StepRecord>,
}

impl Chosen {
    /// Chooses the requested record, or otherwise the newest event and the webhook from which it was mapped.
    pub(super) fn of(timeline: &Timeline, asked: Option<StepRecord>) -> Self {
        let mapped = |step: &Step| match (&step.kind, step.record) {
            (StepKind::Mapped { raw_offset, .. }, StepRecord::Typed(position)) => Some((position, *raw_offset)),
            _ => None,
        };
        let all: Vec<_> = timeline.steps.iter().filter_map(mapped).collect();
        let origin = |(position, offset): (Position, Option<Offset>)| {
            offset.map(|offset| Position::of(position.partition, offset))
        };
        let event = match asked {
            Some(StepRecord::Typed(position)) => all.iter().copied().find(|(typed, _)| *typed == position),
            Some(StepRecord::Raw(position)) => all.iter().copied().find(|typed| origin(*typed) == Some(position)),
            _ => None,
        };
        let event = event.or_else(|| all.last().copied());
        let records = || timeline.steps.iter().rev().map(|step| (step.record, &step.kind));
        let received = |wanted: Option<Position>| {
            records().find_map(|(record, kind)| {
                let is_received = matches!(kind, StepKind::Received { .. });
                (is_received && wanted.is_none_or(|wanted| wanted == record.position())).then_some(record)
            })
        };
        let webhook = match asked {
            Some(record @ StepRecord::Raw(_)) => Some(record),
            _ => event.and_then(origin).and_then(|position| received(Some(position))).or_else(|| received(None)),
        };
        // Records expire, and then a dead letter may be the only record that still contains the webhook or the event.
        let dead_letter = |is_webhook: bool| {
            records().find_map(|(record, kind)| match kind {
                StepKind::DeadLettered { stage, .. } => {
                    let of_webhook = matches!(stage, Stage::Gateway | Stage::Transformer);
                    (of_webhook == is_webhook).then_some(record)
                }
                _ => None,
            })
        };
        let sent = match asked {
            Some(record @ StepRecord::Typed(_)) => Some(record),
            _ => event.map(|(position, _)| StepRecord::Typed(position)),
        };
        Self { webhook: webhook.or_else(|| dead_letter(true)), sent: sent.or_else(|| dead_letter(false)) }
    }
}

impl FoundEvent {
    /// Combines the records and maps the webhook again. This is CPU work, so call it on a blocking thread.
    pub(super) fn new(
        timeline: Timeline,
        webhook: Option<(StepRecord, StoredRecord)>,
        sent: Option<(StepRecord, StoredRecord)>,
        rules: &Rules,
    ) -> Self {
        let sent = sent.and_then(|(record, stored)| match stored.value {
            StoredValue::Event(body) => Some(Sent { record, size: stored.size, body }),
            StoredValue::Webhook(_) => None,
        });
        let webhook = webhook.and_then(|(record, stored)| match stored.value {
            StoredValue::Webhook(webhook) => Some((record, stored.received_at, webhook)),
            StoredValue::Event(_) => None,
        });
        let Some((record, received_at, stored)) = webhook else {
            let today = Today::Unknown("The webhook is not stored any more, so it cannot be mapped again.");
            return Self { timeline, webhook: None, sent, today };
        };
        let (webhook, today) = read(record, received_at, stored, rules);
        Self { timeline, webhook: Some(webhook), sent, today }
    }

    /// Returns the approximate memory use in bytes.
    pub(super) fn weight(&self) -> usize {
        let of_webhook = match self.webhook.as_ref().map(|webhook| (&webhook.body, webhook.size)) {
            Some((WebhookBody::Json(_), size)) => usize::try_from(size).unwrap_or(usize::MAX).saturating_mul(8),
            Some((WebhookBody::Text(text), _)) => text.len(),
            Some((WebhookBody::TooLarge, _)) | None => 0,
        };
        of_webhook + self.sent.as_ref().map_or(0, |sent| sent.size * 8) + self.timeline.steps.len() * 200
    }

    /// Returns whether no further steps are expected.
    pub(super) fn has_ended(&self) -> bool {
        self.timeline.state.end().is_some() && self.timeline.is_complete
    }

    /// Returns a text that changes when the event has a new state or step.
    pub(super) fn version(&self) -> String {
        format!("{:?}-{}", self.timeline.state, self.timeline.steps.len())
    }
}

fn read(record: StepRecord, received_at: i64, stored: StoredWebhook, rules: &Rules) -> (Webhook, Today) {
    let mut buffer = Vec::new();
    let whole = decoded(stored.content_encoding.as_deref(), &stored.body, rules.max_body, &mut buffer);
    let body = whole.as_ref().map_or(stored.body.as_slice(), |body| *body);
    let size = stored.original_size.unwrap_or(body.len() as u64);
    let (is_cut, is_large) = (stored.original_size.is_some(), body.len() > LARGEST_SHOWN);
    let shown = match serde_json::from_slice::<Value>(if is_large || is_cut { b"" } else { body }) {
        Ok(json) => WebhookBody::Json(json),
        Err(_) if is_large => WebhookBody::TooLarge,
        Err(_) => WebhookBody::Text(String::from_utf8_lossy(body.get(..BEGINNING).unwrap_or(body)).into_owned()),
    };
    let today = match (&whole, &rules.options) {
        // The beginning of a compressed webhook cannot be unpacked either, and this is not why it was refused.
        _ if is_cut => Today::Unknown("Only the beginning of the webhook is kept, so it cannot be mapped."),
        (Err(rejection), _) => {
            Today::Rejected { code: rejection.code.as_str(), message: rejection.message.to_string() }
        }
        _ if is_large => Today::Unknown(
            "The webhook is larger than this page explains: `customerio-aep map --explain` does it for any size.",
        ),
        (_, None) => Today::Unknown("The webhook's source is not one of those in SOURCES_FILE, so nothing maps it."),
        (Ok(body), Some(options)) => explained(body, received_at, options, &rules.tenant),
    };
    let source = stored.source;
    (Webhook { record, source, size, body: shown }, today)
}

fn explained(body: &[u8], received_at: i64, options: &SourceOptions, tenant: &TenantId) -> Today {
    match explain(body, ReceivedAt::from_millis(received_at), options, tenant) {
        Ok(mut explanation) => {
            explanation.ignored.truncate(MOST_IGNORED);
            Today::Explained(Box::new(explanation))
        }
        Err(rejection) => Today::Rejected { code: rejection.code.as_str(), message: rejection.message.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use operator::find::State;

    use super::*;

    fn step(record: StepRecord, kind: StepKind) -> Step {
        Step { time: 0, record, kind }
    }

    fn received(offset: i64) -> Step {
        let kind = StepKind::Received { source: "default".to_owned(), replay_of: None };
        step(StepRecord::Raw(Position::new(3, offset)), kind)
    }

    fn mapped(offset: i64, raw: i64) -> Step {
        let kind = StepKind::Mapped { raw_offset: Some(Offset(raw)), replay_of: None };
        step(StepRecord::Typed(Position::new(3, offset)), kind)
    }

    fn chosen(steps: Vec<Step>, asked: Option<StepRecord>) -> (Option<String>, Option<String>) {
        let timeline = Timeline { event_id: None, state: State::Accepted, steps, is_complete: true };
        let Chosen { webhook, sent } = Chosen::of(&timeline, asked);
        (webhook.map(|record| record.to_string()), sent.map(|record| record.to_string()))
    }

    fn some(webhook: &str, sent: &str) -> (Option<String>, Option<String>) {
        (Some(webhook.to_owned()), Some(sent.to_owned()))
    }

    #[test]
    fn the_requested_record_is_chosen_or_else_the_newest_event_and_its_webhook() {
        let steps = || vec![received(5), mapped(1, 5), received(6), mapped(2, 6), received(7)];
        assert_eq!(chosen(steps(), None), some("raw 3:6", "typed 3:2"));
        let raw = |offset| Some(StepRecord::Raw(Position::new(3, offset)));
        assert_eq!(chosen(steps(), raw(5)), some("raw 3:5", "typed 3:1"));
        assert_eq!(chosen(steps(), raw(7)), some("raw 3:7", "typed 3:2"), "a duplicate has no event of its own");
        let typed = Some(StepRecord::Typed(Position::new(3, 1)));
        assert_eq!(chosen(steps(), typed), some("raw 3:5", "typed 3:1"));
        assert_eq!(chosen(vec![received(5)], None), (Some("raw 3:5".to_owned()), None));
        assert_eq!(chosen(Vec::new(), None), (None, None));
    }

    #[test]
    fn a_dead_letter_is_shown_in_place_of_an_expired_record() {
        let dead_letter = |stage| {
            let (code, message, cut) = ("not_json".to_owned(), "no".to_owned(), None);
            step(StepRecord::DeadLetter(Position::new(0, 9)), StepKind::DeadLettered { stage, code, message, cut })
        };
        assert_eq!(chosen(vec![dead_letter(Stage::Transformer)], None), (Some("dead letter 0:9".to_owned()), None));
        assert_eq!(chosen(vec![dead_letter(Stage::Sink)], None), (None, Some("dead letter 0:9".to_owned())));
        assert_eq!(chosen(vec![received(5), dead_letter(Stage::Sink)], None), some("raw 3:5", "dead letter 0:9"));
    }

    #[test]
    fn the_current_mapping_is_applied_only_to_a_complete_body_within_the_size_limit() {
        let rules = Rules {
            options: Some(SourceOptions::default()),
            tenant: "acme".parse().unwrap(),
            max_body: 64 * 1024 * 1024,
        };
        let of = |body: Vec<u8>, original_size| {
            let stored = StoredWebhook { body, content_encoding: None, source: None, original_size };
            read(StepRecord::Raw(Position::new(0, 0)), 1_700_000_000_000, stored, &rules)
        };
        let (huge, today) = of(vec![b'x'; LARGEST_SHOWN + 1], None);
        assert!(matches!((huge.body, huge.size, today), (WebhookBody::TooLarge, 1_048_577, Today::Unknown(_))));
        let (text, today) = of(vec![b'x'; 100_000], None);
        assert!(matches!(&text.body, WebhookBody::Text(text) if text.len() == BEGINNING));
        assert!(matches!(today, Today::Rejected { code: "not_json", .. }));
        let (cut, today) = of(b"{\"event_id\":".to_vec(), Some(9_000_000));
        assert!(matches!((cut.body, cut.size, today), (WebhookBody::Text(_), 9_000_000, Today::Unknown(_))));
        let (body, content_encoding) = (vec![0x1f, 0x8b, 8], Some(b"gzip".to_vec()));
        let packed = StoredWebhook { body, content_encoding, source: None, original_size: Some(9_000_000) };
        let (_, today) = read(StepRecord::Raw(Position::new(0, 0)), 1_700_000_000_000, packed, &rules);
        assert!(matches!(today, Today::Unknown(_)), "the beginning of a gzip body says nothing about the body");
        let event = br#"{"event_id":"01X","object_type":"email","metric":"sent","timestamp":1700000000,"data":{}}"#;
        assert!(matches!(of(event.to_vec(), None).1, Today::Explained(_)));
    }
}

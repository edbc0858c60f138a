//! Maps one raw record to one typed record or one dead letter.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use contract::dead_letter::{CutValue, DeadLetter, KEPT_BYTES, Stage};
use contract::raw::DEFAULT_SOURCE;
use contract::{Partition, RawRecord};
use kafka::producer::NewRecord;
use kafka::record::header;
use kafka::transaction::{Disposition, Outbox, Processor};
use kafka::{Headers, Record, TopicName};
use mapping::{
    Identity, IgnoredFields, IgnoredIdentities, Rejection, RejectionCode, SourceOptions, Sources, map_record,
};
use service::{Activity, RecentOutcomes};
use settings::watched::{Current, Latest};
use xdm::avro::{EncodeError, Encoder, Framing};

use crate::clock::Clock;
use crate::config::Settings;
use crate::dedup::{Dedup, IdHash, Window, received_at, received_for_window};
use crate::metrics::{Hold, Labels, Metrics, Outcome, Tally};

/// Maximum time for which a record of an unknown source waits for a reload. Files are checked for changes every two
/// seconds.
const RELOAD_WAIT: Duration = Duration::from_secs(5);

/// Maps records and writes the results into the worker's transaction.
pub(crate) struct EventProcessor {
    input: TopicName,
    typed: TopicName,
    dead_letters: TopicName,
    sources: Latest<Sources>,
    /// [`RELOAD_WAIT`], limited to a quarter of the transaction timeout.
    reload_wait: Duration,
    encoder: Encoder,
    max_body: usize,
    buffers: Buffers,
    dedup: Dedup,
    /// Recent outcomes, including those of the open transaction.
    recent: RecentOutcomes,
    recent_committed: RecentOutcomes,
    /// Pairs of source and code whose dead letters would exceed the limit. Further records of such a pair are deferred
    /// until a restart.
    tripped: BTreeSet<(String, &'static str)>,
    /// The reasons for which this worker leaves records on the raw topic.
    holds: BTreeSet<Hold>,
    metrics: Metrics,
    tally: Tally,
    clock: Clock,
}

/// Buffers that are reused for each record.
#[derive(Debug, Default)]
struct Buffers {
    /// The body after decompression, if it was compressed.
    body: Vec<u8>,
    /// The typed record in Avro.
    value: Vec<u8>,
}

impl EventProcessor {
    pub(crate) fn new(
        settings: &Settings,
        sources: &Current<Sources>,
        framing: Framing,
        metrics: Metrics,
        clock: Activity,
    ) -> Result<Self, EncodeError> {
        Ok(Self {
            input: settings.input.clone(),
            typed: settings.typed.clone(),
            dead_letters: settings.dead_letters.clone(),
            sources: Latest::new(sources),
            reload_wait: RELOAD_WAIT.min(settings.transaction_timeout / 4),
            encoder: Encoder::new(framing)?,
            max_body: settings.max_body,
            buffers: Buffers::default(),
            dedup: Dedup::new(settings.dedup),
            recent: RecentOutcomes::new(settings.dead_letter_limit),
            recent_committed: RecentOutcomes::new(settings.dead_letter_limit),
            tripped: BTreeSet::new(),
            holds: BTreeSet::new(),
            tally: Tally::new(metrics.clone()),
            metrics,
            clock: Clock::new(clock),
        })
    }

    /// Waits for a reload of `SOURCES_FILE` if the source is unknown: the gateway may have read the changed file before
    /// the transformer.
    fn wait_for_source(&mut self, name: Option<&str>) {
        let deadline = Instant::now() + self.reload_wait;
        while self.sources.get().get(name).is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Writes the typed record, unless its event already has one. A record with the header `reprocess` is always
    /// written.
    fn typed(&mut self, record: &Record<'_>, typed: &Typed, outbox: &mut Outbox<'_>) -> Labels {
        let (partition, received) = (record.partition(), received_for_window(record, service::unix_millis()));
        let id = IdHash::of(typed.id.as_bytes());
        let again = record.headers().any(|header| header.name == header::REPROCESS);
        if !again && self.dedup.is_duplicate(partition, id, received) {
            return Labels { outcome: Outcome::Duplicate, ..typed.labels };
        }
        outbox.send(NewRecord {
            topic: &self.typed,
            partition: Some(partition),
            key: record.key(),
            value: Some(&self.buffers.value),
            headers: typed_headers(record, &typed.id),
        });
        self.dedup.note(partition, id, received);
        self.tally.ignored(typed.ignored);
        self.tally.ignored_identities(typed.ignored_identities);
        self.tally.event_time(typed.ahead_ms);
        typed.labels
    }

    fn dead_letter(&self, record: &Record<'_>, rejection: &Rejection, outbox: &mut Outbox<'_>) -> Labels {
        let (code, now) = (rejection.code.as_str(), service::unix_millis());
        let mut dead_letter = DeadLetter::new(Stage::Transformer, code, &rejection.message, now)
            .of(self.input.as_str(), record.position());
        let mut value = record.value();
        if outbox.refusals(&self.dead_letters) > 0 {
            let CutValue { kept, cut } = CutValue::of(value);
            (value, dead_letter) = (kept, dead_letter.cut(cut));
        }
        outbox.send(NewRecord {
            topic: &self.dead_letters,
            partition: Some(record.partition()),
            key: record.key(),
            value: Some(value),
            headers: Headers::copied(record.headers()).with_all(dead_letter.headers()),
        });
        Labels { outcome: Outcome::DeadLetter(rejection.code.as_str()), object_type: "none", metric: "none" }
    }

    fn show_held(&mut self, hold: Hold) {
        if self.holds.insert(hold) {
            self.metrics.held(hold);
        }
    }

    /// Whether a dead letter of this source with this code would exceed the limit now, or would have exceeded it
    /// earlier. Logs an error the first time.
    fn is_over_limit(&mut self, source: &str, code: &'static str) -> bool {
        if self.tripped.iter().any(|(known, other)| known == source && *other == code) {
            return true;
        }
        if !self.recent.would_exceed(source, code, 1) {
            return false;
        }
        tracing::error!(
            source,
            code,
            "too many of the recent records of this source would become dead letters with this code (DEAD_LETTER_LIMIT): from now on they stay on the raw topic, and everything else continues. Check the dead letters; after a wrong setting or version, correct it and restart; if these records are expected to become dead letters, raise the limit or set it to off, and restart. The restart processes the deferred records; none is lost as long as the raw topic retains it"
        );
        self.tripped.insert((source.to_owned(), code));
        self.show_held(Hold::DeadLetterLimit);
        true
    }

    fn show_windows(&self) {
        for (partition, window) in self.dedup.windows() {
            self.metrics.show_window(partition, window.ids(), window.reach());
        }
    }
}

impl Processor for EventProcessor {
    type State = Window;

    fn new_state(&self) -> Window {
        self.dedup.window()
    }

    fn restored(&mut self, partition: Partition, window: Window, took: Duration) {
        tracing::info!(
            partition = partition.0,
            ids = window.ids(),
            reach_seconds = window.reach(),
            ?took,
            "restored the dedup window of a partition"
        );
        self.metrics.rebuilt(took);
        self.dedup.restored(partition, window);
        self.show_windows();
    }

    fn release(&mut self, partition: Partition) {
        self.dedup.release(partition);
        self.metrics.forget_window(partition);
    }

    fn process(&mut self, record: &Record<'_>, outbox: &mut Outbox<'_>) -> Disposition {
        self.clock.received(received_at(record));
        let source = record.header(header::SOURCE).map(String::from_utf8_lossy);
        self.wait_for_source(source.as_deref());
        let Some(source) = self.sources.get().get(source.as_deref()) else {
            // The gateway accepted this source, so the webhook is genuine. Mapping with guessed options could merge the
            // profiles of different people, and a dead letter would have to be replayed. So the worker stops.
            return Disposition::Stop(format!(
                "a record has the source `{}`, which SOURCES_FILE does not name (it names: {}); add it and start again; no record is lost",
                source.as_deref().unwrap_or(DEFAULT_SOURCE),
                self.sources.get().names()
            ));
        };
        if outbox.refusals(&self.dead_letters) > 1 {
            self.show_held(Hold::DeadLetterSize);
            return Disposition::Hold(format!(
                "`{}` refuses even the first {} KiB of a dead letter: raise its max.message.bytes, then restart",
                self.dead_letters,
                KEPT_BYTES / 1024
            ));
        }
        // A body of `customerio-aep check` never reaches Platform, whatever the options of its source are.
        if customerio::is_check(record.value()) {
            self.tally.count(Labels { outcome: Outcome::Check, object_type: "none", metric: "none" });
            return Disposition::Done;
        }
        let mapped = map(record, source, &self.encoder, self.max_body, &mut self.buffers);
        let refused = outbox.refusals(&self.typed) > 0;
        let bytes = self.buffers.value.len();
        let labels = match mapped.and_then(|typed| if refused { Err(too_large(bytes)) } else { Ok(typed) }) {
            Ok(typed) => {
                self.recent.note_good(&source.name, 1);
                self.typed(record, &typed, outbox)
            }
            Err(rejection) => {
                let (source, code) = (source.name.clone(), rejection.code.as_str());
                if self.is_over_limit(&source, code) {
                    return Disposition::Defer(format!(
                        "records of source `{source}` that would become dead letters with code {code} are deferred (DEAD_LETTER_LIMIT), and no more of them can be deferred"
                    ));
                }
                self.recent.note_dead(&source, code, 1);
                self.dead_letter(record, &rejection, outbox)
            }
        };
        self.tally.count(labels);
        Disposition::Done
    }

    fn show_deferred(&mut self, partition: Partition, records: u64) {
        self.metrics.show_deferred(partition, records);
    }

    fn committed(&mut self, took: Duration) {
        self.dedup.committed();
        self.recent_committed.clone_from(&self.recent);
        self.tally.committed(took);
        self.clock.compare(service::unix_millis());
        self.show_windows();
    }

    fn aborted(&mut self) {
        self.dedup.aborted();
        self.recent.clone_from(&self.recent_committed);
        self.tally.aborted();
    }
}

/// Returns the rejection for a typed record that is too large for its topic.
fn too_large(bytes: usize) -> Rejection {
    let message =
        format!("the typed record has {bytes} bytes, which is more than max.message.bytes of the typed topic allows");
    Rejection::new(RejectionCode::TooLarge, message)
}

/// The metadata of a mapped record, whose bytes are in [`Buffers`].
struct Typed {
    id: String,
    labels: Labels,
    ignored: IgnoredFields,
    ignored_identities: IgnoredIdentities,
    /// The event's time minus its receive time, in milliseconds.
    ahead_ms: i64,
}

/// Maps the record and writes its Avro form into the buffers. A panic rejects only this record.
fn map(
    record: &Record<'_>,
    source: &SourceOptions,
    encoder: &Encoder,
    max_body: usize,
    buffers: &mut Buffers,
) -> Result<Typed, Rejection> {
    let Buffers { body, value } = buffers;
    let raw = RawRecord::read(record.headers(), record.value(), record.timestamp());
    map_record(&raw, source, max_body, body, |mapped| {
        value.clear();
        encoder.encode(&mapped.event, value)?;
        let (object_type, metric) = mapped.labels();
        let outcome = match mapped.identity {
            Identity::Present => Outcome::Mapped,
            Identity::Missing => Outcome::MappedWithoutIdentity,
        };
        let labels = Labels { outcome, object_type, metric };
        Ok(Typed {
            labels,
            ignored: mapped.ignored,
            ignored_identities: mapped.ignored_identities,
            ahead_ms: mapped.ahead_ms,
            id: mapped.event.id.into_owned(),
        })
    })
}

fn typed_headers(record: &Record<'_>, id: &str) -> Headers {
    Headers::with_capacity(6)
        .with(header::EVENT_ID, id.as_bytes())
        .with(header::RAW_OFFSET, record.offset().to_string().as_bytes())
        .with(header::RECEIVED_AT, received_at(record).to_string().as_bytes())
        .with_some(header::SOURCE, record.header(header::SOURCE))
        .with_some(header::TRACEPARENT, record.header(header::TRACEPARENT))
}

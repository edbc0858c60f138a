//! Tests the journal with a simulated broker that refuses records.

use std::collections::HashMap;
use std::sync::Mutex;

use contract::dead_letter::{KEPT_BYTES, header as dead_letter_header};
use contract::receipt::{ReceiptEntry, ReceiptVerdict};
use kafka::record::{Header, PackedRecord};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::work::Code;

const MIB: usize = 1024 * 1024;

/// Limits the time of `work`: a journal that repeated a hopeless write would never end.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("the same write is repeated")
}

/// A record on a topic.
#[derive(Debug, Clone)]
struct Stored {
    topic: String,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    headers: HashMap<String, Vec<u8>>,
    batching: Batching,
}

impl Stored {
    fn header(&self, name: &str) -> &str {
        std::str::from_utf8(&self.headers[name]).unwrap()
    }
}

/// A simulated broker that refuses records because of their size or because of their batch.
#[derive(Debug, Default)]
struct Broker {
    /// `max.message.bytes`; `None` for no limit.
    limit: Option<usize>,
    /// Whether every batch with several records is refused, because another record in it is too large.
    large_neighbours: bool,
    /// Number of further records that are refused regardless of their size.
    refuse: AtomicUsize,
    stored: Mutex<Vec<Stored>>,
    refused: AtomicUsize,
    /// Number of writes in progress.
    in_progress: AtomicUsize,
    most_in_progress: AtomicUsize,
}

impl Write for &Broker {
    fn write(
        &self,
        record: NewRecord<'_>,
        batching: Batching,
    ) -> impl Future<Output = Result<(), ProduceError>> + Send {
        let broker: &Broker = self;
        let too_large = broker.limit.is_some_and(|limit| size(&record) > limit)
            || (broker.large_neighbours && batching == Batching::Shared)
            || broker.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let headers = record.headers.iter();
        let stored = Stored {
            topic: record.topic.to_string(),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.unwrap_or_default().to_vec(),
            headers: headers
                .map(|header| (header.name.to_owned(), header.value.unwrap_or_default().to_vec()))
                .collect(),
            batching,
        };
        let in_progress = broker.in_progress.fetch_add(1, Ordering::SeqCst) + 1;
        broker.most_in_progress.fetch_max(in_progress, Ordering::SeqCst);
        async move {
            tokio::task::yield_now().await;
            broker.in_progress.fetch_sub(1, Ordering::SeqCst);
            if too_large {
                broker.refused.fetch_add(1, Ordering::SeqCst);
                return Err(ProduceError::TooLarge);
            }
            broker.stored.lock().unwrap().push(stored);
            Ok(())
        }
    }
}

impl Broker {
    fn with_limit(limit: usize) -> Self {
        Self { limit: Some(limit), ..Self::default() }
    }

    fn journal(&self) -> Journal<&Self> {
        let topics = JournalTopics {
            input: "typed".parse().unwrap(),
            dead_letters: "dead-letters".parse().unwrap(),
            receipts: Some("receipts".parse().unwrap()),
        };
        Journal::with(self, topics)
    }

    fn stored(&self) -> Vec<Stored> {
        self.stored.lock().unwrap().clone()
    }
}

/// Returns records that become dead letters, with offsets from 0.
fn dead_letters(values: impl IntoIterator<Item = Vec<u8>>) -> Vec<ToDeadLetter> {
    let dead_letters = values.into_iter().zip(0..).map(|(value, offset)| ToDeadLetter {
        record: PackedRecord::pack(
            Position::new(2, offset),
            Some(b"person"),
            &value,
            [Header { name: "event-id", value: Some(b"01E4") }].iter().copied(),
        ),
        code: Code::TooLarge,
        message: "the event is too large".to_owned(),
    });
    dead_letters.collect()
}

#[tokio::test]
async fn a_record_whose_batch_is_too_large_is_written_whole_in_a_separate_batch() {
    let broker = Broker { large_neighbours: true, ..Broker::default() };
    in_time(broker.journal().dead_letters(&dead_letters([vec![7; MIB]]))).await;
    let stored = broker.stored();
    assert_eq!((stored.len(), stored[0].batching, stored[0].value.len()), (1, Batching::Alone, MIB));
    assert!(!stored[0].headers.contains_key(dead_letter_header::ORIGINAL_SIZE));
}

#[tokio::test]
async fn a_dead_letter_over_the_topic_limit_is_truncated_and_does_not_block_the_next() {
    for size in [MIB, 8 * MIB, 10 * MIB, 64 * MIB] {
        // If both topics have the same limit, the additional headers make the dead letter too large.
        let broker = Broker::with_limit(size);
        let journal = broker.journal();
        let value: Vec<u8> = (0..size).map(|index| u8::try_from(index % 251).unwrap()).collect();
        in_time(journal.dead_letters(&dead_letters([value.clone(), b"small".to_vec()]))).await;
        let stored = broker.stored();
        let cut = stored.iter().find(|record| record.header(dead_letter_header::OFFSET) == "0").unwrap();
        assert_eq!(cut.value, value[..KEPT_BYTES]);
        assert_eq!(cut.header(dead_letter_header::ORIGINAL_SIZE), size.to_string());
        assert_eq!(cut.header(dead_letter_header::ORIGINAL_SHA256), CutValue::of(&value).cut.sha256);
        assert_eq!(cut.header(dead_letter_header::CODE), "too_large", "the original code is kept");
        assert_eq!((cut.header("event-id"), cut.key.as_deref()), ("01E4", Some(&b"person"[..])));
        let next = stored.iter().find(|record| record.header(dead_letter_header::OFFSET) == "1").unwrap();
        assert_eq!(next.value, b"small");
        assert_eq!((stored.len(), journal.is_failing(), journal.is_repeating()), (2, false, false));
    }
}

#[tokio::test]
async fn a_truncated_dead_letter_refused_by_the_topic_is_retried_until_it_is_accepted() {
    // Refuses the whole record twice (in a shared batch and alone), and the truncated record twice.
    let broker = Broker { refuse: AtomicUsize::new(4), ..Broker::default() };
    let journal = broker.journal();
    let dead_letters = dead_letters([vec![7; MIB]]);
    let mut write = Box::pin(journal.dead_letters(&dead_letters));
    let mut was_failing = false;
    std::future::poll_fn(|context| {
        let done = write.as_mut().poll(context);
        was_failing |= journal.is_failing() && journal.is_repeating();
        done
    })
    .await;
    assert!(was_failing, "the metric never showed the failure");
    assert_eq!((journal.is_failing(), journal.is_repeating()), (false, false));
    let stored = broker.stored();
    assert_eq!((stored.len(), stored[0].value.len()), (1, KEPT_BYTES));
    assert_eq!(broker.refused.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn all_dead_letters_of_a_batch_are_in_flight_at_the_same_time() {
    let broker = Broker::default();
    broker.journal().dead_letters(&dead_letters(vec![vec![7; 10]; 200])).await;
    assert_eq!(broker.most_in_progress.load(Ordering::SeqCst), 200);
    assert_eq!(broker.stored().len(), 200);
}

fn receipt(entries: usize) -> Receipt<'static> {
    let entry = |offset: usize| {
        let xaction = offset.is_multiple_of(3).then(|| format!("1565628583792:1485:153:{offset}").into());
        ReceiptEntry {
            position: Position::new(3, i64::try_from(offset).unwrap()),
            event_id: format!("01E4C4CT6YDC7Y5M7FE1{offset}").into(),
            xaction_id: xaction,
            verdict: if offset.is_multiple_of(7) { ReceiptVerdict::Refused } else { ReceiptVerdict::Accepted },
        }
    };
    Receipt {
        sent_at: 1_700_000_000_000,
        status: 207,
        inlet_id: Some("inlet".into()),
        batch_id: Some("batch".into()),
        records: (0..entries).map(entry).collect(),
    }
}

/// Upper limit of the size of a receipt with a single entry, in bytes.
const ONE_ENTRY: usize = 250;

proptest! {
    #[test]
    fn a_receipt_over_the_topic_limit_is_split_and_each_entry_is_written_once(
        entries in 1..300usize,
        limit in ONE_ENTRY..20_000usize,
        large_neighbours in any::<bool>(),
    ) {
        let broker = Broker { large_neighbours, ..Broker::with_limit(limit) };
        let receipt = receipt(entries);
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
            .block_on(in_time(broker.journal().receipt(&receipt)));
        let stored = broker.stored();
        let mut written = Vec::new();
        for record in &stored {
            prop_assert!(record.value.len() <= limit);
            prop_assert_eq!((&record.topic[..], record.header(header::VERSION)), ("receipts", RECEIPT_VERSION));
            let part: Value = serde_json::from_slice(&record.value).unwrap();
            prop_assert_eq!(&part["batchId"], "batch");
            written.extend(part["records"].as_array().unwrap().iter().cloned());
        }
        let whole: Value = serde_json::from_slice(&receipt.json()).unwrap();
        prop_assert_eq!(&Value::Array(written), &whole["records"]);
        if receipt.json().len() + 100 < limit {
            prop_assert_eq!(stored.len(), 1, "a receipt within the limit was split");
        }
    }
}

#[test]
fn without_a_receipts_topic_several_batches_write_a_single_sink_delivered_from_record() {
    let broker = Broker::default();
    let topics = |receipts: Option<&str>| JournalTopics {
        input: "typed".parse().unwrap(),
        dead_letters: "dead-letters".parse().unwrap(),
        receipts: receipts.map(|receipts| receipts.parse().unwrap()),
    };
    let journal = Journal::with(&broker, topics(None));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (one, other) = (receipt(3), receipt(2));
        tokio::join!(journal.receipt(&one), journal.receipt(&other));
        journal.receipt(&one).await;
    });
    let stored = broker.stored.lock().unwrap();
    let [mark] = stored.as_slice() else { panic!("{stored:?}") };
    assert_eq!((mark.topic.as_str(), mark.header("sink-delivered-from")), ("dead-letters", "typed"));
    assert!(mark.value.is_empty() && mark.key.is_none() && mark.headers.len() == 1);
}

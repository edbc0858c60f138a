use contract::Position;
use contract::dead_letter::Stage;
use operator::find::{StepRecord, StoredRecord, Timeline};
use operator::tail::Outcome;
use tokio::sync::Notify;

use super::super::source::{Answering, Search};
use super::*;
use crate::jobs::Job;

/// Source that keeps its listeners for the test. Reading ends when no stream or page is open, or when the test makes it
/// fail.
#[derive(Debug, Default)]
struct Fake {
    listeners: Mutex<Vec<Heard>>,
    fails: Notify,
}

struct Heard(Arc<dyn Listener>);

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Heard")
    }
}

impl EventSource for Fake {
    fn find<'a>(&'a self, _: &'a Search, _: &'a Job) -> Answering<'a, Result<Vec<Timeline>, String>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn stored<'a>(&'a self, _: StepRecord, _: &'a Job) -> Answering<'a, Result<Option<StoredRecord>, String>> {
        Box::pin(async { Ok(None) })
    }

    fn tail(&self, listener: Arc<dyn Listener>) -> Answering<'_, Result<(), String>> {
        self.listeners.lock().unwrap().push(Heard(Arc::clone(&listener)));
        Box::pin(async move {
            let unwatched = async {
                while listener.goes_on() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::select! {
                () = unwatched => Ok(()),
                () = self.fails.notified() => Err("no broker answers.".to_owned()),
            }
        })
    }

    fn options(&self, _: Option<&str>) -> Option<mapping::SourceOptions> {
        None
    }

    fn tenant(&self) -> &xdm::TenantId {
        &crate::testing::TENANT
    }

    fn max_body(&self) -> usize {
        0
    }
}

fn event(number: usize) -> Ended {
    let position = Position::new(0, i64::try_from(number).unwrap());
    Ended {
        time: 0,
        outcome: Outcome::DeadLettered { stage: Stage::Sink, code: "refused".to_owned(), position },
        event_id: Some(format!("e{number}")),
        source: None,
        event: None,
        person: None,
        age: None,
    }
}

struct Test {
    fake: Arc<Fake>,
    source: Arc<dyn EventSource>,
    tail: Tail,
}

impl Test {
    fn new() -> Self {
        let fake = Arc::new(Fake::default());
        Self { source: Arc::clone(&fake) as Arc<dyn EventSource>, fake, tail: Tail::default() }
    }

    /// Waits until this number of readers was started, and returns the listener of the last one.
    async fn listener(&self, readers: usize) -> Arc<dyn Listener> {
        while self.fake.listeners.lock().unwrap().len() < readers {
            tokio::task::yield_now().await;
        }
        Arc::clone(&self.fake.listeners.lock().unwrap().last().unwrap().0)
    }
}

#[tokio::test(start_paused = true)]
async fn one_reader_serves_all_streams_until_the_last_stream_is_closed() {
    let test = Test::new();
    let (mut one, two) = (test.tail.open(&test.source).unwrap(), test.tail.open(&test.source).unwrap());
    let listener = test.listener(1).await;
    listener.hears(&News::Started { has_receipts: true });
    listener.ended(&event(1));
    let beat = one.next(|_| true).await.unwrap();
    assert_eq!((beat.ended.len(), beat.left_out), (1, 0));
    assert!(beat.said.unwrap().starts_with("Live"));
    drop(one);
    assert!(listener.goes_on(), "the other stream is open");
    drop(two);
    assert!(!listener.goes_on());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(test.fake.listeners.lock().unwrap().len(), 1);
    drop(test.tail.open(&test.source));
    test.listener(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_sends_a_limited_sample_and_counts_the_events_left_out() {
    let test = Test::new();
    let mut stream = test.tail.open(&test.source).unwrap();
    let listener = test.listener(1).await;
    (0..100).for_each(|number| listener.ended(&event(number)));
    let beat = stream.next(|_| true).await.unwrap();
    assert_eq!((beat.ended.len(), beat.left_out), (MOST_PER_BEAT, 75));
    (0..10_000).for_each(|number| listener.ended(&event(number)));
    let beat = stream.next(|_| true).await.unwrap();
    assert_eq!(beat.ended.len() as u64 + beat.left_out, 10_000);
    assert_eq!(test.tail.newest().0.len(), MOST_ROWS, "memory is bounded");
    assert_eq!(test.tail.newest().0[0].event_id.as_deref(), Some("e9999"));
    listener.ended(&event(1));
    listener.ended(&event(2));
    let beat = stream.next(|ended| ended.event_id.as_deref() == Some("e2")).await.unwrap();
    assert_eq!(
        (beat.ended.len(), beat.left_out),
        (1, 0),
        "events that the filter excludes are not counted as left out"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_reader_fails_its_time_is_over_or_the_console_stops() {
    let test = Test::new();
    let mut stream = test.tail.open(&test.source).unwrap();
    test.listener(1).await;
    test.fake.fails.notify_one();
    let beat = stream.next(|_| true).await.unwrap();
    assert_eq!(beat.said.as_deref(), Some("The topics cannot be read: no broker answers."));
    assert_eq!(stream.next(|_| true).await, None);

    let mut long = test.tail.open(&test.source).unwrap();
    assert_eq!(long.next(|_| true).await, None, "its maximum lifetime is over");

    let mut last = test.tail.open(&test.source).unwrap();
    test.tail.end();
    assert_eq!(last.next(|_| true).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_the_limit_is_refused() {
    let test = Test::new();
    let streams: Vec<Stream> = (0..MOST_STREAMS).map(|_| test.tail.open(&test.source).unwrap()).collect();
    assert!(test.tail.open(&test.source).is_none());
    drop(streams);
    assert!(test.tail.open(&test.source).is_some());
}

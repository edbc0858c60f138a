//! The state of the screen: the unresolved dead letters as they were read last, and the work on them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use operator::dead_letters::Unresolved;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::message;
use super::source::DeadLetterSource;
use super::work::History;

/// How many unresolved dead letters are kept. Each takes about 32 bytes.
const MOST: usize = 2_000_000;
/// How old the answer of Kafka may be.
const FRESH: Duration = Duration::from_secs(1);
/// How long a page waits for the reading. If it takes longer, the page shows how far it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of the reading of the topic.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    pub(super) is_reading: bool,
    /// Records that were read, and about how many there are.
    pub(super) progress: (u64, Option<u64>),
    /// What the last reading said: whether the topic exists, or why there is no answer.
    pub(super) result: Option<Result<bool, String>>,
    /// When the topic was read to its end the last time: milliseconds since 1970.
    pub(super) complete_at: Option<i64>,
    ended: Option<Instant>,
}

/// The state of the screen.
#[derive(Debug)]
pub struct DeadLetters {
    source: Arc<dyn DeadLetterSource>,
    unresolved: Arc<Mutex<Unresolved>>,
    reading: watch::Sender<Reading>,
    pub(super) history: History,
}

impl DeadLetters {
    /// A screen over this topic.
    pub fn new(source: impl DeadLetterSource) -> Self {
        Self {
            source: Arc::new(source),
            unresolved: Arc::new(Mutex::new(Unresolved::new(MOST, message::masked))),
            reading: watch::Sender::default(),
            history: History::default(),
        }
    }

    pub(super) fn source(&self) -> Arc<dyn DeadLetterSource> {
        Arc::clone(&self.source)
    }

    pub(super) fn unresolved(&self) -> Arc<Mutex<Unresolved>> {
        Arc::clone(&self.unresolved)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Unresolved> {
        self.unresolved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read has changed.
    pub(super) fn has_changed(&self) {
        self.reading.send_modify(|reading| reading.ended = None);
    }

    pub(super) fn reading(&self) -> Reading {
        self.reading.borrow().clone()
    }

    /// Reads what is new, unless that was done just now, and waits for a moment. Nothing is read unless somebody looks.
    pub(super) async fn refresh(&self, now: i64) -> Reading {
        let mut begins = false;
        self.reading.send_if_modified(|reading| {
            let is_fresh = reading.ended.is_some_and(|ended| ended.elapsed() < FRESH);
            begins = !reading.is_reading && !is_fresh;
            if begins {
                (reading.is_reading, reading.progress) = (true, (0, None));
            }
            begins
        });
        if begins {
            let (source, unresolved, sender) = (self.source(), self.unresolved(), self.reading.clone());
            tokio::spawn(async move {
                let mut ending = Ending(Some(sender.clone()));
                let progress = |records, of| sender.send_modify(|reading| reading.progress = (records, of));
                let result = source.read(&unresolved, &progress).await;
                ending.0 = None;
                sender.send_modify(|reading| {
                    reading.is_reading = false;
                    reading.ended = Some(Instant::now());
                    if result.is_ok() {
                        reading.complete_at = Some(now);
                    }
                    reading.result = Some(result);
                });
            });
        }
        let mut receiver = self.reading.subscribe();
        let ended = timeout(PATIENCE, receiver.wait_for(|reading| !reading.is_reading)).await;
        match ended {
            Ok(Ok(reading)) => reading.clone(),
            _ => self.reading(),
        }
    }
}

/// Ends the reading if its task panics, so that the next page reads again.
struct Ending(Option<watch::Sender<Reading>>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(sender) = &self.0 {
            sender.send_modify(|reading| {
                reading.is_reading = false;
                reading.result = Some(Err("reading the topic failed; this is a defect".to_owned()));
            });
        }
    }
}

//! State of the screen Dead letters: the unresolved dead letters at the last read, and the operations.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use operator::dead_letters::Unresolved;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::message;
use super::source::DeadLetterSource;
use super::work::History;

/// Maximum number of unresolved dead letters that are kept. Each takes about 32 bytes.
const MOST: usize = 2_000_000;
/// Maximum age of the last read before a page starts a new one.
const FRESH: Duration = Duration::from_secs(1);
/// Time that a page waits for the end of a read. After this time the page shows the progress.
const PATIENCE: Duration = Duration::from_secs(2);

/// State of reading the topic.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    pub(super) is_reading: bool,
    /// Number of records read, and the approximate total if it is known.
    pub(super) progress: (u64, Option<u64>),
    /// Result of the last read: whether the topic exists, or the error message.
    pub(super) result: Option<Result<bool, String>>,
    /// Start time of the last read that reached the end of the topic: milliseconds since 1970.
    pub(super) complete_at: Option<i64>,
    ended: Option<Instant>,
}

/// State of the screen Dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    source: Arc<dyn DeadLetterSource>,
    unresolved: Arc<Mutex<Unresolved>>,
    reading: watch::Sender<Reading>,
    pub(super) history: History,
}

impl DeadLetters {
    /// Creates the screen for this dead-letter topic.
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

    /// Makes the next page read the topic again, because an operation has changed it.
    pub(super) fn has_changed(&self) {
        self.reading.send_modify(|reading| reading.ended = None);
    }

    pub(super) fn reading(&self) -> Reading {
        self.reading.borrow().clone()
    }

    /// Reads new records unless the last read is recent, and waits at most [`PATIENCE`] for the end of the read. Only
    /// pages call this function, so nothing is read while no page is open.
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

/// Marks the read as failed if its task panics, so that the next page can read again.
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

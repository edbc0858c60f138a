//! Polls the status in the background, more often while a page is open. Pages show the last result without waiting.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use operator::status::{Answers, Asked, History, Outside, Status, TopicState, status};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::hour::{Hour, Sample};
use super::source::StatusSource;

/// Poll interval of the services while a page is open.
const WATCHED: Duration = Duration::from_secs(2);
/// Poll interval of the services while no page is open, for the samples of the last hour.
const UNWATCHED: Duration = Duration::from_secs(10);
/// Time after the last request during which a page counts as open, in milliseconds.
const ATTENTION: i64 = 15_000;
/// Poll interval of Kafka while a page is open. Each poll reads the dead-letter topic.
const TOPICS: Duration = Duration::from_secs(15);
/// Poll interval of Platform and Customer.io while a page is open.
const OUTSIDE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Known {
    status: Option<Arc<Status>>,
    hour: Hour,
}

/// State of the screen Overview: the last status and the samples of the last hour.
#[derive(Debug)]
pub struct Overview {
    source: Arc<dyn StatusSource>,
    known: Mutex<Known>,
    /// Time of the last request of a page: milliseconds since 1970.
    watched_at: AtomicI64,
}

impl Overview {
    /// Creates an overview that polls this source while [`Overview::follow`] runs.
    pub fn new(source: impl StatusSource) -> Self {
        Self { source: Arc::new(source), known: Mutex::default(), watched_at: AtomicI64::new(i64::MIN) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the last status and the samples of the last hour.
    pub(super) fn current(&self) -> (Option<Arc<Status>>, Vec<Sample>) {
        let known = self.known();
        (known.status.clone(), known.hour.samples())
    }

    /// Records that a page was requested at this time: milliseconds since 1970.
    pub(super) fn is_watched(&self, now: i64) {
        self.watched_at.fetch_max(now, Ordering::Relaxed);
    }

    fn has_attention(&self, now: i64) -> bool {
        now.saturating_sub(self.watched_at.load(Ordering::Relaxed)) < ATTENTION
    }

    /// Polls until `stop` is cancelled.
    pub(crate) async fn follow(&self, now: impl Fn() -> i64, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.ask_again_and_again(now) => {}
        }
    }

    async fn ask_again_and_again(&self, now: impl Fn() -> i64) {
        let mut history = History::default();
        let mut topics = Question::<TopicState>::new(TOPICS);
        let mut outside = OutsideQuestion::default();
        loop {
            let begun = Instant::now();
            let is_watched = self.has_attention(now());
            topics.ask(is_watched, || {
                let source = Arc::clone(&self.source);
                tokio::spawn(async move { source.topics().await })
            });
            outside.ask(is_watched, &self.source);
            let looked = self.source.look().await;
            let (before, a_while_before) = history.before(looked.clone());
            let Outside { flow, webhooks } = outside.answer().await;
            let topics = topics.answer().await;
            let status = status(Answers { now: looked, before, a_while_before, topics, flow, webhooks });
            self.keep(status);
            // Check every two seconds whether a page was opened. Otherwise, the first update of the page could take ten
            // seconds.
            let mut waited = WATCHED;
            tokio::time::sleep_until(begun + WATCHED).await;
            while waited < UNWATCHED && !self.has_attention(now()) {
                waited += WATCHED;
                tokio::time::sleep_until(begun + waited).await;
            }
        }
    }

    pub(super) fn keep(&self, status: Status) {
        let mut known = self.known();
        known.hour.add(Sample::of(&status));
        known.status = Some(Arc::new(status));
    }
}

/// A slow query that runs in the background, and its last result.
#[derive(Debug)]
struct Question<T> {
    every: Duration,
    last: Asked<T>,
    answered_at: Option<Instant>,
    asking: Option<JoinHandle<Asked<T>>>,
}

impl<T: Clone> Question<T> {
    fn new(every: Duration) -> Self {
        Self { every, last: Asked::NotConfigured("not asked yet".to_owned()), answered_at: None, asking: None }
    }

    /// Starts the query if it is due and not running.
    fn ask(&mut self, is_watched: bool, ask: impl FnOnce() -> JoinHandle<Asked<T>>) {
        let is_due = self.answered_at.is_none_or(|at| is_watched && at.elapsed() >= self.every);
        if self.asking.is_none() && is_due {
            self.asking = Some(ask());
        }
    }

    /// Returns the last result, or the new one if the query has ended.
    async fn answer(&mut self) -> Asked<T> {
        if let Some(answered) = self.asking.take_if(|asking| asking.is_finished()) {
            self.last = answered.await.unwrap_or_else(|_| Asked::Failed("asking failed; this is a defect".to_owned()));
            self.answered_at = Some(Instant::now());
        }
        self.last.clone()
    }
}

impl<T> Drop for Question<T> {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

/// A [`Question`] to Platform and Customer.io together.
#[derive(Debug, Default)]
struct OutsideQuestion(Option<Question<Outside>>);

impl OutsideQuestion {
    fn ask(&mut self, is_watched: bool, source: &Arc<dyn StatusSource>) {
        let question = self.0.get_or_insert_with(|| Question::new(OUTSIDE));
        question.ask(is_watched, || {
            let source = Arc::clone(source);
            tokio::spawn(async move { Asked::Answer(source.outside().await) })
        });
    }

    async fn answer(&mut self) -> Outside {
        let asked = match &mut self.0 {
            Some(question) => question.answer().await,
            None => Asked::NotConfigured("not asked yet".to_owned()),
        };
        match asked {
            Asked::Answer(outside) => outside,
            Asked::NotConfigured(what) => {
                Outside { flow: Asked::NotConfigured(what.clone()), webhooks: Asked::NotConfigured(what) }
            }
            Asked::Failed(error) => Outside { flow: Asked::Failed(error.clone()), webhooks: Asked::Failed(error) },
        }
    }
}

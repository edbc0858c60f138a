//! The live tail. One reader serves all open pages. The reader runs while a stream is open, and for a minute after a
//! page was requested.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use operator::tail::{Ended, News};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use super::source::{EventSource, Listener};

/// Maximum number of events that are kept, and of rows on a page.
pub(super) const MOST_ROWS: usize = 500;
/// Maximum number of open streams.
const MOST_STREAMS: usize = 50;
/// Maximum number of events that wait for a stream. If more events are waiting, the stream misses the oldest ones and
/// reports their number.
const WAITING: usize = 512;
/// Time for which the reader runs after a page request without a stream. A page without JavaScript opens no stream, and
/// shows new events when a user reloads it within this time.
const ATTENTION: Duration = Duration::from_secs(60);
/// Minimum time between two messages of a stream.
const BEAT: Duration = Duration::from_millis(250);
/// Maximum number of events in a message. More events would be too many for a person to follow.
const MOST_PER_BEAT: usize = 25;
/// Maximum lifetime of a stream. The browser then opens a new stream, which checks the user's role again.
const LONGEST_STREAM: Duration = Duration::from_secs(600);

/// A message from the reader to the streams.
#[derive(Debug, Clone)]
enum Line {
    Ended(Arc<Ended>),
    Said(String),
    /// Reading has ended, with this message.
    Over(String),
}

#[derive(Debug, Default)]
struct State {
    /// The newest events, the newest first.
    newest: VecDeque<Arc<Ended>>,
    is_running: bool,
    streams: usize,
    shown_at: Option<Instant>,
    /// Last message about reading the topics.
    said: Option<String>,
    /// Message with which the last reader ended; `None` once the next reader has a message.
    over: Option<String>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    lines: Sender<Line>,
    /// Token that is cancelled when the console stops.
    stop: CancellationToken,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, line: Line) {
        let (said, over) = match &line {
            Line::Said(said) => (Some(said.clone()), None),
            Line::Over(why) => (None, Some(why.clone())),
            Line::Ended(_) => (None, None),
        };
        {
            let mut state = self.state();
            (state.said, state.over) = (said, over);
        }
        // Without an open stream there is no receiver, which is not an error.
        drop(self.lines.send(line));
    }
}

impl Listener for Shared {
    fn goes_on(&self) -> bool {
        let state = self.state();
        let is_watched = state.streams > 0 || state.shown_at.is_some_and(|at| at.elapsed() < ATTENTION);
        is_watched && !self.stop.is_cancelled()
    }

    fn hears(&self, news: &News) {
        self.say(Line::Said(words(news)));
    }

    fn ended(&self, ended: &Ended) {
        let ended = Arc::new(ended.clone());
        {
            let mut state = self.state();
            state.newest.push_front(Arc::clone(&ended));
            state.newest.truncate(MOST_ROWS);
        }
        drop(self.lines.send(Line::Ended(ended)));
    }
}

fn words(news: &News) -> String {
    match news {
        News::Started { has_receipts: true } => "Live: events appear as they end.".to_owned(),
        News::Started { has_receipts: false } => {
            "Live, dead letters only: there is no receipts topic (RECEIPTS_TOPIC).".to_owned()
        }
        News::Trouble(what) => format!("Trying again: {what}"),
    }
}

/// The live tail. Clones share the state.
#[derive(Debug, Clone)]
pub(super) struct Tail(Arc<Shared>);

impl Default for Tail {
    fn default() -> Self {
        let (state, lines, stop) = (Mutex::default(), channel(WAITING).0, CancellationToken::new());
        Self(Arc::new(Shared { state, lines, stop }))
    }
}

impl Tail {
    /// Records that a page was requested, and starts the reader unless it is running.
    pub(super) fn is_shown(&self, source: &Arc<dyn EventSource>) {
        self.0.state().shown_at = Some(Instant::now());
        self.run(source);
    }

    /// Returns the newest events, the newest first, and the last message about reading the topics.
    pub(super) fn newest(&self) -> (Vec<Arc<Ended>>, Option<String>) {
        let state = self.0.state();
        (state.newest.iter().cloned().collect(), state.said.clone().or_else(|| state.over.clone()))
    }

    /// Opens a stream; `None` if there are too many streams.
    pub(super) fn open(&self, source: &Arc<dyn EventSource>) -> Option<Stream> {
        let stream = {
            let mut state = self.0.state();
            if state.streams >= MOST_STREAMS {
                return None;
            }
            state.streams += 1;
            let (lines, said) = (self.0.lines.subscribe(), state.said.clone());
            Stream { lines, said, ends_at: Instant::now() + LONGEST_STREAM, is_over: false, tail: Arc::clone(&self.0) }
        };
        self.run(source);
        Some(stream)
    }

    /// Ends all streams and the reader when the console stops.
    pub(super) fn end(&self) {
        self.0.stop.cancel();
    }

    /// Starts the reader unless it is running.
    fn run(&self, source: &Arc<dyn EventSource>) {
        if std::mem::replace(&mut self.0.state().is_running, true) {
            return;
        }
        let (shared, source) = (Arc::clone(&self.0), Arc::clone(source));
        tokio::spawn(async move {
            let ended = source.tail(Arc::clone(&shared) as Arc<dyn Listener>).await;
            // A stream that was opened in the meantime also gets this end message, and its browser opens another
            // stream.
            shared.state().is_running = false;
            shared.say(Line::Over(match ended {
                Ok(()) => "The reading has ended.".to_owned(),
                Err(error) => format!("The topics cannot be read: {}.", error.trim_end_matches('.')),
            }));
        });
    }
}

/// The content of the next message of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Beat {
    /// Events that have ended, the oldest first.
    pub(super) ended: Vec<Arc<Ended>>,
    /// Number of other events that have ended and are not shown.
    pub(super) left_out: u64,
    /// Message about reading the topics.
    pub(super) said: Option<String>,
}

/// An open stream. It is dropped when the browser closes it or the console stops.
#[derive(Debug)]
pub(super) struct Stream {
    lines: Receiver<Line>,
    said: Option<String>,
    ends_at: Instant,
    is_over: bool,
    tail: Arc<Shared>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.tail.state().streams -= 1;
    }
}

impl Stream {
    /// Waits for events and returns the next message; `None` at the end of the stream. `is_wanted` is the filter of the
    /// page.
    pub(super) async fn next(&mut self, is_wanted: impl Fn(&Ended) -> bool) -> Option<Beat> {
        if self.is_over {
            return None;
        }
        let mut beat = Beat { said: self.said.take(), ..Beat::default() };
        while beat == Beat::default() {
            let line = tokio::select! {
                line = self.lines.recv() => line,
                () = tokio::time::sleep_until(self.ends_at.into()) => return None,
                () = self.tail.stop.cancelled() => return None,
            };
            match line {
                Ok(line) => self.take(line, &mut beat, &is_wanted),
                Err(RecvError::Lagged(missed)) => beat.left_out += missed,
                Err(RecvError::Closed) => return None,
            }
        }
        if !self.is_over {
            tokio::time::sleep(BEAT).await;
            self.take_arrived(&mut beat, &is_wanted);
        }
        Some(beat)
    }

    /// Adds the events that have arrived in the meantime to the message.
    fn take_arrived(&mut self, beat: &mut Beat, is_wanted: &impl Fn(&Ended) -> bool) {
        while !self.is_over {
            match self.lines.try_recv() {
                Ok(line) => self.take(line, beat, is_wanted),
                Err(TryRecvError::Lagged(missed)) => beat.left_out += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn take(&mut self, line: Line, beat: &mut Beat, is_wanted: &impl Fn(&Ended) -> bool) {
        match line {
            Line::Ended(ended) if !is_wanted(&ended) => {}
            Line::Ended(ended) if beat.ended.len() < MOST_PER_BEAT => beat.ended.push(ended),
            Line::Ended(_) => beat.left_out += 1,
            Line::Said(said) => beat.said = Some(said),
            Line::Over(said) => {
                beat.said = Some(said);
                self.is_over = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Follows an event through the topics after it was sent, until Platform has accepted it or it is a dead letter.

use std::time::Duration;

use operator::find::{End, Timeline, Wanted, Watch, end_of_all};
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::find::{pause, text};
use crate::when::after;
use crate::{CommandError, output};

/// Minimum pause between two searches.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The outcome of a followed event.
#[derive(Debug)]
pub(super) struct Followed {
    /// The history of the event. A body without an event id has several histories if it was sent more than once.
    pub(super) timelines: Vec<Timeline>,
    /// The end of the event; `None` if it has not ended in time.
    pub(super) end: Option<End>,
}

/// The search key for a body that was sent: its event id, or else its bytes.
pub(super) fn wanted(body: &[u8]) -> Wanted {
    super::content::event_id(body).map_or_else(|| Wanted::Body(body.to_vec()), Wanted::Event)
}

/// Searches until the event has ended or the time is over. If `show` is true, prints each step when it is found.
pub(super) async fn follow(mut watch: Watch<'_>, longest: Duration, show: bool) -> Result<Followed, CommandError> {
    let deadline = after(Instant::now(), longest);
    let mut shown: Vec<String> = Vec::new();
    let mut timelines = Vec::new();
    loop {
        let begun = Instant::now();
        if let Some(looked) = block_in_place(|| watch.look(deadline.into_std()))? {
            timelines = looked;
        }
        if show {
            let new = new_lines(&timelines, &shown);
            if !new.is_empty() {
                output::progress_done();
            }
            new.iter().for_each(|line| output::line(line));
            shown.extend(new);
        }
        let end = end_of_all(&timelines).filter(|_| timelines.iter().all(|timeline| timeline.is_complete));
        if end.is_some() || Instant::now() >= deadline {
            return Ok(Followed { timelines, end });
        }
        let pause = pause(LOOK_AGAIN, begun.elapsed());
        tokio::time::sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

/// The lines of the steps that have not been shown yet.
fn new_lines(timelines: &[Timeline], shown: &[String]) -> Vec<String> {
    let steps = timelines.iter().flat_map(|timeline| &timeline.steps);
    steps.map(text::step_line).filter(|line| !shown.contains(line)).collect()
}

#[cfg(test)]
mod tests {
    use contract::Position;
    use operator::find::{State, Step, StepKind, StepRecord};

    use super::*;

    #[test]
    fn a_body_is_searched_for_by_its_event_id_or_without_one_by_its_bytes() {
        assert_eq!(wanted(br#"{"event_id":"01X"}"#), Wanted::Event("01X".to_owned()));
        assert_eq!(wanted(b"not json"), Wanted::Body(b"not json".to_vec()));
    }

    #[test]
    fn each_step_is_shown_once() {
        let step = |time| Step { time, record: StepRecord::Raw(Position::new(0, 1)), kind: StepKind::Duplicate };
        let timeline = |times: &[i64]| Timeline {
            event_id: None,
            state: State::Unknown,
            steps: times.iter().map(|&time| step(time)).collect(),
            is_complete: true,
        };
        let shown = new_lines(&[timeline(&[1])], &[]);
        assert_eq!(shown.len(), 1);
        let new = new_lines(&[timeline(&[1, 2])], &shown);
        assert_eq!(new, [text::step_line(&step(2))]);
    }
}

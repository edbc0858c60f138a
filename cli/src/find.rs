//! `find`: searches for an event in the topics and shows its history.

pub(crate) mod text;

use std::time::Duration;

use clap::Args;
use customerio::{Identifier, PersonKey};
use operator::Committed;
use operator::find::{self, End, FindScope, Timeline, Wanted, Watch};
use settings::DurationArg;
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::pipeline::{GroupArgs, Reached};
use crate::topics::TopicArgs;
use crate::when::{after, parse_bound};
use crate::{CommandError, UsageError, Verdict, output};

/// Find events and show their history: received, mapped, accepted by Platform, dead-lettered, replayed
///
/// An ID without an option is looked up as an event id and as a delivery id. By person, it reads only one partition, since
/// a record's key is a hash of the person's id; by event id or delivery id, it reads all. Exit code 1 if nothing is found:
/// the event was never stored, or has expired. With --wait, the exit code says how the event ended: 0 accepted by
/// Platform; 1 dead letter, or no known outcome; 3 it has not ended in this time.
#[derive(Debug, Args)]
pub(crate) struct FindArgs {
    #[command(flatten)]
    what: WhatArgs,

    /// Search every partition, for a person's events from before partitions were added
    #[arg(long)]
    all_partitions: bool,

    /// Only records received at this time or later: 2026-11-24, 2026-11-24T09:30:00Z, or 24h for that long ago
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    since: Option<i64>,

    /// Look again until the event has ended (all of them, if there are several): accepted by Platform or dead letter; at
    /// most this long, for example 60s. The first look may take 3 s in any case
    #[arg(long, value_name = "DURATION")]
    wait: Option<DurationArg>,

    #[command(flatten)]
    groups: GroupArgs,

    #[command(flatten)]
    topics: TopicArgs,
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct WhatArgs {
    /// An event id, or a delivery id
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// The event's id
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,

    /// The message's delivery id
    #[arg(long, value_name = "ID")]
    delivery_id: Option<String>,

    /// The person's own id (`identifiers.id`)
    #[arg(long, value_name = "ID")]
    person_id: Option<String>,

    /// Customer.io's id of the person (`identifiers.cio_id`), if the events have no id of the person's own
    #[arg(long, value_name = "ID")]
    cio_id: Option<String>,

    /// The person's address, if the events have neither of the two ids
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
}

impl WhatArgs {
    fn wanted(self) -> Option<Wanted> {
        // The gateway computes the keys of raw records with the same function.
        let person = |identifier, value: String| PersonKey::of_person(identifier, &value).map(Wanted::Person);
        let filled = |id: String| (!id.trim().is_empty()).then_some(id);
        match self {
            Self { id: Some(id), .. } => filled(id).map(Wanted::Id),
            Self { event_id: Some(id), .. } => filled(id).map(Wanted::Event),
            Self { delivery_id: Some(id), .. } => filled(id).map(Wanted::Delivery),
            Self { person_id: Some(id), .. } => person(Identifier::Id, id),
            Self { cio_id: Some(id), .. } => person(Identifier::CioId, id),
            Self { email: Some(address), .. } => person(Identifier::Email, address),
            Self { .. } => None,
        }
    }
}

/// Minimum pause between two searches with `--wait`.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(crate) async fn run(args: FindArgs, json: bool) -> Result<Verdict, CommandError> {
    let wanted = args.what.wanted().ok_or_else(|| UsageError("the value to search for is blank".to_owned()))?;
    let scope = FindScope {
        all_partitions: args.all_partitions,
        since: args.since,
        delivered_from: None,
        committed: Committed::Groups(args.groups.groups()),
    };
    let reached = Reached::by(&args.topics)?;
    if let Some(DurationArg(longest)) = args.wait {
        return wait(Watch::new(reached.pipeline(), scope, wanted), longest, json).await;
    }
    let timelines = block_in_place(|| find::run(reached.pipeline(), &scope, &wanted))?;
    show(&timelines, json);
    if timelines.is_empty() {
        output::problem("nothing was found: it was never stored, or has expired from the topics");
        return Ok(Verdict::Problem);
    }
    Ok(Verdict::Good)
}

/// Repeats the search until every event that was found has ended, at most for `longest`.
async fn wait(mut watch: Watch<'_>, longest: Duration, json: bool) -> Result<Verdict, CommandError> {
    let end = after(Instant::now(), longest);
    let mut known = None;
    loop {
        let begun = Instant::now();
        let looked = block_in_place(|| watch.look(end.into_std()))?;
        known = looked.or(known);
        let timelines = known.as_deref().unwrap_or_default();
        let ended = find::end_of_all(timelines);
        let is_over = Instant::now() >= end;
        if ended.is_some() || is_over {
            show(timelines, json);
        }
        match ended {
            Some(End::Accepted) => return Ok(Verdict::Good),
            Some(End::NotAccepted) => return Ok(Verdict::Problem),
            None if is_over => {
                output::problem(&not_ended(known.as_deref(), longest));
                return Ok(Verdict::Unanswered);
            }
            None => {
                output::progress(&waiting(timelines));
                let pause = pause(LOOK_AGAIN, begun.elapsed());
                tokio::time::sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
            }
        }
    }
}

/// The pause after a search. A long search is followed by an equally long pause.
pub(crate) fn pause(shortest: Duration, took: Duration) -> Duration {
    shortest.max(took)
}

fn show(timelines: &[Timeline], json: bool) {
    output::progress_done();
    if json {
        output::json_list("events", timelines.iter().map(text::json).collect());
    } else {
        timelines.iter().flat_map(text::lines).for_each(|line| output::line(&line));
    }
}

/// A short text about the events that have not ended.
fn waiting(timelines: &[Timeline]) -> String {
    let waits = timelines.iter().filter(|timeline| timeline.state.end().is_none());
    let states: Vec<&str> = waits.map(|timeline| timeline.state.as_str()).collect();
    match states.as_slice() {
        [] => "not found yet".to_owned(),
        [state] => (*state).to_owned(),
        [state, others @ ..] => format!("{} events have not ended, the first is {state}", others.len() + 1),
    }
}

fn not_ended(timelines: Option<&[Timeline]>, longest: Duration) -> String {
    let seconds = longest.as_secs_f64();
    let Some(timelines) = timelines else {
        return format!(
            "nothing was found in {seconds} s, in which the topics could not be read to their ends: allow more time, or search less of them with --since"
        );
    };
    if timelines.is_empty() {
        return format!(
            "nothing was found in {seconds} s: the gateway has not stored it, or it has expired from the topics"
        );
    }
    let waiting = waiting(timelines);
    format!("not ended after {seconds} s: {waiting}. `customerio-aep status` shows what the services wait for")
}

#[cfg(test)]
mod tests {
    use operator::find::State;

    use super::*;

    fn what() -> WhatArgs {
        WhatArgs { id: None, event_id: None, delivery_id: None, person_id: None, cio_id: None, email: None }
    }

    #[test]
    fn a_search_for_a_person_uses_the_key_of_the_persons_records() {
        let key = |what: WhatArgs| match what.wanted() {
            Some(Wanted::Person(key)) => key.as_str().to_owned(),
            other => panic!("{other:?}"),
        };
        // The key is the first half of the output of: printf 'id:42' | sha256sum
        let id = WhatArgs { person_id: Some(" 42 ".to_owned()), ..what() };
        assert_eq!(key(id), "bbb3660007f68b86e00e9ea8af5f57b7");
        let address = |text: &str| WhatArgs { email: Some(text.to_owned()), ..what() };
        assert_eq!(key(address("A@B.example")), key(address("a@b.example")));
        assert_eq!(WhatArgs { cio_id: Some("  ".to_owned()), ..what() }.wanted(), None);
        let blank = || Some("  ".to_owned());
        assert_eq!(WhatArgs { id: blank(), ..what() }.wanted(), None);
        assert_eq!(WhatArgs { event_id: blank(), ..what() }.wanted(), None);
        assert_eq!(WhatArgs { delivery_id: blank(), ..what() }.wanted(), None);
    }

    #[test]
    fn a_wait_that_times_out_reports_the_state_of_the_events() {
        let of = |state| Timeline { event_id: None, state, steps: Vec::new(), is_complete: true };
        let minute = Duration::from_secs(60);
        assert!(not_ended(Some(&[]), minute).starts_with("nothing was found in 60 s: the gateway has not stored it"));
        let text = not_ended(Some(&[of(State::WaitingForSink), of(State::Accepted)]), minute);
        assert!(text.starts_with("not ended after 60 s: waiting for the sink. `customerio-aep status`"), "{text}");
        assert!(not_ended(None, minute).contains("could not be read to their ends"));
        let second = Duration::from_secs(1);
        assert_eq!((pause(second, second / 2), pause(second, 2 * second)), (second, 2 * second));
        let text = waiting(&[of(State::WaitingForTransformer), of(State::WaitingForSink)]);
        assert_eq!(text, "2 events have not ended, the first is waiting for the transformer");
    }
}

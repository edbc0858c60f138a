//! `check --end-to-end`: sends a test event for each source, and follows it in the topics.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use operator::find::{self, FindScope, State, StepKind, Timeline, Wanted};
use operator::{Pipeline, PipelineTopics};
use settings::DurationArg;
use setup::check::{
    Checks, Destination, Level, Line, NotSent, RECEIPT, RunSearch, Trace, no_source, not_sent, received,
    run_not_searched, run_of_flow,
};
use sources::SourceName;
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::output;
use crate::pipeline::GroupArgs;
use crate::setup::connect::Connect;

/// The time between two looks at the topics.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The shortest and the longest time between two looks at the runs of the flow. A look reads all of them.
const LOOK_AT_RUNS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// The lines about each source's test event, once it was sent.
pub(super) type Tested = BTreeMap<SourceName, Vec<Line>>;

/// A test event through the whole pipeline.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "End to end")]
pub(crate) struct EndToEndArgs {
    /// Also send a marked event without identity through the public URL, and wait up to 60 s for Platform's receipt
    #[arg(long)]
    pub(super) end_to_end: bool,

    /// Then also wait so long for the flow's run that has the event; Platform reports runs once an hour
    #[arg(long, value_name = "DURATION", requires = "end_to_end")]
    wait_run: Option<DurationArg>,

    /// The name of the sandbox: without it, no test event is sent to a production sandbox
    #[arg(long, value_name = "NAME", requires = "end_to_end")]
    confirm_sandbox: Option<String>,

    /// The transformer's treatment of events without identity; with `dead-letter`, no test event is sent
    #[arg(long, env = "ON_MISSING_IDENTITY", default_value = "send", value_name = "ACTION")]
    on_missing_identity: String,

    #[command(flatten)]
    pub(crate) groups: GroupArgs,
}

impl EndToEndArgs {
    pub(super) fn without_test(&self) -> Self {
        Self { end_to_end: false, ..self.clone() }
    }
}

/// What a test needs.
pub(super) struct Test<'t> {
    pub(super) args: &'t EndToEndArgs,
    pub(super) connect: &'t Connect,
    pub(super) checks: &'t Checks<'t>,
    pub(super) destination: &'t Destination,
}

impl Test<'_> {
    /// One event for each source that has none in `tested` yet. `lines` are the findings until now.
    pub(super) async fn run(&self, lines: &[Line], tested: &mut Tested) -> Vec<Line> {
        if self.checks.sources.is_empty() {
            return vec![no_source()];
        }
        let mut found = Vec::new();
        for source in &self.checks.sources {
            if !tested.contains_key(source) {
                if let Some(reason) = self.refusal(source, lines) {
                    found.push(not_sent(source, &reason));
                    continue;
                }
                tested.insert(source.clone(), self.send(source).await);
            }
            found.extend(tested.get(source).into_iter().flatten().cloned());
        }
        found
    }

    fn refusal(&self, source: &SourceName, lines: &[Line]) -> Option<NotSent> {
        let wish = self.connect.desired.webhooks.iter().find(|wish| wish.source == *source);
        let is_round_trip = |line: &&Line| {
            line.id == "public_url" && wish.is_some_and(|wish| line.asked.ends_with(wish.endpoint.as_str()))
        };
        let has_succeeded = lines.iter().filter(is_round_trip).any(|line| line.level == Level::Good);
        let own = self.connect.sources.get(source).and_then(Option::as_deref);
        let identity = own.unwrap_or(&self.args.on_missing_identity);
        let sandbox = self.connect.desired.stage.as_ref().map_or("", |stage| stage.sandbox.as_str());
        let confirmed = self.args.confirm_sandbox.as_deref();
        if !has_succeeded {
            Some(NotSent::OtherFinding)
        } else if self.pipeline_topics().is_none() || self.checks.kafka.is_none() {
            Some(NotSent::NoKafka)
        } else if identity == "dead-letter" {
            Some(NotSent::NoIdentityAllowed)
        } else {
            self.destination.refuses(sandbox, confirmed, Timestamp::now())
        }
    }

    async fn send(&self, source: &SourceName) -> Vec<Line> {
        let wish = self.connect.desired.webhooks.iter().find(|wish| wish.source == *source);
        let (Some(wish), Some(key)) = (wish, self.checks.keys.get(source)) else {
            return vec![not_sent(source, &NotSent::OtherFinding)];
        };
        let event_id = format!("customerio-aep-test-{}", Timestamp::now().as_nanosecond());
        let begun = Timestamp::now();
        if let Err(error) = self.checks.round_trips.send_test_event(&wish.endpoint, key, &event_id).await {
            return vec![received(source, &event_id, &Trace::Refused(error))];
        }
        let trace = self.follow(&event_id, begun).await;
        let mut lines = vec![received(source, &event_id, &trace)];
        if let Some(within) = self.args.wait_run {
            lines.push(match (&trace, &self.connect.clients.platform, &self.destination.flow_id) {
                (Trace::Accepted { after, .. }, Some(client), Some(flow_id)) => {
                    output::progress("waiting for the flow's run");
                    let at = begun.as_millisecond() + i64::try_from(after.as_millis()).unwrap_or_default();
                    let interval = (within.0 / 20).clamp(LOOK_AT_RUNS.0, LOOK_AT_RUNS.1);
                    let search = RunSearch { client, flow_id, at, within: within.0, interval };
                    run_of_flow(&search).await
                }
                _ => run_not_searched(source),
            });
        }
        lines
    }

    fn pipeline_topics(&self) -> Option<PipelineTopics> {
        let wish = self.connect.desired.topics.as_ref()?;
        Some(PipelineTopics {
            raw: wish.raw.clone(),
            typed: wish.typed.clone(),
            dead_letters: wish.dead_letters.clone(),
            receipts: wish.receipts.clone(),
        })
    }

    /// Looks for the event in the topics until it has its outcome, or [`RECEIPT`] is over.
    async fn follow(&self, event_id: &str, begun: Timestamp) -> Trace {
        let (Some(topics), Some(connection)) = (self.pipeline_topics(), &self.checks.kafka) else {
            return Trace::NotStored;
        };
        let pipeline = Pipeline { connection, topics: &topics, progress: &|_| {} };
        let groups = self.args.groups.groups();
        let scope =
            FindScope { all_partitions: true, since: Some(begun.as_millisecond()), delivered_from: None, groups };
        let wanted = Wanted::Event(event_id.to_owned());
        let end = Instant::now() + RECEIPT;
        loop {
            output::progress(&format!("waiting for the receipt of {event_id}"));
            let (trace, is_final) = match block_in_place(|| find::run(pipeline, &scope, &wanted)) {
                Ok(timelines) => outcome(timelines.first(), begun),
                Err(error) => (Trace::Unanswered(error.to_string()), false),
            };
            if is_final || Instant::now() + LOOK_AGAIN > end {
                output::progress_done();
                return trace;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Where the event is, and whether that is final.
fn outcome(timeline: Option<&Timeline>, begun: Timestamp) -> (Trace, bool) {
    let Some(timeline) = timeline else { return (Trace::NotStored, false) };
    let answer = timeline.steps.iter().find_map(|step| match &step.kind {
        StepKind::Answered { accepted: true, status, batch_id, .. } => Some((step.time, *status, batch_id.clone())),
        _ => None,
    });
    let dead_letter = timeline.steps.iter().find_map(|step| match &step.kind {
        StepKind::DeadLettered { code, message, .. } => {
            Some(Trace::DeadLetter { code: code.clone(), message: message.clone() })
        }
        _ => None,
    });
    if let Some(dead_letter) = dead_letter {
        return (dead_letter, true);
    }
    if let Some((time, status, batch_id)) = answer {
        let after = Duration::from_millis(u64::try_from(time - begun.as_millisecond()).unwrap_or_default());
        return (Trace::Accepted { status, batch_id, after }, true);
    }
    match timeline.state {
        State::AcceptedInferred => (Trace::Inferred, true),
        State::WithoutReceipt => (Trace::WithoutReceipt, false),
        State::WaitingForSink => (Trace::BeforeSink, false),
        // A duplicate, or a body that was stopped, would have no outcome of its own: a test event has a new id.
        _ => (Trace::BeforeTransformer, false),
    }
}

#[cfg(test)]
mod tests {
    use contract::Position;
    use operator::find::{Step, StepRecord};

    use super::*;

    fn timeline(state: State, kinds: Vec<StepKind>) -> Timeline {
        let record = StepRecord::Typed(Position::new(0, 1));
        let steps = kinds.into_iter().map(|kind| Step { time: 2500, record, kind }).collect();
        Timeline { event_id: Some("x".to_owned()), state, is_complete: true, steps }
    }

    #[test]
    fn an_outcome_is_final_and_a_place_on_the_way_is_not() {
        let begun = Timestamp::from_millisecond(1000).unwrap();
        let found = |state, kinds| outcome(Some(&timeline(state, kinds)), begun);
        let answered = StepKind::Answered { accepted: true, status: 200, batch_id: None, xaction_id: None };
        let accepted = Trace::Accepted { status: 200, batch_id: None, after: Duration::from_millis(1500) };
        assert_eq!(found(State::Accepted, vec![answered.clone()]), (accepted, true));
        let dead = StepKind::DeadLettered {
            stage: contract::dead_letter::Stage::Platform,
            code: "c".to_owned(),
            message: "m".to_owned(),
            cut: None,
        };
        let dead_letter = Trace::DeadLetter { code: "c".to_owned(), message: "m".to_owned() };
        assert_eq!(found(State::RejectedAfterAcceptance, vec![answered, dead]), (dead_letter, true));
        assert_eq!(found(State::WaitingForTransformer, vec![]), (Trace::BeforeTransformer, false));
        assert_eq!(found(State::WaitingForSink, vec![]), (Trace::BeforeSink, false));
        assert_eq!(found(State::WithoutReceipt, vec![]), (Trace::WithoutReceipt, false));
        assert_eq!(found(State::AcceptedInferred, vec![]), (Trace::Inferred, true));
        assert_eq!(outcome(None, begun), (Trace::NotStored, false));
    }
}
